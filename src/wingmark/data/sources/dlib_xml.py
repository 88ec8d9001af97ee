"""The XML files that dlib's shape predictors are trained from."""

import posixpath
from collections import Counter
from pathlib import Path
from typing import NamedTuple
from xml.parsers import expat

import numpy as np

import wingmark.schema
from wingmark.data.sources.reading import entry, file_of_split, finite, image_in, parsing
from wingmark.data.sources.source import Source, Split
from wingmark.types import Box, Face


class BoxElement(NamedTuple):
    """A box of the file: its line, the path of its image, its attributes and those of its parts."""

    line: int
    image: str
    attributes: dict[str, str]
    parts: list[dict[str, str]]


class DlibXML(Source):
    """Faces in the XML format of dlib (King, Dlib-ml: A Machine Learning Toolkit, 2009) and its tool imglab:

        <image file='a.jpg'> <box top='90' left='194' width='37' height='37'> <part name='00' x='201' y='107'/> ...

    `train`, `val` and `test` are such files, relative to `root`. The path of an image starts from its file. Parts are
    named by the number of their landmark; one that a box lacks has no location. Boxes with ignore='1' are left out.
    Coordinates count from 0. The box `dataset` is the box, which may cut landmarks.

    allow_absolute: images may lie outside `root`, by an absolute path or by `..`; ids are then as the file has them.
    """

    def __init__(
        self,
        root: str,
        schema: str,
        train: str | None = None,
        val: str | None = None,
        test: str | None = None,
        allow_absolute: bool = False,
    ) -> None:
        self.root, self.files = Path(root), {"train": train, "val": val, "test": test}
        self.allow_absolute = allow_absolute
        self.schema = wingmark.schema.get(schema)

    def faces(self, split: Split) -> list[Face]:
        path = file_of_split("DlibXML", self.root, self.files, split)
        if path is None:
            return []
        faces, counts = [], Counter()
        for box in _boxes(path):
            if box.attributes.get("ignore") != "1":
                with entry(f"{path}, line {box.line}"):
                    name = posixpath.normpath((Path(self.files[split]).parent / box.image).as_posix())
                    counts[name] += 1
                    faces.append(self._face(box, name, counts[name] - 1))
        if not faces:
            raise ValueError(f"{path}: no box that is not ignored; choose another file")
        if not np.any([face.valid for face in faces], axis=0).all():
            raise ValueError(f"{path}: schema {self.schema.name} has a landmark that no box has; choose another schema")
        return faces

    def _face(self, box: BoxElement, name: str, number: int) -> Face:
        sides = ("left", "top", "width", "height")
        left, top, width, height = finite([box.attributes.get(side, f"no {side}") for side in sides]).tolist()
        if not (width > 0 and height > 0):
            raise ValueError(f"the box is {width:g} x {height:g} pixels")
        if not box.parts:
            raise ValueError("the box has no parts (ignore='1' leaves it out)")
        landmarks = np.full((self.schema.num_landmarks, 2), np.nan)
        for part in box.parts:
            landmark = part.get("name", "")
            if not (landmark.isdecimal() and int(landmark) < len(landmarks)):
                raise ValueError(f"the part {landmark!r} is none of the landmarks 0 to {len(landmarks) - 1}")
            if np.isfinite(landmarks[int(landmark)]).all():
                raise ValueError(f"the part {landmark!r} is there twice")
            landmarks[int(landmark)] = finite([part.get("x", "no x"), part.get("y", "no y")])
        return Face(
            id=f"{name}#{number}",
            image=image_in(self.root, name, self.allow_absolute),
            landmarks_image=landmarks,
            group=name,
            # dlib's rectangles are made of whole pixels: the last one is left + width - 1.
            boxes={"dataset": Box(left + (width - 1) / 2, top + (height - 1) / 2, width, height)},
        )


def _boxes(path: Path) -> list[BoxElement]:
    """The boxes of a file in its order. Raises ValueError for XML that is damaged or has a DOCTYPE."""
    parser, boxes, image, parents = expat.ParserCreate(), [], "", [""]

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal image
        if tag == "image":
            image = attributes.get("file", "").replace("\\", "/")
        elif (tag, parents[-1]) == ("box", "image"):
            boxes.append(BoxElement(parser.CurrentLineNumber, image, attributes, []))
        elif (tag, parents[-1]) == ("part", "box"):
            boxes[-1].parts.append(attributes)
        elif tag in ("box", "part"):
            raise ValueError(f"a {tag} in the wrong place, line {parser.CurrentLineNumber}")
        parents.append(tag)

    def refuse(*_: object) -> None:
        raise ValueError("a DOCTYPE, which dlib does not write, and whose entities may unfold without end")

    parser.StartElementHandler, parser.StartDoctypeDeclHandler = start, refuse
    parser.EndElementHandler = lambda tag: parents.pop()
    content = path.read_bytes()
    with parsing(path, "XML file of dlib", "write it again"):
        parser.Parse(content, True)
    return boxes
