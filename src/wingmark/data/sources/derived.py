"""What sources made of another source have in common."""

import numpy as np

from wingmark.data.sources.source import Source, Split
from wingmark.types import Face


class DerivedSource(Source):
    """The faces of another source, changed; their ids and images stay."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.schema = source.schema
        self.published_counts = source.published_counts

    def check_splits(self, faces: dict[Split, list[Face]]) -> None:
        self.source.check_splits(faces)

    def known_defect(self, face: Face) -> str:
        return self.source.known_defect(face)

    def image_version(self, face: Face) -> str:
        return self.source.image_version(face)

    def read_image(self, face: Face, reduce: int = 1) -> np.ndarray:
        return self.source.read_image(face, reduce)
