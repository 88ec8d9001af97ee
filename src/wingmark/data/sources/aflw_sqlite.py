"""AFLW as it was published: up to 21 landmarks on faces in every pose, in a database."""

import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import numpy as np

import wingmark.schema
from wingmark.data.sources.aflw import flickr_image, image_folder
from wingmark.data.sources.reading import box_from_corners, entry, finite, missing_layout, parsing, tell_if_partial
from wingmark.data.sources.source import Source, Split
from wingmark.types import Face

FACES = """
    SELECT face_id, filepath, x, y, w, h FROM Faces
    LEFT JOIN FaceImages USING (file_id) LEFT JOIN FaceRect USING (face_id) ORDER BY face_id
"""
LANDMARKS = "SELECT face_id, feature_id, x, y FROM FeatureCoords"
MAX_STEPS = 4  # of SQLite's machine for each byte of the file: the whole set takes 0.4
MAX_GROWTH = 16  # of the faces as text, from their bytes in the file
MAX_LENGTH = 10_000  # of a value or a row, in bytes
# What is read must be stored as it is: a view or a virtual table can be any number of rows.
STORED = """
    SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE 'CREATE TABLE%'
    AND name COLLATE NOCASE IN ('Faces', 'FaceImages', 'FaceRect', 'FeatureCoords')
"""


class AFLWSqlite(Source):
    """AFLW (Koestinger et al., Annotated Facial Landmarks in the Wild, 2011) with the landmarks of its database:

        root/aflw.sqlite, root/flickr/{0,2,3}/<name>.jpg or .png, or the same under root/data

    Only visible landmarks were annotated: the others are not valid. Faces without any landmark are not read. Numbers
    are taken as counted from 0. There is no split, every face is train. The box `dataset` is the face's rectangle
    where it has one, which may lie far outside the image. Faces of one image are numbered in the order of `face_id`
    and form a group.
    """

    published_counts: ClassVar[dict[Split, int]] = {"train": 24_384}  # that have a rectangle

    def __init__(self, root: str) -> None:
        self.root = Path(root)
        self.schema = wingmark.schema.get("aflw21")

    def faces(self, split: Split) -> list[Face]:
        images = image_folder(self.root)
        path = next((p for p in (self.root / "aflw.sqlite", self.root / "data/aflw.sqlite") if p.is_file()), None)
        if split not in self.published_counts:
            return []
        if not (path and images):
            raise missing_layout("AFLWSqlite", self.root, "aflw.sqlite and flickr, or data with both")
        rows, landmarks = _read_database(path)
        faces, counts = [], Counter()
        for face_id, name, *rectangle in rows:
            if face_id in landmarks:
                with entry(f"{path}, face_id {face_id}", "unpack AFLW again"):
                    if name is None:
                        raise ValueError("FaceImages has no image for it")
                    faces.append(self._face(flickr_image(images, str(name)), counts, rectangle, landmarks[face_id]))
        if not faces:
            raise ValueError(f"{path}: no face has a landmark; unpack it again")
        tell_if_partial("AFLWSqlite", split, len(faces), self.published_counts[split], self.root)
        return faces

    def _face(self, image: Path, counts: Counter, rectangle: list, rows: list[tuple]) -> Face:
        """The face of a rectangle x, y, width, height, all None without one, and of rows feature_id, x, y."""
        name = image.relative_to(self.root).as_posix()
        counts[name] += 1
        ids = [feature_id for feature_id, *_ in rows]
        if len(set(ids)) < len(ids) or not set(ids) <= set(range(1, 22)):
            raise ValueError(f"the feature_id of its landmarks must be 1..21, each once at most, got {ids}")
        landmarks = np.full((21, 2), np.nan)
        landmarks[np.array(ids, int) - 1] = finite([number for _, *point in rows for number in point]).reshape(-1, 2)
        boxes = {}
        if rectangle != [None] * 4:
            x, y, width, height = finite(rectangle).tolist()
            boxes["dataset"] = box_from_corners(x, y, x + width, y + height)
        return Face(id=f"{name}#{counts[name] - 1}", image=image, landmarks_image=landmarks, group=name, boxes=boxes)


def _read_database(path: Path) -> tuple[list[tuple], dict[int, list[tuple]]]:
    """Rows of faces (face_id, image, x, y, width, height) and, by face_id, of landmarks (feature_id, x, y)."""
    landmarks, size = defaultdict(list), path.stat().st_size
    with path.open("rb") as file:
        page = int.from_bytes(file.read(18)[16:], "big")  # its size in bytes, 1 for 65536
    with (
        parsing(path, "database of AFLW"),
        closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database,
    ):
        if size % (65536 if page <= 1 else page):  # what is missing of the last one, SQLite takes for zeros
            raise ValueError(f"{size} bytes are not whole pages of {page}")
        # A damaged file may go round in circles, one made for it has tables that never end.
        database.set_progress_handler(lambda: 1, min(MAX_STEPS * size, 2**31 - 1))
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_LENGTH)
        if len(database.execute(STORED).fetchall()) != 4:
            raise ValueError("Faces, FaceImages, FaceRect and FeatureCoords are not all stored in it")
        faces, length = [], 0
        for row in database.execute(FACES):
            faces.append(row)
            length += len(str(row))
            if length > MAX_GROWTH * size:
                raise ValueError(f"its faces take more than {MAX_GROWTH} times the {size} bytes of the file")
        for face_id, *row in database.execute(LANDMARKS):
            landmarks[face_id].append(row)
    if len({face_id for face_id, *_ in faces}) < len(faces):
        raise ValueError(f"{path}: a face_id has several rows of FaceImages or FaceRect, expected one; unpack it again")
    return faces, landmarks
