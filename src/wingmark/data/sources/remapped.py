"""Any other source, its landmarks in another markup, where that is exact."""

from dataclasses import replace

import numpy as np

import wingmark.schema
from wingmark.data.sources.derived import DerivedSource
from wingmark.data.sources.source import Source, Split
from wingmark.types import Face

RIGHT_EYE, LEFT_EYE = range(36, 42), range(42, 48)
# From markup, to markup: for each landmark of the second, those of the first whose mean it is. The eyes of `five` are
# the pupils; where those are not annotated, the centers of the eyes, as in the distance between pupils.
MAPS: dict[tuple[str, str], tuple[tuple[int, ...], ...]] = {
    ("aflw21", "aflw19"): tuple((k,) for k in range(21) if k not in (12, 16)),  # without the ears
    ("aflw19", "five"): ((7,), (10,), (13,), (15,), (17,)),
    ("aflw21", "five"): ((7,), (10,), (14,), (17,), (19,)),
    ("cofw29", "five"): ((16,), (17,), (20,), (22,), (23,)),
    ("ibug68", "five"): (tuple(RIGHT_EYE), tuple(LEFT_EYE), (30,), (48,), (54,)),
    ("kaggle15", "five"): ((1,), (0,), (10,), (12,), (11,)),
    ("lapa106", "five"): ((104,), (105,), (54,), (84,), (90,)),
    ("wflw98", "five"): ((96,), (97,), (54,), (76,), (82,)),
}


class Remapped(DerivedSource):
    """The faces of `source` in the markup `schema`, a built-in one, so that sets of several markups can be combined.

    A landmark is valid where all that make it are, and occluded where one of them is. Raises ValueError for a pair of
    markups where a landmark of the one is not annotated in the other: positions are never guessed.
    """

    def __init__(self, source: Source, schema: str) -> None:
        super().__init__(source)
        own = source.schema.name
        if (own, schema) not in MAPS:
            possible = [to for start, to in MAPS if start == own]
            if own == schema:
                raise ValueError(f"data.source: these landmarks are {schema} already; take the source without Remapped")
            raise ValueError(
                f"data.source: landmarks of {own} cannot be turned into {schema} exactly, only into "
                f"{', '.join(possible) or 'no other markup'}; choose one of those, or leave the source as it is"
            )
        self._parts = [list(part) for part in MAPS[own, schema]]
        self.schema = wingmark.schema.get(schema)

    def faces(self, split: Split) -> list[Face]:
        return [self._remapped(face) for face in self.source.faces(split)]

    def _remapped(self, face: Face) -> Face:
        return replace(
            face,
            landmarks_image=np.stack([face.landmarks_image[part].mean(0) for part in self._parts]),
            valid=np.array([face.valid[part].all() for part in self._parts]),
            occluded=np.array([face.occluded[part].any() for part in self._parts]),
        )
