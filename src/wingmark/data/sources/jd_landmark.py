"""JD-landmark: 106 landmarks on faces of 300W's sets, from the grand challenge of 2019."""

from pathlib import Path
from typing import ClassVar

import wingmark.schema
from wingmark.data.sources.lapa import photo, read_points
from wingmark.data.sources.reading import (
    box_from_corners,
    entry,
    files_of,
    finite,
    image_of,
    images_by_stem,
    missing_layout,
    tell_if_partial,
    text_of,
)
from wingmark.data.sources.source import Source, Split
from wingmark.types import Box, Face

FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": tuple(f"Training_data/{name}" for name in ("AFW", "HELEN", "IBUG", "LFPW")),
    "test": ("Test_data1",),
}


class JDLandmark(Source):
    """JD-landmark (Liu et al., Grand Challenge of 106-Point Facial Landmark Localization, 2019) as it unpacks:

        root/{Training_data/{AFW,HELEN,IBUG,LFPW},Test_data1}/picture/<name>.jpg
                                                              landmark/<name>.jpg.txt
                                                              rect/<name>.jpg.rect

    There is no validation split. All 106 landmarks are valid; numbers are taken as counted from 0. The box `dataset`
    is the rectangle, which training faces may come without. The group is the photo, as in LaPa. Training faces are
    photos of sets that 300W was made from: what was trained on them is not to be tested on 300W.
    """

    published_counts: ClassVar[dict[Split, int]] = {"train": 11_393, "test": 2000}

    def __init__(self, root: str) -> None:
        self.root = Path(root)
        self.schema = wingmark.schema.get("lapa106")

    def faces(self, split: Split) -> list[Face]:
        there = {
            name: self.root / name
            for name in (name for names in FOLDERS.values() for name in names)
            if (self.root / name / "picture").is_dir() and (self.root / name / "landmark").is_dir()
        }
        if not there:
            expected = "picture and landmark in Training_data/AFW, HELEN, IBUG or LFPW, or in Test_data1"
            raise missing_layout("JDLandmark", self.root, expected)
        faces = [face for name in FOLDERS.get(split, ()) if name in there for face in self._faces_in(there[name])]
        tell_if_partial("JDLandmark", split, len(faces), self.published_counts.get(split, 0), self.root)
        return faces

    def _faces_in(self, folder: Path) -> list[Face]:
        images, faces = images_by_stem(folder / "picture"), []
        for path in files_of(folder / "landmark", ".txt"):
            stem = Path(path.stem).stem  # <stem>.jpg.txt
            with entry(path):
                image = image_of(stem, images)
                faces.append(
                    Face(
                        id=f"{image.relative_to(self.root).as_posix()}#0",
                        image=image,
                        landmarks_image=read_points(path),
                        group=photo(stem),
                        boxes=_boxes(folder / "rect", path.stem),
                    )
                )
        return faces


def _boxes(folder: Path, name: str) -> dict[str, Box]:
    """The box of an image from its file `x_min y_min x_max y_max`; none where the folder of rectangles is missing."""
    if not folder.is_dir():
        return {}
    path = folder / f"{name}.rect"
    fields = text_of(path).split() if path.is_file() else []
    if len(fields) != 4:
        raise ValueError(f"expected its rectangle x_min y_min x_max y_max in {path}, got {len(fields)} numbers")
    return {"dataset": box_from_corners(*finite(fields).tolist())}
