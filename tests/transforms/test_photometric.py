import albumentations as A
import numpy as np
import pytest

from wingmark.transforms import Photometric

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)


def test_a_seed_decides_the_result():
    photometric = Photometric([A.OneOf([A.GaussNoise(p=1), A.CoarseDropout(p=1)], p=1), A.ColorJitter(p=1)])
    results = [photometric(IMAGE, np.random.default_rng(seed)).tobytes() for seed in (1, 2, 1, 3)]
    assert results[0] == results[2] and len(set(results)) == 3


def test_transforms_do_not_come_together():
    """Each of two transforms comes to half of the faces, both to a quarter."""
    brighter = A.RandomBrightnessContrast(brightness_limit=(0.2, 0.2), contrast_limit=(0, 0), p=0.5)
    covered = A.CoarseDropout(num_holes_range=(1, 1), hole_height_range=(0.5, 0.5), hole_width_range=(0.5, 0.5), p=0.5)
    photometric, gray = Photometric([brighter, covered]), np.full((32, 40, 3), 100, np.uint8)
    found = [photometric(gray, np.random.default_rng(seed)) for seed in range(400)]
    came = np.array([((image > 100).any(), (image == 0).any()) for image in found])
    assert abs(came.mean(0) - 0.5).max() < 0.08 and abs(came.all(1).mean() - 0.25) < 0.08


def test_untouched_without_luck():
    assert (Photometric([A.GaussianBlur(p=0)])(IMAGE, np.random.default_rng(7)) == IMAGE).all()


@pytest.mark.parametrize(
    "mover", [A.HorizontalFlip(), A.Affine(), A.Resize(8, 8), A.OneOf([A.Blur(), A.Sequential([A.Rotate()])])]
)
def test_transforms_that_move_pixels_are_refused(mover):
    with pytest.raises(ValueError, match=r"moves pixels.*data\.geometry"):
        Photometric([mover])


def test_change_of_type_is_refused():
    with pytest.raises(ValueError, match="must keep size and type"):
        Photometric([A.ToFloat(p=1)])(IMAGE, np.random.default_rng(0))
