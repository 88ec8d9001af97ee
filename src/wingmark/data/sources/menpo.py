"""Images with a `.pts` or `.ljson` file beside each: Menpo's packs and whatever its tools wrote."""

import reprlib
from pathlib import Path
from typing import ClassVar

import numpy as np

import wingmark.schema
from wingmark.data.sources.pts import image_beside, read_pts
from wingmark.data.sources.reading import entry, images_by_stem, is_number, json_of, missing_layout
from wingmark.data.sources.source import Source, Split
from wingmark.types import Face


class Menpo(Source):
    """A tree of folders with an annotation beside each image, as in the Menpo Benchmark (Deng et al., 2019):

        root/.../<name>.jpg    root/.../<name>.pts or <name>.ljson

    `.pts` counts from 1. `.ljson` is the JSON of the menpo library: rows before columns, counted from 0, null for a
    landmark without location; of its groups of landmarks, the one with as many as the schema has is read. All faces
    are training faces. The benchmark's profiles have 39 landmarks: give them a schema and a `root` of their own.
    """

    known_defects: ClassVar[dict[str, str]] = {
        "einstein": "example of the menpo library; it is image_040 of iBUG, a test face of 300W",
        "breakingbad": "example of the menpo library; it is image_095 of iBUG, a test face of 300W",
    }

    def __init__(self, root: str, schema: str = "ibug68") -> None:
        self.root = Path(root)
        self.schema = wingmark.schema.get(schema)

    def faces(self, split: Split) -> list[Face]:
        if split != "train":
            return []
        files = sorted(path for path in self.root.rglob("*") if path.suffix.lower() in (".pts", ".ljson"))
        if not files:
            raise missing_layout("Menpo", self.root, "images with a .pts or .ljson file beside each")
        images = {folder: images_by_stem(folder) for folder in {path.parent for path in files}}
        annotated = set()
        faces = []
        for path in files:
            with entry():
                image = image_beside(path, images[path.parent])
                if image in annotated:
                    raise ValueError(f"{path}: {image.name} has another annotation beside it; remove one of them")
                annotated.add(image)
                faces.append(self._face(path, image))
        return faces

    def _face(self, path: Path, image: Path) -> Face:
        name = image.relative_to(self.root).as_posix()
        count = self.schema.num_landmarks
        landmarks = read_pts(path, count) - 1 if path.suffix.lower() == ".pts" else read_ljson(path, count)
        return Face(id=f"{name}#0", image=image, landmarks_image=landmarks, group=name)


def read_ljson(path: Path, num_landmarks: int) -> np.ndarray:
    """The points (K, 2) float64 of an `.ljson` file, x before y, counted from 0, NaN where they are null.

    Raises ValueError naming the file where not exactly one of its groups has `num_landmarks` points.
    """
    content = json_of(path)
    try:
        # Version 3 names its groups, version 2 has one.
        groups = content.get("groups", {"": content})
        points = {name: group["landmarks"]["points"] for name, group in groups.items()}
        counts = {name: len(rows) for name, rows in points.items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected groups with landmarks and their points; export it again") from error
    fitting = [rows for rows in points.values() if len(rows) == num_landmarks]
    if len(fitting) != 1:
        raise ValueError(f"{path}: expected one group of {num_landmarks} points, got {counts}; choose another schema")
    landmarks = np.full((num_landmarks, 2), np.nan)
    for i, row in enumerate(fitting[0]):
        if not (isinstance(row, list) and len(row) == 2 and (row == [None, None] or all(map(is_number, row)))):
            found = reprlib.repr(row)
            raise ValueError(f"{path}: point {i} must be two finite numbers or two nulls, got {found}; correct it")
        if row != [None, None]:
            landmarks[i] = row[::-1]
    if np.isnan(landmarks).all():
        raise ValueError(f"{path}: no point has a location; remove the file")
    return landmarks
