import dataclasses

import albumentations as A
import numpy as np
import pytest
import torch

from wingmark.data import Holdout, LandmarkDataModule
from wingmark.data.sources.source import Source
from wingmark.protocol import Protocol
from wingmark.transforms import GeometryJitter
from wingmark.types import Box

PROTOCOL = Protocol("dots/inter-ocular/v1", box="dataset", margin=1.2)


def module(source, **changes) -> LandmarkDataModule:
    settings = {"protocol": PROTOCOL, "crop_size": 48, "batch_size": 4, "num_workers": 0}
    return LandmarkDataModule(source, **(settings | changes))


def epoch_of(source, workers: int, epoch: int, seed: int = 0) -> list[torch.Tensor]:
    data = module(
        source,
        num_workers=workers,
        seed=seed,
        geometry=GeometryJitter(rotation=30, scale=0.1, shift=0.05, flip=0.5),
        photometric=[A.RandomBrightnessContrast(p=1), A.OneOf([A.GaussNoise(), A.CoarseDropout()], p=0.8)],
    )
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return [torch.cat([field.flatten(1).double() for field in (b.image, b.landmarks_crop)], 1) for b in loader]


def test_batches_do_not_depend_on_workers(dot_faces):
    first = epoch_of(dot_faces(), 0, epoch=0)
    assert len(first) == 3
    for workers in (2, 4):
        for one, other in zip(first, epoch_of(dot_faces(), workers, epoch=0), strict=True):
            assert torch.equal(one, other)


def test_every_face_and_epoch_is_augmented_differently(dot_faces):
    rows = torch.cat([batch for epoch in (0, 1) for batch in epoch_of(dot_faces(), 0, epoch)])
    assert len(torch.unique(rows, dim=0)) == 24
    other_seed = torch.cat(epoch_of(dot_faces(), 0, 0, seed=1))
    assert len(torch.unique(torch.cat([rows, other_seed]), dim=0)) == 36


def test_evaluation_keeps_every_face_in_order(dot_faces):
    index = torch.cat([batch.index for batch in module(dot_faces()).test_dataloader()])
    assert index.tolist() == [0, 1, 2, 3, 4]


def test_small_sets_still_train(dot_faces):
    loader = module(dot_faces({"train": 3}), batch_size=32).train_dataloader()
    assert [len(batch.index) for batch in loader] == [3]


def test_holdout_cuts_by_photo(dot_faces):
    source = dot_faces({"train": 100})
    data = module(source, holdout=Holdout(val=0.1, test=0.2, seed=0))
    splits = {split: data.faces(split) for split in ("train", "val", "test")}
    assert {split: len(faces) for split, faces in splits.items()} == {"train": 70, "val": 10, "test": 20}
    groups = [{face.group for face in faces} for faces in splits.values()]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 50  # two faces a photo, none on two sides
    again = module(source, holdout=Holdout(val=0.1, test=0.2, seed=0))
    assert [face.id for face in again.faces("val")] == [face.id for face in splits["val"]]
    other = module(source, holdout=Holdout(val=0.1, test=0.2, seed=1))
    assert [face.id for face in other.faces("val")] != [face.id for face in splits["val"]]


class Changed(Source):
    """A source whose second training face was changed."""

    def __init__(self, source, **fields):
        self.source, self.fields, self.schema = source, fields, source.schema

    def faces(self, split):
        faces = self.source.faces(split)
        if split == "train":
            faces[1] = dataclasses.replace(faces[1], **self.fields)
        return faces


NAN = np.full((5, 2), np.nan)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"landmarks_image": np.zeros((68, 2))}, r"train/000.png#1 has landmarks of shape \(68, 2\), schema five"),
        ({"landmarks_image": NAN}, "train/000.png#1 has no valid landmark, or a valid one that is not finite"),
        ({"valid": np.zeros(5, bool)}, "train/000.png#1 has no valid landmark"),
        ({"boxes": {"dataset": Box(5, 5, 0, 4)}}, "train/000.png#1: its dataset box has no area"),
        (
            {"landmarks_image": np.random.default_rng(0).random((5, 2))},
            r"#1: its landmarks span less than 2 pixels; if",
        ),
        ({"boxes": {}}, r"train/000.png#1 has no box 'dataset', only \['tight'\]"),
        (
            {"landmarks_image": np.array([(9, 9), (9, 9), (12, 15), (8, 20), (16, 21.0)])},
            r"zero or not finite in 1 of 12 faces: train/000.png#1 \(row 1\)",
        ),
    ],
)
def test_bad_faces_are_named_before_training(dot_faces, fields, says):
    with pytest.raises(ValueError, match=says):
        module(Changed(dot_faces(), **fields)).dataset("train")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda dots: module(dots({"train": 4})).faces("val"), "no val faces; train with data.holdout.val"),
        (lambda dots: module(dots({})).faces("train"), "no train faces; check data.source"),
        (
            lambda dots: module(dots(), holdout=Holdout(val=0.5)).faces("val"),
            "has 4 val faces of its own; set data.holdout.val to 0",
        ),
        (lambda dots: Holdout(val=0.6, test=0.5), "together below 1"),
        (lambda dots: module(dots(), protocol="dots"), "protocol 'dots' is neither built in"),
        (lambda dots: module(dots(), photometric=[A.Rotate()]), "Rotate moves pixels"),
        (lambda dots: GeometryJitter(scale=1.0), r"scale and shift in \[0, 1\)"),
    ],
)
def test_refusals(dot_faces, make, says):
    with pytest.raises(ValueError, match=says):
        make(dot_faces)
