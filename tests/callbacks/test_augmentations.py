import random

import cv2
import numpy as np
import pytest
import torch

from wingmark.callbacks.augmentations import COLORS, EPOCHS, TILE, draw_augmentations
from wingmark.data.dataset import FaceDataset
from wingmark.data.regions import Regions
from wingmark.protocol import Protocol
from wingmark.transforms import GeometryJitter

PROTOCOL = Protocol("dots/inter-ocular/v1", box="dataset", margin=1.2)


@pytest.fixture
def dataset(dot_faces) -> FaceDataset:
    source, jitter = dot_faces(), GeometryJitter(rotation=25, scale=0.1, shift=0.05, flip=0.5)
    regions = Regions(source, source.faces("train"), PROTOCOL, 80, jitter.reach)
    return FaceDataset(regions, source.schema, seed=3, geometry=jitter)


def sheet(path, dataset) -> np.ndarray:
    draw_augmentations(path, dataset)
    return cv2.imread(str(path))[..., ::-1]


def test_landmarks_lie_where_the_samples_say(dataset, tmp_path):
    side, picture = TILE + 2, sheet(tmp_path / "a.png", dataset)
    top = picture.shape[0] - 4 * side
    flips = 0
    for row, index in enumerate((0, 4, 7, 11)):
        for epoch in range(EPOCHS):
            sample = dataset[index, epoch]
            # The eyes are 0 and 1, the nose is 2, the corners of the mouth are 3 and 4.
            for k, name in enumerate(("first of a pair", "second", "middle", "first of a pair", "second")):
                x, y = sample.landmarks_crop[k].numpy() * 2 + 0.5  # 80 pixels drawn on 160
                x, y = round(1 + side * (1 + epoch) + x), round(top + side * row + 1 + y)
                assert np.abs(picture[y, x].astype(int) - COLORS[name]).max() < 60, (index, epoch, k)
            flips += torch.det(sample.crop_to_image[:, :2]) < 0
    assert 4 < flips < 20


def test_the_first_column_is_not_augmented(dataset, tmp_path):
    plain = FaceDataset(dataset.regions, dataset.schema)
    picture = sheet(tmp_path / "a.png", dataset)
    top = picture.shape[0] - 4 * (TILE + 2)
    shown = picture[top + 1 : top + 1 + TILE, 1 : 1 + TILE]
    expected = cv2.resize(plain[0].image.numpy().transpose(1, 2, 0), (TILE, TILE), interpolation=cv2.INTER_AREA)
    assert (shown == expected).all(-1).mean() > 0.97  # all but the landmarks drawn


def test_drawing_changes_no_random_numbers_and_repeats(dataset, tmp_path):
    def states() -> list:
        numpy_state = np.random.get_state()[1].tolist()  # noqa: NPY002  (the old generator is what is checked)
        return [random.getstate(), numpy_state, torch.get_rng_state().tolist()]

    before = states()
    first = sheet(tmp_path / "a.png", dataset)
    assert states() == before
    assert (sheet(tmp_path / "b.png", dataset) == first).all()


def test_one_face_is_enough(dot_faces, tmp_path):
    source = dot_faces({"train": 1})
    dataset = FaceDataset(Regions(source, source.faces("train"), PROTOCOL, 32, 1.0), source.schema)
    assert sheet(tmp_path / "a.png", dataset).shape == (28 + TILE + 2, (1 + EPOCHS) * (TILE + 2), 3)
