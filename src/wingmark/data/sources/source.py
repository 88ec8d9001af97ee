"""What a data set on disk must offer to be used."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, get_args

import numpy as np

from wingmark.data.images import read_image
from wingmark.schema import LandmarkSchema
from wingmark.types import Face

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


class Source(ABC):
    """One data set on disk, read into faces.

    Constructing a source reads nothing but a schema file, so a config can be checked without the data.
    `published_counts` holds the number of faces of the full set by split; a copy with fewer is used all the same
    and its owner is told. `known_defects` tells, by the stem of the image, what is known to be wrong with a face; it is
    used all the same, and `wingmark inspect` names it.
    """

    schema: LandmarkSchema
    published_counts: ClassVar[dict[Split, int]] = {}
    known_defects: ClassVar[dict[str, str]] = {}

    @abstractmethod
    def faces(self, split: Split) -> list[Face]:
        """The faces of a split, in the same order on every machine; empty where the set has no such split.

        Raises FileNotFoundError for a missing root or layout, ValueError (file, line, way out) for annotations
        that cannot be read.
        """

    def check_splits(self, faces: dict[Split, list[Face]]) -> None:  # noqa: B027, most sources have nothing to refuse
        """Refuse splits, as they are after the holdout was cut, that this source knows to be unsound: ValueError."""

    def known_defect(self, face: Face) -> str:
        """What `known_defects` say of a face; empty where they say nothing."""
        return self.known_defects.get(face.image.stem, "")

    def image_version(self, face: Face) -> str:
        """Changes whenever the image of a face changes; part of the cache's name."""
        status = face.image.stat()
        return f"{status.st_size} {status.st_mtime_ns}"

    def read_image(self, face: Face, reduce: int = 1) -> np.ndarray:
        """The image of a face, (H, W, 3) uint8 RGB, averaged in blocks of `reduce` pixels as `geometry.shrink` does."""
        return read_image(face.image, reduce)
