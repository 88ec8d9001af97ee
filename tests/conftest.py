"""For many tests: a tiny data set, bright dots on a dark picture; and the order of all tests."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from wingmark import schema
from wingmark.data.sources.source import Source
from wingmark.geometry import shrink
from wingmark.types import Box, Face

# One thread, also in processes that tests start: nets this small gain nothing from more, lose much on a busy machine,
# and another number rounds differently.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
SLOW = ("test_confidence.py", "test_cli.py", "test_notebooks.py", "test_processes.py", "test_study.py")
COUNTS = {"train": 12, "val": 4, "test": 5}


class DotFaces(Source):
    """Pictures of 240 x 200 pixels with five Gaussian dots, one per landmark, each of its own color channel mix."""

    schema = schema.get("five")

    def __init__(self, counts: dict[str, int] = COUNTS) -> None:
        self.counts = counts

    def faces(self, split: str) -> list[Face]:
        return [self._face(split, i) for i in range(self.counts.get(split, 0))]

    def _face(self, split: str, i: int) -> Face:
        random = np.random.default_rng([len(split), i])
        base = np.array([(70, 60), (130, 62), (100, 95), (75, 130), (128, 132)], float)
        landmarks = base + random.uniform(-8, 8, (5, 2)) + random.uniform(-15, 15, 2)
        box = Box(100 + i % 3, 95.5, 100, 110, roll=20.0 * (i % 2))
        name = f"{split}/{i // 2:03d}.png"
        tags = frozenset({"odd"} if i % 2 else ())
        return Face(f"{name}#{i % 2}", Path(name), landmarks, name, {"dataset": box}, tags)

    def image_version(self, face: Face) -> str:
        return "1"

    def read_image(self, face: Face, reduce: int = 1) -> np.ndarray:
        rows, columns = np.mgrid[:200, :240]
        image = np.zeros((200, 240, 3))
        for k, (x, y) in enumerate(face.landmarks_image):
            dot = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 3.0**2))
            image += dot[..., None] * [255 * (k in (0, 3)), 255 * (k in (1, 4)), 255 * (k in (2, 3, 4))]
        return shrink(cv2.GaussianBlur(np.clip(image, 0, 255).astype(np.uint8), (3, 3), 0), reduce)[0]


@pytest.fixture
def dot_faces() -> type[DotFaces]:
    return DotFaces


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest files first: `make test` gives its workers whole files, and the last ones must be short."""
    items.sort(key=lambda item: item.path.name not in SLOW)
