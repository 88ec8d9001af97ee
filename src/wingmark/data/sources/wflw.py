"""WFLW: 98 landmarks on faces in difficult conditions."""

from collections import Counter
from pathlib import Path
from typing import ClassVar

import wingmark.schema
from wingmark.data.sources.reading import entry, finite, image_in, missing_layout, tell_if_partial, text_of
from wingmark.data.sources.source import Source, Split
from wingmark.types import Box, Face

LISTS = "WFLW_annotations/list_98pt_rect_attr_train_test"
TAGS = ("pose", "expression", "illumination", "make-up", "occlusion", "blur")


class WFLW(Source):
    """WFLW (Wu et al., Look at Boundary, 2018) as its two archives unpack:

        root/WFLW_images/<event>/<name>.jpg
        root/WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{train,test}.txt

    There is no validation split. Every face has 98 valid landmarks, some outside the image; numbers are taken as
    counted from 0. The box `dataset` is the list's detection rectangle, which may cut landmarks. Tags are the six
    conditions of the test subsets. Faces of one image are numbered in the order of the list and form a group.
    """

    published_counts: ClassVar[dict[Split, int]] = {"train": 7500, "test": 2500}

    def __init__(self, root: str) -> None:
        self.root = Path(root)
        self.schema = wingmark.schema.get("wflw98")

    def faces(self, split: Split) -> list[Face]:
        path = self.root / LISTS / f"list_98pt_rect_attr_{split}.txt"
        if split not in self.published_counts:
            return []
        if not ((self.root / "WFLW_images").is_dir() and path.is_file()):
            raise missing_layout("WFLW", self.root, f"WFLW_images and {path.relative_to(self.root)}")
        faces, counts = [], Counter()
        for number, line in enumerate(text_of(path).splitlines(), start=1):
            if line.strip():
                with entry(f"{path}, line {number}", "correct the line or remove it"):
                    faces.append(self._face(line.split(), counts))
        if not faces:
            raise ValueError(f"{path}: the list is empty; unpack WFLW_annotations again")
        tell_if_partial("WFLW", split, len(faces), self.published_counts[split], self.root)
        return faces

    def _face(self, fields: list[str], counts: Counter) -> Face:
        """The face of one line: 98 points x y, the rectangle's two corners, six flags, the path of the image."""
        if len(fields) != 207:
            raise ValueError(f"expected 207 fields (196 coordinates, 4 corners, 6 flags, a path), got {len(fields)}")
        numbers = finite(fields[:200])
        x_min, y_min, x_max, y_max = numbers[196:].tolist()
        if not (x_min < x_max and y_min < y_max):
            raise ValueError(f"the rectangle {' '.join(fields[196:200])} (x_min y_min x_max y_max) has no area")
        if not set(fields[200:206]) <= {"0", "1"}:
            raise ValueError(f"the six flags must be 0 or 1, got {' '.join(fields[200:206])}")
        name = f"WFLW_images/{fields[206]}"
        image = image_in(self.root, name)
        counts[name] += 1
        return Face(
            id=f"{name}#{counts[name] - 1}",
            image=image,
            landmarks_image=numbers[:196].reshape(98, 2),
            group=name,
            boxes={"dataset": Box.from_corners(x_min, y_min, x_max, y_max)},
            tags=frozenset(tag for tag, flag in zip(TAGS, fields[200:206], strict=True) if flag == "1"),
        )
