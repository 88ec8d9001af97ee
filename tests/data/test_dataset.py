import dataclasses

import numpy as np
import pytest
import torch

from wingmark.data.dataset import FaceDataset
from wingmark.data.regions import Regions
from wingmark.geometry import apply, inside, shrink
from wingmark.protocol import Protocol
from wingmark.transforms import GeometryJitter
from wingmark.types import Box

PROTOCOL = Protocol("dots/inter-ocular/v1", box="dataset", margin=1.2)
JITTER = GeometryJitter(rotation=40, scale=0.2, shift=0.1, flip=0.5)


def dataset(source, geometry=None, crop_size=96, protocol=PROTOCOL) -> FaceDataset:
    reach = geometry.reach if geometry else 1.0
    regions = Regions(source, source.faces("train"), protocol, crop_size, reach)
    return FaceDataset(regions, source.schema, geometry=geometry)


def dot_centers(image: np.ndarray, schema_flip: np.ndarray, flipped: bool) -> dict[int, np.ndarray]:
    """Centroids of the dots whose color is theirs alone: landmark 0 red, 1 green, 2 blue (named as in the original)."""
    red, green, blue = image.astype(float)
    own = {0: red - blue, 1: green - blue, 2: blue - red - green}
    rows, columns = np.mgrid[: image.shape[1], : image.shape[2]]
    centers = {}
    for k, weight in own.items():
        weight = np.clip(weight, 8, None) - 8
        centers[int(schema_flip[k]) if flipped else k] = (
            np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
        )
    return centers


@pytest.mark.parametrize("crop_size", [96, 200])
def test_landmarks_follow_the_pixels(dot_faces, crop_size):
    data = dataset(dot_faces(), JITTER, crop_size)
    errors, flips = [], set()
    for index in range(len(data)):
        for epoch in range(6):
            sample = data[index, epoch]
            flipped = bool(np.linalg.det(sample.crop_to_image[:, :2]) < 0)
            flips.add(flipped)
            for k, center in dot_centers(sample.image.numpy(), data.schema.flip, flipped).items():
                point = sample.landmarks_crop[k].numpy()
                if (
                    inside(point[None] / crop_size * 100, 100, 100).all()
                    and np.abs(point - crop_size / 2).max() < 0.38 * crop_size
                ):
                    errors.append(np.abs(center - point).max() / crop_size * 96)
    assert flips == {True, False} and len(errors) > 100
    assert max(errors) < 0.1, max(errors)


def test_crop_and_image_landmarks_agree(dot_faces):
    data = dataset(dot_faces(), JITTER)
    for index in range(len(data)):
        sample = data[index, 1]
        there = apply(sample.crop_to_image, sample.landmarks_crop.double())
        assert (there - sample.landmarks_image).abs().max() < 1e-4
        assert sample.image.dtype.is_floating_point is False and sample.image.shape == (3, 96, 96)


def test_evaluation_sample_is_the_annotation(dot_faces):
    source = dot_faces()
    data = dataset(source)
    for index, face in enumerate(source.faces("train")):
        sample = data[index, 0]
        assert (sample.landmarks_image.numpy() == face.landmarks_image).all()
        assert sample.normalizer == np.linalg.norm(face.landmarks_image[0] - face.landmarks_image[1])
        assert sample.index == index
        assert (data[index, 5].image == sample.image).all()  # nothing random


@pytest.mark.parametrize("geometry", [None, JITTER])
def test_a_region_shows_all_that_a_crop_can_reach(dot_faces, geometry):
    """Crops cut from the region equal crops cut from the whole image, for boxes with roll too."""
    source = dot_faces()
    white = np.full((200, 240, 3), 255, np.uint8)  # what is missing would be black
    source.read_image = lambda face, reduce: shrink(white, reduce)[0]
    data = dataset(source, geometry, crop_size=64)
    whole = dataset(source, geometry, crop_size=64)
    whole.regions = Regions(source, source.faces("train"), PROTOCOL, 64, reach=50.0)
    for index in range(len(data)):
        for epoch in range(5):
            assert (data[index, epoch].image == whole[index, epoch].image).all()


def test_cached_regions_are_the_same(dot_faces, tmp_path):
    source = dot_faces()
    plain, cached = (dataset(source, JITTER, crop_size=48) for _ in range(2))
    cached.regions.keep_in(tmp_path, num_workers=0)
    assert [path.name for path in tmp_path.iterdir()] == [cached.regions.key()]
    source.read_image = None  # images are not needed any more
    again = dataset(source, JITTER, crop_size=48)
    again.regions.keep_in(tmp_path, num_workers=0)
    source = dot_faces()
    plain = dataset(source, JITTER, crop_size=48)
    for index in range(len(plain)):
        assert (plain[index, 2].image == again[index, 2].image).all()
        assert (plain[index, 2].image == cached[index, 2].image).all()


def test_cache_changes_with_the_crop_rule_and_the_faces(dot_faces):
    source = dot_faces()
    base = Regions(source, source.faces("train"), PROTOCOL, 64, 1.5)
    others = [
        Regions(source, source.faces("train"), PROTOCOL, 65, 1.5),
        Regions(source, source.faces("train"), PROTOCOL, 64, 1.6),
        Regions(source, source.faces("train"), dataclasses.replace(PROTOCOL, margin=1.3), 64, 1.5),
        Regions(source, source.faces("train"), dataclasses.replace(PROTOCOL, box="tight"), 64, 1.5),
        Regions(source, source.faces("train")[1:], PROTOCOL, 64, 1.5),
    ]
    assert len({regions.key() for regions in [base, *others]}) == 6


def test_a_failed_cache_leaves_nothing(dot_faces, tmp_path):
    source = dot_faces()
    regions = Regions(source, source.faces("train"), PROTOCOL, 64, 1.5)
    faces = [*regions.faces[:3], dataclasses.replace(regions.faces[3], boxes={"dataset": Box(900, 900, 50, 50)})]
    regions.faces = faces
    with pytest.raises(ValueError, match=r"train/001.png#1: its dataset box lies outside the image of 240x200 px"):
        regions.keep_in(tmp_path, num_workers=0)
    assert not list(tmp_path.iterdir())


def test_photometric_seed_depends_on_epoch_and_face(dot_faces):
    seeds = []
    data = dataset(dot_faces())
    data.photometric = lambda image, random: seeds.append(int(random.integers(2**62))) or image
    for key in [(0, 0), (1, 0), (0, 1), (0, 0)]:
        data[key]
    assert len(set(seeds)) == 3 and seeds[0] == seeds[3]


def test_context_widens_the_crop_and_nothing_else(dot_faces):
    """A wide crop of 96 px shows in its inner half what the plain one of 48 px shows: both step alike."""
    source = dot_faces()
    faces = source.faces("train")
    plain, wide = (
        FaceDataset(Regions(source, faces, PROTOCOL, size, 1.0, context), source.schema)
        for size, context in ((48, 1.0), (96, 2.0))
    )
    for index in range(len(faces)):
        one, other = plain[index], wide[index]
        assert torch.equal(one.image, other.image[:, 24:72, 24:72])
        assert torch.allclose(one.landmarks_crop + 24, other.landmarks_crop, atol=1e-4)
        assert one.normalizer == other.normalizer and wide.protocol is PROTOCOL
        there = apply(other.crop_to_image, torch.tensor([[-0.5, -0.5], [95.5, 95.5]], dtype=torch.float64))
        assert (there[1] - there[0]).norm() == pytest.approx(np.sqrt(2) * 110 * 1.2 * 2)


def test_a_context_of_one_leaves_caches_as_they_are(dot_faces):
    source = dot_faces()
    keys = {Regions(source, source.faces("val"), PROTOCOL, 64, 1.5, *context).key() for context in ((), (1.0,), (2.0,))}
    assert len(keys) == 2
