"""JD-landmark from small trees in its true layout, and from real files where WINGMARK_DATA names them."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from wingmark.data.sources import JDLandmark
from wingmark.types import Box

DATA = os.environ.get("WINGMARK_DATA")
real = pytest.mark.skipif(DATA is None, reason="WINGMARK_DATA is not set: the folder of real samples/jd_landmark/")


def points(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-5, 450, (106, 2)).round(3)


def write_face(root: Path, folder: str, name: str, seed: int, rectangle: str | None = None) -> Path:
    """Returns the folder of the face."""
    files = {f"picture/{name}": "", f"landmark/{name}.txt": "106\n" + "\n".join(f"{x} {y}" for x, y in points(seed))}
    if rectangle is not None:
        files[f"rect/{name}.rect"] = rectangle
    for file, text in files.items():
        path = root / folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root / folder


@pytest.fixture
def root(tmp_path) -> Path:
    write_face(tmp_path, "Training_data/IBUG", "IBUG_image_003_1_0.jpg", 3)
    write_face(tmp_path, "Training_data/AFW", "AFW_134212_2_0.JPG", 1)
    write_face(tmp_path, "Training_data/AFW", "AFW_134212_1_0.jpg", 0)
    write_face(tmp_path, "Training_data/HELEN", "HELEN_99_1_0.jpg", 2, "1 2 31 42\r\n")
    write_face(tmp_path, "Test_data1", "55_0.v2.jpg", 4, " 10 20.5 110 220.5 ")
    return tmp_path


def test_faces_of_each_split(root):
    source = JDLandmark(str(root))
    train, test = source.faces("train"), source.faces("test")
    assert source.schema.name == "lapa106" and source.faces("val") == []
    assert [face.id for face in train] == [
        "Training_data/AFW/picture/AFW_134212_1_0.jpg#0",
        "Training_data/AFW/picture/AFW_134212_2_0.JPG#0",
        "Training_data/HELEN/picture/HELEN_99_1_0.jpg#0",
        "Training_data/IBUG/picture/IBUG_image_003_1_0.jpg#0",
    ]
    assert [face.group for face in train] == ["AFW_134212", "AFW_134212", "HELEN_99", "IBUG_image_003"]
    assert [face.id for face in test] == ["Test_data1/picture/55_0.v2.jpg#0"]
    for seed, face in enumerate(train + test):
        np.testing.assert_array_equal(face.landmarks_image, points(seed))
        assert face.image == root / face.id.removesuffix("#0")
        assert face.valid.all() and not face.occluded.any() and face.tags == frozenset()


def test_rectangle_is_the_box(root):
    source = JDLandmark(str(root))
    assert [face.boxes for face in source.faces("train")] == [{}, {}, {"dataset": Box(16, 22, 30, 40)}, {}]
    assert source.faces("test")[0].boxes == {"dataset": Box(60, 120.5, 100, 200)}


def test_partial_copy_is_told(root, caplog):
    source = JDLandmark(str(root))
    assert [len(source.faces(split)) for split in ("train", "val", "test")] == [4, 0, 1]
    assert caplog.messages == [
        f"JDLandmark train: 4 of 11393 faces found under {root}: a partial copy",
        f"JDLandmark test: 1 of 2000 faces found under {root}: a partial copy",
    ]


BAD = {
    "a number short": ("1 2 3", "expected its rectangle x_min y_min x_max y_max in"),
    "empty": ("", "got 0 numbers"),
    "no number": ("1 2 3 four", "could not convert string to float: 'four'"),
    "infinite": ("1 2 3 inf", "expected finite numbers, got 'inf'"),
    "upside down": ("1 20 3 4", "the rectangle 1 20 3 4 (x_min y_min x_max y_max) has no area"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_rectangle_is_named(root, case):
    rectangle, message = BAD[case]
    folder = write_face(root, "Test_data1", "55_0.v2.jpg", 4, rectangle)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        JDLandmark(str(root)).faces("test")
    assert str(error.value).startswith(f"{folder / 'landmark/55_0.v2.jpg.txt'}: ")


def test_a_missing_rectangle_among_others_is_an_error(root):
    write_face(root, "Training_data/HELEN", "HELEN_98_1_0.jpg", 5)
    with pytest.raises(ValueError, match=r"HELEN_98_1_0\.jpg\.txt: expected its rectangle .*HELEN_98_1_0\.jpg\.rect"):
        JDLandmark(str(root)).faces("train")


def test_bad_landmarks_and_missing_image(root):
    path = root / "Test_data1/landmark/55_0.v2.jpg.txt"
    text = path.read_text()
    path.write_text(text.replace(f"{points(4)[2, 0]} ", "left "))
    with pytest.raises(ValueError, match=r"55_0\.v2\.jpg\.txt: line 4: expected two finite numbers `x y`, got 'left"):
        JDLandmark(str(root)).faces("test")
    path.write_text(text)
    (root / "Test_data1/picture/55_0.v2.jpg").unlink()
    with pytest.raises(ValueError, match=r"55_0\.v2\.jpg\.txt: no image of the name 55_0\.v2, expected one image"):
        JDLandmark(str(root)).faces("test")


def test_wrong_root_tells_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"picture and landmark in Training_data/AFW, .* found \[\]; set"):
        JDLandmark(str(tmp_path)).faces("train")


@real
def test_real_samples():
    source = JDLandmark(f"{DATA}/samples/jd_landmark")
    (train,), (test,) = source.faces("train"), source.faces("test")
    assert train.id == "Training_data/HELEN/picture/10773046825_0.jpg#0"
    np.testing.assert_array_equal(train.landmarks_image[:2], [[406, 644], [402, 682]])
    assert train.boxes == {"dataset": Box.from_corners(388, 541, 1040, 1195)}
    assert test.boxes == {"dataset": Box.from_corners(165, 204, 325, 365)}
