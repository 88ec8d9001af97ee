"""All faces of a set at once."""

from dataclasses import replace

import albumentations as A
import numpy as np
import pytest
import torch

from wingmark.data import Holdout, LandmarkDataModule
from wingmark.protocol import Protocol
from wingmark.transforms import GeometryJitter

PROTOCOL = Protocol("dots/inter-ocular/v1", box="dataset", margin=1.2)
JITTER = GeometryJitter(rotation=30, scale=0.2, shift=0.1, flip=1.0)


def data_of(source, **changes) -> LandmarkDataModule:
    settings = {"crop_size": 32, "batch_size": 4, "num_workers": 0, "geometry": JITTER}
    return LandmarkDataModule(source, PROTOCOL, **(settings | changes))


def test_every_face_comes_once_by_its_own_number(dot_faces):
    data = data_of(dot_faces({"train": 20}), holdout=Holdout(val=0.2, test=0.1))
    every = data.dataset("all")
    assert sorted(face.id for face in every.faces) == sorted(face.id for face in data.source.faces("train"))
    data.predicted = "all"
    batches = list(data.predict_dataloader())
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(20))
    for landmarks, face in zip(torch.cat([b.landmarks_image for b in batches]), every.faces, strict=True):
        assert (landmarks.numpy() == face.landmarks_image).all()  # not mirrored


def test_validation_and_test_faces_come_as_always_and_training_faces_augmented(dot_faces):
    straight = replace(JITTER, flip=0.0)
    data = data_of(dot_faces(), geometry=straight, photometric=[A.RandomBrightnessContrast(p=1)])
    every = data.dataset("all")
    start = 12
    for split in ("val", "test"):
        for index, sample in enumerate(data.dataset(split)):
            found = every[start + index, 0, 0]
            assert torch.equal(found.image, sample.image) and torch.equal(found.crop_to_image, sample.crop_to_image)
        start += len(data.dataset(split))
    assert start == len(every)
    shown = [
        {one[index, 0, 0].crop_to_image.numpy().tobytes() for index in range(12)}
        for one in (every, data.dataset("train"))
    ]
    assert len(shown[0]) == 12 and not shown[0] & shown[1]  # crops that training never showed
    for index in range(12):
        a = every[index, 0, 0].crop_to_image.numpy()[:, :2]
        step, turn = (
            np.sqrt(np.linalg.det(a)),
            np.degrees(np.arctan2(a[1, 0], a[0, 0])) - every.faces[index].boxes["dataset"].roll,
        )
        assert 0.8 <= step / (110 * 1.2 / 32) <= 1.2 and abs(turn) <= JITTER.rotation


def test_faces_are_tagged_with_their_split_and_none_is_left_out_by_the_protocol(dot_faces):
    data = data_of(dot_faces())
    data.protocol = replace(PROTOCOL, tag="odd")  # half of the test faces
    assert len(data.dataset("test")) == 2
    tags = [face.tags - {"odd"} for face in data.dataset("all").faces]
    assert tags == [{"train"}] * 12 + [{"val"}] * 4 + [{"test"}] * 5


def test_what_a_set_does_not_have_is_left_out(dot_faces):
    assert len(data_of(dot_faces({"test": 3})).dataset("all")) == 3
    assert len(data_of(dot_faces({"train": 3})).dataset("all")) == 3


@pytest.mark.parametrize("geometry", [None, GeometryJitter()])
def test_without_augmentation_training_faces_come_plainly_too(dot_faces, geometry):
    data = data_of(dot_faces(), geometry=geometry)
    for index in range(12):
        assert torch.equal(data.dataset("all")[index, 0, 0].image, data.dataset("train")[index].image)
