"""300W: 68 landmarks on the photos of AFW, HELEN, LFPW and iBUG."""

import re
from pathlib import Path
from typing import ClassVar

import numpy as np

import wingmark.schema
from wingmark.data.sources.matlab import mat_file
from wingmark.data.sources.pts import image_beside, read_pts
from wingmark.data.sources.reading import (
    box_from_corners,
    entry,
    files_of,
    finite,
    images_by_stem,
    missing_layout,
    tell_if_partial,
)
from wingmark.data.sources.source import Source, Split
from wingmark.types import Box, Face

# The folders of the set: their split and what their faces are called within it.
SETS: dict[str, tuple[Split, frozenset[str]]] = {
    "afw": ("train", frozenset()),
    "helen/trainset": ("train", frozenset()),
    "lfpw/trainset": ("train", frozenset()),
    "helen/testset": ("test", frozenset({"common"})),
    "lfpw/testset": ("test", frozenset({"common"})),
    "ibug": ("test", frozenset({"challenge"})),
}


class IBUG300W(Source):
    """The public part of 300W (Sagonas et al., 300 Faces In-The-Wild Challenge, 2016) as its archives unpack:

        root/afw/*.pts                      root/helen/{trainset,testset}/*.pts
        root/ibug/*.pts                     root/lfpw/{trainset,testset}/*.pts
        root/Bounding Boxes/bounding_boxes_*.mat

    with the image beside each `.pts`. Test faces are tagged `common` (HELEN, LFPW) or `challenge` (iBUG). The box
    `detector` is there where its files are. The group is the photo.
    """

    published_counts: ClassVar[dict[Split, int]] = {"train": 3148, "test": 689}
    known_defects: ClassVar[dict[str, str]] = {"3796238727_3": "landmarks 18 and 19 are exchanged"}

    def __init__(self, root: str) -> None:
        self.root = Path(root)
        self.schema = wingmark.schema.get("ibug68")

    def faces(self, split: Split) -> list[Face]:
        folders = {name: folder for name in SETS if (folder := self._folder(name)).is_dir()}
        if not folders:
            raise missing_layout("IBUG300W", self.root, f"some of {', '.join(SETS)}")
        faces = [face for name in folders if SETS[name][0] == split for face in self._faces_of(name, folders[name])]
        tell_if_partial("IBUG300W", split, len(faces), self.published_counts.get(split, 0), self.root)
        return faces

    def _folder(self, name: str) -> Path:
        """Where a set lies; some unpackings nest once more, as `afw/afw`."""
        return nested if (nested := self.root / name.partition("/")[0] / name).is_dir() else self.root / name

    def _faces_of(self, name: str, folder: Path) -> list[Face]:
        images, boxes, faces = images_by_stem(folder), self._detector_boxes(name), []
        originals = [path for path in files_of(folder, ".pts") if not path.stem.endswith("_mirror")]
        for path in originals:
            with entry():
                image = image_beside(path, images)
                faces.append(
                    Face(
                        id=f"{image.relative_to(self.root).as_posix()}#0",
                        image=image,
                        landmarks_image=read_pts(path, 68) - 1,  # counted from 1, as in MATLAB
                        group=_photo(name, path.stem),
                        boxes={"detector": boxes[path.stem]} if path.stem in boxes else {},
                        tags=SETS[name][1],
                    )
                )
        return faces

    def _detector_boxes(self, name: str) -> dict[str, Box]:
        """The detector's boxes by the stem of the image; iBUG's file also holds faces of AFW."""
        path, boxes = self.root / "Bounding Boxes" / f"bounding_boxes_{name.replace('/', '_')}.mat", {}
        if not path.is_file():
            return boxes
        for number, row in enumerate(np.atleast_1d(mat_file(path, "bounding_boxes")["bounding_boxes"])):
            with entry(f"{path}, bounding_boxes[{number}]", "correct it or unpack it again"):
                try:
                    boxes[Path(row.imgName).stem] = box_from_corners(*(finite(row.bb_detector.tolist()) - 1).tolist())
                except (AttributeError, TypeError) as error:
                    raise ValueError(f"expected imgName and 4 numbers bb_detector ({error})") from error
        return boxes


def _photo(name: str, stem: str) -> str:
    """The photo of a face: `afw`, `1051618982_1` gives `afw/1051618982`; LFPW's `image_0001` has no face number."""
    photo = re.sub(r"(?<=\d)\s*_\d+$", "", stem)
    # HELEN numbers photos across its two folders (296814969 is in both), LFPW counts in each from 1.
    return f"helen/{photo}" if name.startswith("helen/") else f"{name}/{photo}"
