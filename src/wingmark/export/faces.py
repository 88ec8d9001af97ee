"""Faces to run exported files on: as batches of a graph's inputs."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from wingmark.data.dataset import FaceDataset
from wingmark.data.regions import Regions
from wingmark.data.sources import SyntheticFaces
from wingmark.export.graph import Dtype, Input, context_of
from wingmark.finder import LandmarkFinder
from wingmark.foreign import read_checkpoint
from wingmark.run import build_data, load_data, resolve, settings_of
from wingmark.schema import LandmarkSchema

CHECKED = 16  # faces that every file is run on


class KnownFaces(NamedTuple):
    """Faces to run a file on, and to score it by where that can be done."""

    check: FaceDataset
    told: str  # which these are
    scored: FaceDataset | None = None
    scored_told: str = ""


def run_faces(run: Path, checkpoint: Path, settings: list[str], schema: LandmarkSchema) -> KnownFaces:
    """Validation faces of a run, and its test faces to score by; of other data where settings of fit say so.

    Raises FileNotFoundError or ValueError where they cannot be read, have landmarks of another schema, or the model was
    trained on those to score by.
    """
    if settings and "first" in settings_of(run)["model"]:
        raise ValueError(f"{run} is a cascade, which is run on the data of its first stage: leave {settings[0]} out")
    data = build_data(resolve(["test", "--run", str(run), *settings])) if settings else load_data(run)
    if data.schema.name != schema.name:
        raise ValueError(f"data.source has landmarks of schema {data.schema.name}, the model finds {schema.name}")
    check, split = data.dataset("val"), "val"
    check[0]  # the photos may be gone where the list of them is not
    told = f"{min(len(check), CHECKED)} validation faces"
    with suppress(ValueError):  # not every set has some
        split = "test" if data.faces("test") else split
    content = read_checkpoint(checkpoint)
    if split == "test" and "LandmarkDataModule" in content:  # as Lightning does in a test
        data.refuse_seen(content["LandmarkDataModule"], split)
    scored = data.dataset(split)
    return KnownFaces(check, told, scored, f"{len(scored)} {'test' if split == 'test' else 'validation'} faces")


def drawn_faces(model: LandmarkFinder) -> KnownFaces:
    """Synthetic faces cropped by the rules of a model, whatever its markup: enough to compare two ways to compute."""
    source = SyntheticFaces(train=0, val=0, test=CHECKED)
    rule = "square" if model.protocol.crop == "contain" else model.protocol.crop
    protocol = replace(model.protocol, box="dataset", crop=rule, normalizer="box_size", schema=None)
    regions = Regions(source, source.faces("test"), protocol, model.crop_size, 1.0, context_of(model))
    return KnownFaces(FaceDataset(regions, source.schema), f"{CHECKED} synthetic faces", None, "")


def batches(
    faces: FaceDataset, indices: Sequence[int], size: int, input: Input, dtype: Dtype
) -> Iterator[tuple[Tensor, ...]]:
    """What a graph takes, `size` faces at a time."""
    for start in range(0, len(indices), size):
        chunk = indices[start : start + size]
        pixels, *boxes = _crops(faces, chunk) if input == "crops" else _photos(faces, chunk)
        yield pixels.to(getattr(torch, dtype)), *boxes


def _crops(faces: FaceDataset, indices: Sequence[int]) -> tuple[Tensor]:
    return (torch.stack([faces[index].image for index in indices]),)


def _photos(faces: FaceDataset, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Whole images, black to the right and below where others are larger, and upright boxes."""
    chosen = [faces.faces[index] for index in indices]
    images = [faces.regions.source.read_image(face) for face in chosen]
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    batch = np.zeros((len(images), height, width, 3), np.uint8)
    for place, image in zip(batch, images, strict=True):
        place[: image.shape[0], : image.shape[1]] = image
    boxes = [faces.protocol.crop_box(face) for face in chosen]
    corners = [(b.x - b.width / 2, b.y - b.height / 2, b.x + b.width / 2, b.y + b.height / 2) for b in boxes]
    return torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous(), torch.tensor(corners, dtype=torch.float32)
