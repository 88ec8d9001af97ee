"""LaPa: 106 landmarks on faces of Flickr and of 300W's sets."""

import re
from math import isfinite
from pathlib import Path
from typing import ClassVar

import numpy as np

import wingmark.schema
from wingmark.data.sources.reading import (
    entry,
    files_of,
    image_of,
    images_by_stem,
    missing_layout,
    numbers,
    tell_if_partial,
    text_of,
)
from wingmark.data.sources.source import SPLITS, Source, Split
from wingmark.types import Face

# Reported by users to the authors of the set.
WRONG = (
    "115769026_0", "167007578_2", "298189567_0", "313229012_2", "2365836722_8", "2384162499_0", "3145217556_0",
    "4118951310_0", "8982300538_14", "11274997965_0", "12708537734_6", "12829797514_5", "13518888075_1",
    "HELEN_137346980_1_5", "HELEN_158249995_1_0", "HELEN_1437632861_1_4", "HELEN_2091477588_1_0",
    "HELEN_2091682510_1_0", "HELEN_2454607429_1_1", "HELEN_2488505181_1_2", "LFPW_image_train_0671_3",
    "LFPW_image_train_0800_0",
)  # fmt: skip


class LaPa(Source):
    """LaPa (Liu et al., A New Dataset and Boundary-Attention Semantic Segmentation for Face Parsing, 2020):

        root/{train,val,test}/images/<name>.jpg
        root/{train,val,test}/landmarks/<name>.txt

    All 106 landmarks are valid; numbers are taken as counted from 0. There are no boxes. The group is the photo: the
    name up to its first number, which keeps the faces of a photo together. Names that begin with HELEN or LFPW
    are photos of sets that 300W was made from: what was trained on them is not to be tested on 300W.
    """

    # Those of the archive; the paper counts 18,176 for training.
    published_counts: ClassVar[dict[Split, int]] = {"train": 18_168, "val": 2000, "test": 2000}
    known_defects: ClassVar[dict[str, str]] = dict.fromkeys(WRONG, "the landmarks are wrong")

    def __init__(self, root: str) -> None:
        self.root = Path(root)
        self.schema = wingmark.schema.get("lapa106")

    def faces(self, split: Split) -> list[Face]:
        there = [s for s in SPLITS if all((self.root / s / part).is_dir() for part in ("images", "landmarks"))]
        if not there:
            raise missing_layout("LaPa", self.root, f"{split}/images and {split}/landmarks")
        if split not in there:
            return []
        folder = self.root / split
        images, faces = images_by_stem(folder / "images"), []
        for path in files_of(folder / "landmarks", ".txt"):
            with entry(path):
                image = image_of(path.stem, images)
                faces.append(
                    Face(
                        id=f"{image.relative_to(self.root).as_posix()}#0",
                        image=image,
                        landmarks_image=read_points(path),
                        group=photo(path.stem),
                    )
                )
        tell_if_partial("LaPa", split, len(faces), self.published_counts[split], self.root)
        return faces


def read_points(path: Path) -> np.ndarray:
    """The points (106, 2) float64 of a text file: a line with their number and for each a line `x y`.

    Raises ValueError with the line where it holds something else.
    """
    text = text_of(path)
    count, *lines = text.rstrip().splitlines() or [""]
    if count.strip() != "106" or len(lines) != 106:
        raise ValueError(f"line 1: expected 106 and as many lines `x y`, got {count.strip()!r} and {len(lines)} lines")
    points = np.empty((106, 2))
    for number, line in enumerate(lines, start=2):
        try:
            x, y = numbers(line.split()).tolist()
        except ValueError:
            x = y = float("nan")
        if not (isfinite(x) and isfinite(y)):
            raise ValueError(f"line {number}: expected two finite numbers `x y`, got {line.strip()!r}")
        points[number - 2] = x, y
    # The last number may be cut off, and half a number is one too: 66 of 663.0.
    if text == text.rstrip() and "." in lines[0] and not re.search(r"\.\d+$", lines[-1]):
        raise ValueError(f"line 107: {lines[-1]!r} is cut off, other lines are like {lines[0]!r}")
    return points


def photo(stem: str) -> str:
    """The photo of a face of LaPa or JD-landmark, `10773046825` of `10773046825_0`, `HELEN_1_5` gives `HELEN_1`."""
    return re.match(r"\D*\d*", stem)[0]
