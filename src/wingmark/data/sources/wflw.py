"""WFLW: 98 landmarks on faces in difficult conditions."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import wingmark.schema
from wingmark.data.sources.reading import (
    box_from_corners,
    entry,
    finite,
    image_in,
    lines_of,
    missing_layout,
    tell_if_partial,
)
from wingmark.data.sources.source import Source, Split
from wingmark.types import Face

FOLDERS = {"rect_attr": "list_98pt_rect_attr_train_test", "test": "list_98pt_test"}
FIELDS = {"rect_attr": (207, "196 coordinates, 4 corners, 6 flags, a path"), "test": (197, "196 coordinates, a path")}
TAGS = ("pose", "expression", "illumination", "make-up", "occlusion", "blur")
SUBSETS = {"pose": "largepose", "make-up": "makeup"}  # the lists of these conditions have other names
WAY_OUT = "correct the line or remove it"


class WFLW(Source):
    """WFLW (Wu et al., Look at Boundary, 2018) as its two archives unpack:

        root/WFLW_images/<event>/<name>.jpg
        root/WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{train,test}.txt
        root/WFLW_annotations/list_98pt_test/list_98pt_test.txt and list_98pt_test_{largepose,...,blur}.txt

    There is no validation split. Every face has 98 valid landmarks, some outside the image; numbers are taken as
    counted from 0. Tags are the six conditions of the test subsets. Faces of one image are numbered in the order of
    the list and form a group. `lists` says which of the two folders is read:

    rect_attr: both splits, and the box `dataset`, the list's detection rectangle, which may cut landmarks.
    test: the same test faces without a box, for copies that lack the other folder; no training faces.
    """

    published_counts: ClassVar[dict[Split, int]] = {"train": 7500, "test": 2500}

    def __init__(self, root: str, lists: Literal["rect_attr", "test"] = "rect_attr") -> None:
        self.root = Path(root)
        self.lists = lists
        self.schema = wingmark.schema.get("wflw98")

    def faces(self, split: Split) -> list[Face]:
        if split == "val" or (split, self.lists) == ("train", "test"):
            return []
        path = self._list("test" if self.lists == "test" else f"rect_attr_{split}")
        conditions = self._conditions(path) if self.lists == "test" else {}
        faces, counts = [], Counter()
        for where, fields in _lines(path):
            with entry(where, WAY_OUT):
                faces.append(self._face(fields, conditions.get(fields, set()), counts))
        if not faces:
            raise ValueError(f"{path}: the list is empty; unpack WFLW_annotations again")
        tell_if_partial("WFLW", split, len(faces), self.published_counts[split], self.root)
        return faces

    def _list(self, name: str) -> Path:
        path = self.root / "WFLW_annotations" / FOLDERS[self.lists] / f"list_98pt_{name}.txt"
        if not ((self.root / "WFLW_images").is_dir() and path.is_file()):
            raise missing_layout(
                "WFLW", self.root, f"WFLW_images and {path.relative_to(self.root)} (lists: {self.lists})"
            )
        return path

    def _conditions(self, test_list: Path) -> dict[tuple[str, ...], set[str]]:
        """The tags of each line of the test list, which the lists of the subsets repeat."""
        conditions = {fields: set() for _, fields in _lines(test_list)}
        for tag in TAGS:
            for where, fields in _lines(self._list(f"test_{SUBSETS.get(tag, tag)}")):
                with entry(where, WAY_OUT):
                    if fields not in conditions:
                        raise ValueError(f"no such line in {test_list.name}")
                    conditions[fields].add(tag)
        return conditions

    def _face(self, fields: tuple[str, ...], tags: set[str], counts: Counter) -> Face:
        """The face of one line: 98 points x y, in `rect_attr` a rectangle's corners and six flags, the image's path."""
        name = f"WFLW_images/{fields[-1]}"
        number, counts[name] = counts[name], counts[name] + 1
        count, meaning = FIELDS[self.lists]
        if len(fields) != count:
            raise ValueError(f"expected {count} fields ({meaning}), got {len(fields)}")
        landmarks, boxes = finite(fields[:196]).reshape(98, 2), {}
        if self.lists == "rect_attr":
            boxes, tags = {"dataset": box_from_corners(*finite(fields[196:200]))}, _flagged(fields[200:206])
        image = image_in(self.root, name)
        return Face(
            id=f"{name}#{number}", image=image, landmarks_image=landmarks, group=name, boxes=boxes, tags=frozenset(tags)
        )


def _lines(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The lines of a list that are not blank: where each stands, and its fields."""
    for number, line in enumerate(lines_of(path), start=1):
        if fields := tuple(line.split()):
            yield f"{path}, line {number}", fields


def _flagged(fields: Sequence[str]) -> set[str]:
    if not set(fields) <= {"0", "1"}:
        raise ValueError(f"the six flags must be 0 or 1, got {' '.join(fields)}")
    return {tag for tag, flag in zip(TAGS, fields, strict=True) if flag == "1"}
