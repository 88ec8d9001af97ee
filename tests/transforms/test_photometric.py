import albumentations as A
import numpy as np
import pytest

from wingmark.transforms import Photometric

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)


def test_a_seed_decides_the_result():
    photometric = Photometric([A.OneOf([A.GaussNoise(p=1), A.CoarseDropout(p=1)], p=1), A.ColorJitter(p=1)])
    results = [photometric(IMAGE, seed).tobytes() for seed in (1, 2, 1, 3)]
    assert results[0] == results[2] and len(set(results)) == 3


def test_untouched_without_luck():
    assert (Photometric([A.GaussianBlur(p=0)])(IMAGE, 7) == IMAGE).all()


@pytest.mark.parametrize(
    "mover", [A.HorizontalFlip(), A.Affine(), A.Resize(8, 8), A.OneOf([A.Blur(), A.Sequential([A.Rotate()])])]
)
def test_transforms_that_move_pixels_are_refused(mover):
    with pytest.raises(ValueError, match=r"moves pixels.*data\.geometry"):
        Photometric([mover])


def test_change_of_type_is_refused():
    with pytest.raises(ValueError, match="must keep size and type"):
        Photometric([A.ToFloat(p=1)])(IMAGE, 0)
