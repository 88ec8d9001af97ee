"""All faces of a set at once, so that a first stage can find the landmarks of each."""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from wingmark.data.dataset import FaceDataset
from wingmark.types import Sample


class EveryFace(Dataset):
    """The samples of several splits behind each other, numbered through."""

    def __init__(self, parts: Sequence[FaceDataset]) -> None:
        self.parts = parts
        self.faces = [face for part in parts for face in part.faces]
        self.schema, self.protocol = parts[0].schema, parts[0].protocol
        self._starts = np.cumsum([0, *(len(part) for part in parts)]).tolist()

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, key: int | tuple[int, ...]) -> Sample:
        index, *showing = key if isinstance(key, tuple) else (key,)
        part = bisect_right(self._starts, index) - 1
        sample = self.parts[part][(index - self._starts[part], *showing)]
        return sample._replace(index=torch.tensor(index))
