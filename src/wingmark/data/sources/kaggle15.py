"""Facial Keypoints Detection of Kaggle: 15 landmarks on small gray pictures."""

from pathlib import Path
from typing import ClassVar

import numpy as np

import wingmark.schema
from wingmark.data.sources.reading import box_from_corners, entry, missing_layout, numbers, tell_if_partial
from wingmark.data.sources.source import Source, Split
from wingmark.geometry import shrink
from wingmark.types import Face

SIDE = 96
# In the order of the schema; left and right are the person's.
LANDMARKS = (
    "left_eye_center", "right_eye_center", "left_eye_inner_corner", "left_eye_outer_corner", "right_eye_inner_corner",
    "right_eye_outer_corner", "left_eyebrow_inner_end", "left_eyebrow_outer_end", "right_eyebrow_inner_end",
    "right_eyebrow_outer_end", "nose_tip", "mouth_left_corner", "mouth_right_corner", "mouth_center_top_lip",
    "mouth_center_bottom_lip",
)  # fmt: skip
HEADER = [*(f"{name}_{axis}" for name in LANDMARKS for axis in "xy"), "Image"]


class Kaggle15(Source):
    """The training faces of Kaggle's competition Facial Keypoints Detection (2013), in one file:

        root/training.csv

    with 15 landmarks and 96 x 96 gray values per line. Landmarks left blank, as most faces have some, are not valid;
    numbers are taken as counted from 0. The box `dataset` is the whole picture. Every face is a group: nothing tells
    which show the same person. Pictures stay in the file, each is read from its line when it is asked for.
    """

    published_counts: ClassVar[dict[Split, int]] = {"train": 7049}

    def __init__(self, root: str) -> None:
        self.root = Path(root)
        self.schema = wingmark.schema.get("kaggle15")
        self._starts: dict[str, int] = {}  # where the line of a face begins, in bytes, by its id

    def faces(self, split: Split) -> list[Face]:
        path = self.root / "training.csv"
        if split not in self.published_counts:
            return []
        if not path.is_file():
            raise missing_layout("Kaggle15", self.root, path.name)
        faces = []
        with path.open("rb") as file:
            header = file.readline()
            if header.decode("utf-8-sig", errors="replace").strip().split(",") != HEADER:
                raise ValueError(
                    f"{path}, line 1: expected {HEADER[0]},...,Image, 31 columns; unpack training.zip again"
                )
            start = len(header)
            for number, line in enumerate(file, start=2):
                if line.strip():
                    with entry(f"{path}, line {number}"):
                        face = _face(path, number, line)
                        self._starts[face.id] = start
                        faces.append(face)
                start += len(line)
        tell_if_partial("Kaggle15", split, len(faces), self.published_counts[split], self.root)
        return faces

    def read_image(self, face: Face, reduce: int = 1) -> np.ndarray:
        """The picture in the face's line, which `faces` has found before."""
        with face.image.open("rb") as file:
            file.seek(self._starts[face.id])
            pixels = file.readline().rpartition(b",")[2].split()
        try:
            gray = np.array([int(pixel) for pixel in pixels]).reshape(SIDE, SIDE, 1)
            if gray.min() < 0 or gray.max() > 255:
                raise ValueError(f"gray values must be 0 to 255, got {gray.min()} to {gray.max()}")
        except ValueError as error:
            line = int(face.id.rpartition("#")[2]) + 2
            raise ValueError(f"{face.image}, line {line}: {error}; correct or remove it") from error
        return shrink(np.repeat(gray.astype(np.uint8), 3, axis=2), reduce)[0]


def _face(path: Path, number: int, line: bytes) -> Face:
    *fields, pixels = line.decode(errors="replace").split(",")
    count = pixels.strip().count(" ") + 1
    if len(fields) != 30 or count != SIDE * SIDE:
        raise ValueError(f"expected 30 coordinates and {SIDE * SIDE} gray values, got {len(fields)} and {count}")
    landmarks = numbers([field.strip() or "nan" for field in fields])
    if (np.isfinite(landmarks) != [field.strip() != "" for field in fields]).any():
        raise ValueError("coordinates must be finite numbers, or blank")
    landmarks = landmarks.reshape(15, 2)
    known = np.isfinite(landmarks)
    if not known.any() or (known[:, 0] != known[:, 1]).any():
        raise ValueError("a landmark needs x and y or neither, and a face at least one landmark")
    name = f"{path.name}#{number - 2}"
    whole = box_from_corners(-0.5, -0.5, SIDE - 0.5, SIDE - 0.5)
    return Face(id=name, image=path, landmarks_image=landmarks, group=name, boxes={"dataset": whole})
