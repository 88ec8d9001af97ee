"""The LightningDataModule for landmark data sets."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from wingmark import protocol as protocols
from wingmark.data.balancing import PoseBalancing, Poses
from wingmark.data.dataset import FaceDataset, check_face, digest
from wingmark.data.every_face import EveryFace
from wingmark.data.holdout import Holdout, split_faces
from wingmark.data.own_boxes import with_own_boxes
from wingmark.data.regions import Regions, start_loading
from wingmark.data.samplers import FaceSampler, position
from wingmark.data.sources.reading import entry, leaving_out, tell_left_out
from wingmark.data.sources.source import SPLITS, Source, Split
from wingmark.protocol import Protocol
from wingmark.schema import LandmarkSchema
from wingmark.transforms import GeometryJitter, Photometric, PhotometricTransform
from wingmark.types import Batch, Face

log = logging.getLogger(__name__)


class LandmarkDataModule(LightningDataModule):
    """Faces of a source as batches for fit, validate, test and predict.

    Args:
        source: the data set on disk.
        protocol: the name of a built-in protocol, a YAML file, or its fields: which box and margin make the crop.
        crop_size: side of the square network input in pixels.
        context: side of the crop in sides of the protocol's; a `Cascade` cuts its own crops out of such a wide one.
        geometry: random rotation, scale, shift and flip of training crops.
        photometric: albumentations transforms for training crops, applied in this order.
        batch_size: faces per process and step.
        num_workers: loader processes per training process.
        holdout: the share of the training faces that becomes validation and test where the source has none.
        balancing: repeat training faces of rare poses, see PoseBalancing.
        cache: a folder in which faces cut out of their images are kept, so that images are decoded once.
        boxes: a csv file with the columns id, x_min, y_min, x_max, y_max: boxes of one's own, which protocols call
            `file`.
        on_error: what happens to a face whose annotation or image cannot be used. `skip` looks at every image before
            each start, with `cache` before the first one, leaves out what is wrong with training and validation faces,
            and names it. Test faces are never left out. What `holdout` cuts from the training faces changes with the
            annotations that can be read.
        seed: of the order and the augmentation; the command line takes it from `seed_everything`.
    """

    # What `predict` goes over: the test faces, or every face of the set, as a second stage needs them.
    predicted: Literal["test", "all"] = "test"

    def __init__(
        self,
        source: Source,
        protocol: str | Protocol,
        crop_size: int = 128,
        geometry: GeometryJitter | None = None,
        photometric: Sequence[PhotometricTransform] = (),
        batch_size: int = 32,
        num_workers: int = 2,
        holdout: Holdout | None = None,
        balancing: PoseBalancing | None = None,
        cache: str | None = None,
        seed: int = 0,
        context: float = 1.0,
        boxes: str | None = None,
        on_error: Literal["raise", "skip"] = "raise",
    ) -> None:
        super().__init__()
        self.source, self.crop_size, self.context, self.geometry = source, crop_size, context, geometry
        self.protocol: Protocol = protocols.get(protocol) if isinstance(protocol, str) else protocol
        self.protocol.check(self.schema)
        self.photometric = Photometric(photometric) if photometric else None
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.holdout, self.balancing, self.cache = holdout or Holdout(), balancing, cache
        self.boxes, self.on_error = boxes, on_error
        self._datasets: dict[str, FaceDataset | EveryFace] = {}
        self._usable: dict[Split, list[Face]] = {}
        self._position = (0, 0)  # where training goes on

    @property
    def schema(self) -> LandmarkSchema:
        return self.source.schema

    def faces(self, split: Split) -> list[Face]:
        """The faces of a split; ValueError with the way out where there are none."""
        faces = self._every_face_of(split)
        if split == "test":
            faces = self._tested(faces)
        if not faces:
            way_out = f"train with data.holdout.{split}, for example 0.1, to cut some from the training photos"
            if split == "train":
                cut = sum(map(len, self._splits.values())) and self.holdout != Holdout()
                way_out = f"{self.holdout} left none" if cut else "check data.source"
            raise ValueError(f"{type(self.source).__name__} has no {split} faces; {way_out}")
        return faces

    @cached_property
    def _splits(self) -> dict[Split, list[Face]]:
        faces = split_faces(self.source, self.holdout, skip=self.on_error == "skip")
        return faces if self.boxes is None else with_own_boxes(faces, Path(self.boxes))

    def _every_face_of(self, split: Split) -> list[Face]:
        """The faces of a split, whatever the protocol counts; those that cannot be used are left out where they may."""
        if split not in self._usable:
            faces = self._splits[split]
            if self.on_error == "skip" and split != "test":
                faces = self._without_faults(split, faces)
            self._usable[split] = faces
        return self._usable[split]

    def _without_faults(self, split: Split, faces: list[Face]) -> list[Face]:
        with leaving_out() as left_out:
            sound = []
            for face in faces:
                with entry():
                    check_face(face, self.schema, self.protocol)
                    self.protocol.normalizers_of([face], self.schema)
                    sound.append(face)
            regions = Regions(self.source, sound, self.protocol, self.crop_size, 1.0, self.context)
            faults = regions.faults(self.cache and Path(self.cache), self.num_workers)
        left_out += faults.values()
        tell_left_out(f"{split} faces", left_out)
        return [face for index, face in enumerate(sound) if index not in faults]

    def _tested(self, faces: list[Face]) -> list[Face]:
        """Those of the test faces that the protocol counts."""
        tag = self.protocol.tag
        tested = [face for face in faces if tag is None or tag in face.tags]
        if faces and not tested:
            tags = sorted(set().union(*(face.tags for face in faces)))
            raise ValueError(
                f"data.protocol {self.protocol.name} tests faces tagged {tag!r}, but the {len(faces)} test faces of "
                f"{type(self.source).__name__} carry only the tags {tags}; choose another protocol"
            )
        return tested

    def dataset(self, split: Split | Literal["all"]) -> FaceDataset | EveryFace:
        """The samples of a split, augmented where it is `train`; built and checked once.

        `all` is every face of the set, for a first stage to find. Training faces are shown augmented there too, or they
        would be found better than others, and what is trained on that would not be ready for new faces.
        """
        if split not in self._datasets:
            self._datasets[split] = self._every_face() if split == "all" else self._split(split, self.faces(split))
        return self._datasets[split]

    def _split(self, split: Split, faces: list[Face]) -> FaceDataset:
        for face in faces:
            check_face(face, self.schema, self.protocol)
        train = split == "train"
        geometry = self.geometry if train else None
        reach = geometry.reach if geometry else 1.0
        regions = Regions(self.source, faces, self.protocol, self.crop_size, reach, self.context)
        if self.cache is not None:
            regions.keep_in(Path(self.cache), self.num_workers)
        photometric = self.photometric if train else None
        return FaceDataset(regions, self.schema, seed=self.seed, geometry=geometry, photometric=photometric)

    def _every_face(self) -> EveryFace:
        parts = {split: self._split(split, faces) for split in SPLITS if (faces := self._every_face_of(split))}
        if "train" in parts:
            # Not mirrored, which would rename landmarks; another seed makes crops that training never showed.
            geometry = self.geometry and replace(self.geometry, flip=0.0)
            augmentation = {"geometry": geometry, "photometric": self.photometric}
            regions = parts["train"].regions
            parts["train"] = FaceDataset(regions, self.schema, seed=self.seed + 1, **augmentation)
        return EveryFace(parts)

    def _splits_in_use(self) -> tuple[Split | Literal["all"], ...]:
        splits = {"fit": ("train", "val"), "validate": ("val",), "predict": (self.predicted,)}
        return splits.get(self.trainer.state.fn, ("test",))

    def state_dict(self) -> dict[str, Sequence]:
        """Goes into every checkpoint: the faces that it was trained on and chosen by, and where training stands."""
        faces = {split: self.digests(split) for split in ("train", "val")}
        where = position(self.trainer.fit_loop, self.batch_size)
        return {**faces, "position": where, "faces_per_step": self._faces_per_step, "seed": self.seed}

    def digests(self, split: Split) -> list[str]:
        """The faces of a split in a few letters each, sorted."""
        return sorted(map(digest, self.faces(split)))

    @property
    def _faces_per_step(self) -> int:
        return self.batch_size * self.trainer.world_size

    def _refuse_other_order(self, state: dict[str, Any]) -> None:
        """Within an epoch, where faces would be left out or come twice in another order of faces than it began with."""
        if state["train"] != self.digests("train"):
            raise ValueError("data.source gives other training faces; go on with those of this epoch until its end")
        now = {"data.batch_size x processes": self._faces_per_step, "seed_everything": self.seed}
        for (name, value), then in zip(now.items(), (state["faces_per_step"], state["seed"]), strict=True):
            if value != then:
                raise ValueError(f"{name} is {value}; go on with the {then} of this epoch until its end")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._position = state.get("position", self._position)
        if self.trainer.state.fn == "fit" and self._position[1]:
            self._refuse_other_order(state)
        if self.trainer.state.fn in ("validate", "test", "predict"):
            (split,) = self._splits_in_use()
            # Those of `all` that another cut makes test faces would be found better than new ones.
            scored = [part for part in SPLITS[1:] if self._every_face_of(part)] if split == "all" else [split]
            for part in scored:
                self.refuse_seen(state, part)

    def refuse_seen(self, state: dict[str, list[str]], split: Split) -> None:
        """Refuse to score faces that a checkpoint was trained on or chosen by, whatever cut them off now.

        state: what `state_dict` put into the checkpoint.
        """
        known = {*state.get("train", ()), *(state.get("val", ()) if split == "test" else ())}
        seen = [face.id for face in self.faces(split) if digest(face) in known]
        if seen:
            raise ValueError(
                f"{len(seen)} of {len(self.faces(split))} {split} faces were among those that this checkpoint was "
                f"trained on or chosen by, such as {seen[0]}; use the data.holdout of its training, or train again"
            )

    def prepare_data(self) -> None:
        # One process per machine writes the cache; the others find it in setup.
        for split in self._splits_in_use():
            self.dataset(split)

    def setup(self, stage: str) -> None:
        for split in self._splits_in_use():
            self.dataset(split)
        if stage == "fit" and not self._splits["test"]:
            log.warning(
                "%s has no test faces, and data.holdout.test cuts none: `wingmark test` will need another set",
                type(self.source).__name__,
            )

    def train_dataloader(self) -> DataLoader:
        return self._loader("train")

    def val_dataloader(self) -> DataLoader:
        return self._loader("val")

    def test_dataloader(self) -> DataLoader:
        return self._loader("test")

    def predict_dataloader(self) -> DataLoader:
        return self._loader(self.predicted)

    @cached_property
    def _repeats(self) -> np.ndarray | None:
        """How often every training face comes in an epoch; None where all come once."""
        if self.balancing is None:
            return None
        poses = self.poses(self.balancing)
        log.info(
            f"data.balancing: {len(poses.repeats):,} training faces are shown {poses.repeats.sum():,} times an epoch "
            f"(poses by component {poses.axis})"
        )
        return poses.repeats

    def poses(self, balancing: PoseBalancing) -> Poses:
        """The poses of the training faces, and how often each would come."""
        faces = self.faces("train")
        for face in faces:
            check_face(face, self.schema, self.protocol)
        return balancing.poses(faces, self.schema, self.protocol)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        # Lightning would search the batch for tensors, at every step.
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in batch))

    def _loader(self, split: Split | Literal["all"]) -> DataLoader:
        dataset, train = self.dataset(split), split == "train"
        replicas, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        repeats = self._repeats if train else None
        # An incomplete last batch unsettles BatchNorm; its faces come in another batch next epoch.
        showings = len(dataset) if repeats is None else int(repeats.sum())
        drop_last = train and showings // replicas >= self.batch_size
        dealt = {"num_replicas": replicas, "rank": rank, "shuffle": train, "drop_last": drop_last}
        sampler = FaceSampler(dataset, **dealt, seed=self.seed, repeats=repeats)
        if train:
            sampler.resume(*self._position)
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            drop_last=drop_last,
            persistent_workers=self.num_workers > 0,
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
            worker_init_fn=start_loading,
            generator=torch.Generator(),  # its own: drawing from the common one would shift what dropout draws
        )
