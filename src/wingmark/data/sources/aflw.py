"""AFLW as the literature uses it: 19 landmarks, re-annotated, on faces in every pose."""

import os
from collections import Counter
from pathlib import Path
from typing import ClassVar

import numpy as np

import wingmark.schema
from wingmark.data.sources.matlab import mat_file
from wingmark.data.sources.reading import (
    box_from_corners,
    entry,
    finite,
    image_in,
    missing_layout,
    tell_if_partial,
)
from wingmark.data.sources.source import Source, Split
from wingmark.types import Face

# The columns of the list by the name of its variable.
COLUMNS = {"bbox": 4, "data": 38, "mask_new": 19}
NUM_TRAIN = 20_000


class AFLW(Source):
    """AFLW with the 19 landmarks of Zhu et al., Unconstrained Face Alignment via Cascaded Compositional Learning, 2016:

        root/AFLWinfo_release.mat
        root/flickr/{0,2,3}/<name>.jpg or .png, or the same under root/data

    Landmarks, taken as counted from 0, are valid where they are hidden too: those are `occluded`, and a face without
    any is tagged `frontal`. The first 20,000 faces of the list's own order `ra` are train, what follows is test, so
    that a list cut to 20,000 or less has train faces only. The order is one of faces: a photo with several may be on
    both sides. The box `dataset` is the list's rectangle. Faces of one image are numbered in the order of the rows and
    form a group.
    """

    published_counts: ClassVar[dict[Split, int]] = {"train": NUM_TRAIN, "test": 4386}

    def __init__(self, root: str) -> None:
        self.root = Path(root)
        self.schema = wingmark.schema.get("aflw19")

    def faces(self, split: Split) -> list[Face]:
        path, images = self.root / "AFLWinfo_release.mat", image_folder(self.root)
        if split not in self.published_counts:
            return []
        if not (path.is_file() and images):
            raise missing_layout("AFLW", self.root, f"{path.name} and flickr or data/flickr")
        names, order, table = _read_list(path)
        counts, numbers = Counter(), []
        for name in names:
            counts[name] += 1
            numbers.append(counts[name] - 1)
        faces = []
        for row in order[:NUM_TRAIN] if split == "train" else order[NUM_TRAIN:]:
            with entry(f"{path}, row {row + 1}", "unpack AFLW again"):
                faces.append(self._face(flickr_image(images, names[row]), numbers[row], *(a[row] for a in table)))
        tell_if_partial("AFLW", split, len(faces), self.published_counts[split], self.root)
        return faces

    def _face(self, image: Path, number: int, rectangle: np.ndarray, data: np.ndarray, visible: np.ndarray) -> Face:
        left, right, top, bottom = finite(rectangle.tolist()).tolist()
        if not np.isin(visible, (0, 1)).all():
            raise ValueError(f"mask_new must be 0 or 1, got {visible.tolist()}")
        name = image.relative_to(self.root).as_posix()
        return Face(
            id=f"{name}#{number}",
            image=image,
            landmarks_image=finite(data.tolist()).reshape(2, 19).T,  # all x, then all y
            group=name,
            boxes={"dataset": box_from_corners(left, top, right, bottom)},
            tags=frozenset({"frontal"} if visible.all() else ()),
            occluded=visible == 0,
        )


def _read_list(path: Path) -> tuple[list[str], np.ndarray, list[np.ndarray]]:
    """The images' names (N), the order of the faces (N,) from 0, and rectangles, data and visibility by row."""
    content = mat_file(path, "nameList", "ra", *COLUMNS)
    names = list(map(str, np.atleast_1d(content["nameList"])))
    try:
        order = np.ravel(content["ra"]).astype(int) - 1
        table = [np.atleast_2d(content[name]).astype(float) for name in COLUMNS]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: ra, {', '.join(COLUMNS)} must hold numbers ({error}); unpack it again") from error
    expected = [(len(names), columns) for columns in COLUMNS.values()]
    if sorted(order.tolist()) != list(range(len(names))) or [a.shape for a in table] != expected:
        raise ValueError(
            f"{path}: {len(names)} names need ra to hold 1..{len(names)} once each and {', '.join(COLUMNS)} of shapes "
            f"{expected}, got {[a.shape for a in table]}; unpack it again"
        )
    return names, order, table


def image_folder(root: Path) -> Path | None:
    """The folder that AFLW's lists count from: `flickr`, or `data/flickr` in the set's own archive."""
    return next((folder for folder in (root / "flickr", root / "data/flickr") if folder.is_dir()), None)


def flickr_image(folder: Path, name: str) -> Path:
    """The image that a list of AFLW names, with whichever suffix it has there; ValueError where there is none."""
    if not os.path.isfile(folder / name):  # unlike Path.is_file, of names that no file can have too
        # Lists call some images .jpg that are .png; copies exist with all of them converted.
        others = [Path(name).with_suffix(suffix).as_posix() for suffix in (".jpg", ".png", ".JPG", ".PNG")]
        name = next((other for other in others if os.path.isfile(folder / other)), name)
    return image_in(folder, name)
