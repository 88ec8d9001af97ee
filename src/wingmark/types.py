"""The records that travel through wingmark: Box, Face, Sample, Batch, Found, Prediction.

Shape letters used everywhere: B batch, K landmarks, C channels, S stacks, H W rows and columns.
A point is (x, y) in pixels, 0-based, with the pixel center at the integer: an image spans
[-0.5, W - 0.5] x [-0.5, H - 0.5].
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch


@dataclass(frozen=True)
class Box:
    """A rectangle around a face: center and sides in image pixels, roll in degrees (clockwise on screen)."""

    x: float
    y: float
    width: float
    height: float
    roll: float = 0.0

    @classmethod
    def from_corners(cls, x_min: float, y_min: float, x_max: float, y_max: float) -> "Box":
        """The axis-aligned box with the given corners, in the frame of the landmarks."""
        return cls((x_min + x_max) / 2, (y_min + y_max) / 2, x_max - x_min, y_max - y_min)


@dataclass(frozen=True, eq=False)
class Face:
    """One annotated face.

    `id` is the image path relative to the root plus `#n` (the n-th face of that image), equal on every
    machine. `valid` marks the landmarks whose location is annotated and is the only mask in losses and
    metrics: those with finite coordinates, unless given. `occluded` marks annotated landmarks that are covered: none,
    unless given. `group` names the photo (or the identity where known); faces of one group never end up on two sides
    of a split.
    """

    id: str
    image: Path
    landmarks_image: np.ndarray  # (K, 2) float64
    group: str
    boxes: dict[str, Box] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    valid: np.ndarray = None  # (K,) bool
    occluded: np.ndarray = None  # (K,) bool

    def __post_init__(self) -> None:
        if self.valid is None:
            object.__setattr__(self, "valid", np.isfinite(self.landmarks_image).all(-1))
        if self.occluded is None:
            object.__setattr__(self, "occluded", np.zeros(len(self.landmarks_image), bool))


def name_faces(ids: Sequence[str], chosen: np.ndarray) -> str:
    """How many faces are chosen (N,) and the first of them by name and row, counted from 0: for errors."""
    rows = np.flatnonzero(chosen)
    names = ", ".join(f"{ids[row]} (row {row})" for row in rows[:4])
    return f"{len(rows)} of {len(ids)} faces: {names}{', ...' if len(rows) > 4 else ''}"


class Sample(NamedTuple):
    """What the data set hands to the network for one face; `Batch` is the same with a leading B."""

    image: torch.Tensor  # (3, H, W) uint8, RGB
    landmarks_crop: torch.Tensor  # (K, 2) float32, pixels of the crop
    landmarks_image: torch.Tensor  # (K, 2) float64, pixels of the original image, as annotated
    valid: torch.Tensor  # (K,) bool
    crop_to_image: torch.Tensor  # (2, 3) float64
    normalizer: torch.Tensor  # () float64, pixels of the original image
    index: torch.Tensor  # () int64, position of the face in its split


Batch = Sample


class Found(NamedTuple):
    """Landmarks found in a batch of crops.

    `score` is None where the codec defines none, `expected_error` where the model is not calibrated.
    """

    landmarks_crop: torch.Tensor  # (B, K, 2) float32, from a cascade float64
    score: torch.Tensor | None  # (B, K) float32
    expected_error: torch.Tensor | None  # (B, K) float32, pixels of the crop


class Prediction(NamedTuple):
    """`Found` for a batch of faces, in pixels of their images."""

    index: torch.Tensor  # (B,) int64
    landmarks_image: torch.Tensor  # (B, K, 2) float64
    score: torch.Tensor | None  # (B, K) float32
    expected_error: torch.Tensor | None  # (B, K) float32, pixels of the original image
