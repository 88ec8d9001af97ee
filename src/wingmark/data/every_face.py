"""All faces of a set at once, so that a first stage can find the landmarks of each."""

from bisect import bisect_right
from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import Dataset

from wingmark.data.dataset import FaceDataset
from wingmark.data.sources.source import Split
from wingmark.types import Sample


class EveryFace(Dataset):
    """The samples of several splits behind each other, numbered through; each face is tagged with its split."""

    def __init__(self, parts: dict[Split, FaceDataset]) -> None:
        self.parts = list(parts.values())
        self.faces = [replace(face, tags=face.tags | {split}) for split, part in parts.items() for face in part.faces]
        self.schema, self.protocol = self.parts[0].schema, self.parts[0].protocol
        self._starts = np.cumsum([0, *(len(part) for part in self.parts)]).tolist()

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, key: tuple[int, int, int]) -> Sample:
        index, epoch, copy = key
        part = bisect_right(self._starts, index) - 1
        sample = self.parts[part][index - self._starts[part], epoch, copy]
        return sample._replace(index=torch.tensor(index))
