"""Faces of three dots, one in each color channel, and a real `Landmarker` whose engine finds their centers."""

import numpy as np
import pytest

from wingmark.engines import Answer
from wingmark.infer import Landmarker
from wingmark.protocol import Protocol
from wingmark.schema import Contour, LandmarkSchema
from wingmark.types import Box

SCHEMA = LandmarkSchema("dots", 3, (1, 0, 2), contours={"all": Contour((0, 1, 2), True)})


class DotEngine:
    """The center of what is bright in each channel of a crop, moved by `shift`.

    expected_error: (K,) pixels of the crop, or None.
    """

    schema, crop_size, context = SCHEMA, 64, 1.0

    def __init__(self, box: str) -> None:
        self.protocol = Protocol("dots/box_size/v1", box=box, margin=2.0, normalizer="box_size")
        self.expected_error, self.shift = None, 0.0

    def __call__(self, crops):
        weight = np.maximum(crops.astype(float) - 60, 0) + 1e-9
        rows, columns = np.mgrid[: crops.shape[2], : crops.shape[3]]
        total = weight.sum((2, 3))
        landmarks = np.stack([(weight * columns).sum((2, 3)) / total, (weight * rows).sum((2, 3)) / total], -1)
        errors = None if self.expected_error is None else np.tile(self.expected_error, (len(crops), 1))
        return Answer(landmarks + self.shift, total / total.max(), errors)


class Dots:
    schema = SCHEMA
    shape = np.array([(-20, -15), (20, -13), (2, 18)], float)

    @staticmethod
    def draw(faces: list[np.ndarray], width: int = 320, height: int = 240) -> np.ndarray:
        """An image (H, W, 3) uint8 of faces (3, 2)."""
        rows, columns = np.mgrid[:height, :width]
        image = np.full((height, width, 3), 20.0)
        for landmarks in faces:
            for channel, (x, y) in enumerate(landmarks):
                image[..., channel] += 220 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 3.0**2))
        return np.clip(image, 0, 255).round().astype(np.uint8)

    @staticmethod
    def box(landmarks: np.ndarray) -> Box:
        """As a detector would draw it: not the smallest one, and a little beside it."""
        low, high = landmarks.min(0), landmarks.max(0)
        return Box.from_corners(low[0] - 4, low[1] - 10, high[0] + 8, high[1] + 6)

    @staticmethod
    def landmarker(box: str = "detector", **options) -> Landmarker:
        return Landmarker(DotEngine(box), **options)


@pytest.fixture
def dots() -> type[Dots]:
    return Dots
