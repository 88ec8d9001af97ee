"""AFLW's database from small trees in its true layout, and from real files where WINGMARK_DATA names them."""

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from wingmark.data.sources import AFLWSqlite
from wingmark.types import Box

DATA = os.environ.get("WINGMARK_DATA")
real = pytest.mark.skipif(DATA is None, reason="WINGMARK_DATA is not set: the folder of real samples/aflw/")

TABLES = """
    CREATE TABLE Faces (face_id, file_id, db_id);
    CREATE TABLE FaceImages (image_id, db_id, file_id, filepath, bw, width, height);
    CREATE TABLE FaceRect (face_id, x, y, w, h, annot_type_id);
    CREATE TABLE FeatureCoords (face_id, feature_id, x, y, annot_type_id);
    INSERT INTO Faces VALUES (12, 'b.jpg', 'aflw'), (11, 'a.jpg', 'aflw'), (13, 'b.jpg', 'aflw'), (14, 'a.jpg', 'aflw');
    INSERT INTO FaceImages VALUES (1, 'aflw', 'a.jpg', '0/a.jpg', 0, 90, 80), (2, 'aflw', 'b.jpg', '3/b.jpg', 0, 9, 8);
    INSERT INTO FaceRect VALUES (13, -50, 7, 30, 40, 1), (11, 5, 6, 20, 20, 1), (14, 1, 1, 1, 1, 1);
    INSERT INTO FeatureCoords VALUES
        (12, 21, 3.5, 4.5, 1), (11, 1, 10.25, 20.75, 1), (11, 13, -1, 2, 1), (12, 1, 0, 0, 1), (13, 8, 7, 9, 1);
"""


def change(root: Path, command: str) -> Path:
    path = root / "aflw.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(command)
    return path


@pytest.fixture
def root(tmp_path) -> Path:
    root = tmp_path / "AFLW #1 ä"  # characters that mean something in the address of a database
    for name in ("flickr/0/a.jpg", "flickr/3/b.jpg"):
        (root / name).parent.mkdir(parents=True)
        (root / name).touch()  # holds nothing: listing must not decode it
    change(root, TABLES)
    return root


def test_faces_are_read_in_the_order_of_their_ids(root):
    source = AFLWSqlite(str(root))
    faces = source.faces("train")
    assert source.schema.name == "aflw21" and source.faces("val") == source.faces("test") == []
    assert [face.id for face in faces] == ["flickr/0/a.jpg#0", "flickr/3/b.jpg#0", "flickr/3/b.jpg#1"]
    assert [face.group for face in faces] == ["flickr/0/a.jpg", "flickr/3/b.jpg", "flickr/3/b.jpg"]
    assert [face.image for face in faces] == [root / face.group for face in faces]
    expected = [
        {0: (10.25, 20.75), 12: (-1.0, 2.0)},
        {0: (0.0, 0.0), 20: (3.5, 4.5)},
        {7: (7.0, 9.0)},
    ]
    for face, landmarks in zip(faces, expected, strict=True):
        assert face.landmarks_image.shape == (21, 2)
        for i in range(21):
            assert face.valid[i] == (i in landmarks)
            np.testing.assert_array_equal(face.landmarks_image[i], landmarks.get(i, (np.nan, np.nan)))
        assert not face.occluded.any()


def test_rectangle_is_the_box_where_there_is_one(root):
    boxes = [face.boxes for face in AFLWSqlite(str(root)).faces("train")]
    assert boxes == [{"dataset": Box(15, 16, 20, 20)}, {}, {"dataset": Box(-35, 27, 30, 40)}]


def test_layout_of_the_archive_and_another_suffix(root):
    (root / "data").mkdir()
    for name in ("flickr", "aflw.sqlite"):
        (root / name).rename(root / "data" / name)
    (root / "data/flickr/0/a.jpg").rename(root / "data/flickr/0/a.png")
    assert AFLWSqlite(str(root)).faces("train")[0].id == "data/flickr/0/a.png#0"


def test_partial_copy_is_told(root, caplog):
    AFLWSqlite(str(root)).faces("train")
    assert caplog.messages == [f"AFLWSqlite train: 3 of 24384 faces found under {root}: a partial copy"]


BAD_FACE = {
    "feature 22": ("UPDATE FeatureCoords SET feature_id = 22 WHERE face_id = 13", "1..21, each once at most, got [22]"),
    "feature 0": ("UPDATE FeatureCoords SET feature_id = 0 WHERE face_id = 13", "1..21, each once at most, got [0]"),
    "feature word": ("UPDATE FeatureCoords SET feature_id = 'x' WHERE face_id = 13", "each once at most, got ['x']"),
    "twice": ("INSERT INTO FeatureCoords VALUES (13, 8, 1, 1, 1)", "each once at most, got [8, 8]"),
    "no number": ("UPDATE FeatureCoords SET x = NULL WHERE face_id = 13", "expected finite numbers, got None"),
    "word": ("UPDATE FeatureCoords SET x = 'left' WHERE face_id = 13", "could not convert string to float: 'left'"),
    "half a rectangle": ("UPDATE FaceRect SET h = NULL WHERE face_id = 13", "expected finite numbers, got None"),
    "no area": ("UPDATE FaceRect SET w = 0 WHERE face_id = 13", "the rectangle -50 7 -50 47"),
    "no image listed": ("UPDATE Faces SET file_id = 'c.jpg' WHERE face_id = 13", "FaceImages has no image for it"),
}


@pytest.mark.parametrize("case", BAD_FACE)
def test_bad_face_is_named(root, case):
    command, message = BAD_FACE[case]
    path = change(root, command)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        AFLWSqlite(str(root)).faces("train")
    assert str(error.value).startswith(f"{path}, face_id 13: ") and str(error.value).endswith("; unpack AFLW again")


def test_missing_image(root):
    (root / "flickr/3/b.jpg").unlink()
    with pytest.raises(ValueError, match=r"face_id 12: there is no image .*b\.jpg; unpack AFLW again"):
        AFLWSqlite(str(root)).faces("train")


@pytest.mark.parametrize("size", [0, 10, 5000])
def test_damaged_database(root, size):
    path = root / "aflw.sqlite"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match="not a whole database of AFLW .*; unpack it again") as error:
        AFLWSqlite(str(root)).faces("train")
    assert str(error.value).startswith(f"{path}: ")


def test_database_without_landmarks(root):
    change(root, "DELETE FROM FeatureCoords")
    with pytest.raises(ValueError, match="no face has a landmark; unpack it again"):
        AFLWSqlite(str(root)).faces("train")


def test_wrong_root_tells_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"aflw\.sqlite and flickr, or data with both .* found \[\]"):
        AFLWSqlite(str(tmp_path)).faces("train")


@real
def test_real_samples():
    faces = AFLWSqlite(f"{DATA}/samples/aflw").faces("train")
    assert [face.id for face in faces] == ["flickr/2/image22568.jpg#0", "flickr/2/image04476.jpg#0"]
    assert faces[0].boxes == {"dataset": Box(449, 321, 362, 362)}
    assert np.flatnonzero(~faces[0].valid).tolist() == [12, 16]
    np.testing.assert_allclose(faces[0].landmarks_image[[0, 20]], [[337.28341385, 205.78904992], [451, 478]], atol=1e-8)
