"""Balanced training faces as batches."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from wingmark.data import LandmarkDataModule, PoseBalancing
from wingmark.protocol import Protocol
from wingmark.transforms import GeometryJitter

JITTER = GeometryJitter(rotation=30, scale=0.1, shift=0.05, flip=0.5)
DOTS = Protocol("dots/inter-ocular/v1", box="dataset", margin=1.2)
BALANCING = PoseBalancing(bins=4, max_repeats=5)


def module(source, **changes) -> LandmarkDataModule:
    settings = {"crop_size": 32, "batch_size": 4, "num_workers": 0, "geometry": JITTER, "balancing": BALANCING}
    return LandmarkDataModule(source, DOTS, **(settings | changes))


def test_training_shows_each_face_as_often_as_balancing_says(dot_faces, caplog):
    data = module(dot_faces(), batch_size=1)
    with caplog.at_level(logging.INFO):
        loaders = [data.train_dataloader(), data.train_dataloader()]
    poses = BALANCING.poses(data.faces("train"), data.schema, DOTS)
    assert poses.repeats.max() > 1
    for loader in loaders:
        seen = torch.cat([batch.index for batch in loader])
        assert torch.bincount(seen).tolist() == poses.repeats.tolist()
    says = f"data.balancing: 12 training faces are shown {poses.repeats.sum()} times an epoch (poses by component "
    assert [record.getMessage().startswith(says) for record in caplog.records] == [True]
    for loader in (data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
        index = torch.cat([batch.index for batch in loader]).tolist()
        assert index == list(range(len(index)))


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_what_is_shown(dot_faces, processes):
    shares = []
    for rank in range(processes):
        data = module(dot_faces(), batch_size=1)
        strategy = SimpleNamespace(root_device=torch.device("cpu"))
        data.trainer = SimpleNamespace(world_size=processes, global_rank=rank, strategy=strategy)
        loader = data.train_dataloader()
        loader.sampler.set_epoch(1)
        shares.append(torch.cat([batch.index for batch in loader]))
    repeats = torch.from_numpy(data.poses(BALANCING).repeats)
    assert [len(share) for share in shares] == [repeats.sum() // processes] * processes
    shown = torch.bincount(torch.cat(shares), minlength=len(repeats))
    assert (shown <= repeats).all() and (repeats - shown).sum() == repeats.sum() % processes  # they come next time


def test_copies_are_augmented_differently_and_alike_for_any_number_of_workers(dot_faces):
    def crops(workers: int) -> tuple[torch.Tensor, torch.Tensor]:
        data = module(dot_faces(), num_workers=workers)
        loader = data.train_dataloader()
        loader.sampler.set_epoch(2)
        batches = list(loader)
        return torch.cat([b.index for b in batches]), torch.cat([b.landmarks_crop.flatten(1) for b in batches])

    index, landmarks = crops(0)
    assert len(index) > len(index.unique()) and len(landmarks.unique(dim=0)) == len(index)
    for one, other in zip((index, landmarks), crops(2), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_without_balancing_crops_are_those_of_seed_epoch_and_index(dot_faces, seed):
    data = module(dot_faces(), balancing=None, seed=seed)
    loader = data.train_dataloader()
    loader.sampler.set_epoch(3)
    samples = [sample for batch in loader for sample in zip(*batch, strict=True)]
    order = np.random.default_rng([seed, 3]).permutation(12)
    jitters = [JITTER.sample(np.random.default_rng([seed, 3, index])) for index in order]
    assert [int(sample[-1]) for sample in samples] == order.tolist()
    dataset = data.dataset("train")
    for sample, index, jitter in zip(samples, order, jitters, strict=True):
        flipped = bool(np.linalg.det(sample[4][:, :2]) < 0)
        assert flipped == jitter["flip"]
        assert torch.equal(sample[1], dataset[int(index), 3].landmarks_crop)
        assert np.random.default_rng([seed, 3, index]).random(5).tolist() == (
            np.random.default_rng([seed, 3, index, 0]).random(5).tolist()
        )


def test_bad_faces_are_named_before_balancing(dot_faces):
    data = module(dot_faces())
    data.faces("train")[1].valid[:] = False
    with pytest.raises(ValueError, match="train/000.png#1 has no valid landmark"):
        data.poses(BALANCING)
