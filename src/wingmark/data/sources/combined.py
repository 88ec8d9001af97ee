"""Several sources of one markup as one."""

from collections import Counter
from dataclasses import replace

import numpy as np

from wingmark.data.sources.source import Source, Split
from wingmark.types import Face


class Combined(Source):
    """The faces of several sources, which are given names: `{300w: {...}, merl_rav: {...}}`.

    All must have the same markup; `Remapped` changes it. The name stands before the id of each face and is one of its
    tags, so that reports count each set apart. Every split has the faces that the sources have for it: what one set
    took from the photos of another is not known here, `wingmark inspect` finds equal images across splits. 300W-LP,
    LaPa and JD-landmark hold test photos of 300W.
    """

    def __init__(self, sources: dict[str, Source]) -> None:
        schemas = {name: source.schema for name, source in sources.items()}
        if not sources or any(schema != next(iter(schemas.values())) for schema in schemas.values()):
            found = ", ".join(f"{name}: {schema.name}" for name, schema in schemas.items()) or "none"
            raise ValueError(
                f"data.source: Combined needs sources of one markup, got {found}; "
                "wrap those of another in wingmark.data.sources.Remapped"
            )
        if wrong := [name for name in sources if "/" in name or not name]:
            raise ValueError(f"data.source: the names of combined sources must be words without '/', got {wrong}")
        self.sources = sources
        self.schema = next(iter(schemas.values()))
        counts = [Counter(source.published_counts) for source in sources.values()]
        self.published_counts = dict(sum(counts, Counter())) if all(counts) else {}

    def faces(self, split: Split) -> list[Face]:
        return [
            replace(face, id=f"{name}/{face.id}", tags=face.tags | {name})
            for name, source in self.sources.items()
            for face in source.faces(split)
        ]

    def _own(self, face: Face) -> tuple[str, Face]:
        """The source of a face by its name, and the face as that source gave it."""
        name, _, own_id = face.id.partition("/")
        return name, replace(face, id=own_id, tags=face.tags - {name})

    def check_splits(self, faces: dict[Split, list[Face]]) -> None:
        for name, source in self.sources.items():
            own = {split: [self._own(face) for face in of_split] for split, of_split in faces.items()}
            source.check_splits({split: [f for of, f in of_split if of == name] for split, of_split in own.items()})

    def known_defect(self, face: Face) -> str:
        name, own = self._own(face)
        return self.sources[name].known_defect(own)

    def image_version(self, face: Face) -> str:
        name, own = self._own(face)
        return self.sources[name].image_version(own)

    def read_image(self, face: Face, reduce: int = 1) -> np.ndarray:
        name, own = self._own(face)
        return self.sources[name].read_image(own, reduce)
