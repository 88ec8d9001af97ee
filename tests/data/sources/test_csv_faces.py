"""CSV files of our header and of the two others, good and bad, and a real one where WINGMARK_DATA names it."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from wingmark.data.sources import IBUG300W, CSVFaces
from wingmark.types import Box

DATA = os.environ.get("WINGMARK_DATA")
real = pytest.mark.skipif(DATA is None, reason="WINGMARK_DATA is not set: the folder of real samples/faces_csv/")

XY = "x0,y0,x1,y1,x2,y2,x3,y3,x4,y4"
A, B = "10,20,30,20,20,30.5,12,40,28,40", "1,2,3,4,5,6,7,8,9,-10"
POINTS_A = [[10, 20], [30, 20], [20, 30.5], [12, 40], [28, 40]]
POINTS_B = [[1, 2], [3, 4], [5, 6], [7, 8], [9, -10]]


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "more").mkdir()
    for name in ("a.jpg", "b.png", "more/a.jpg", "with, comma.jpg"):
        (tmp_path / name).touch()  # holds nothing: listing must not decode it
    return tmp_path


def source_of(root: Path, *lines: str) -> CSVFaces:
    """The five-landmark faces of a CSV file with these lines."""
    (root / "faces.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return CSVFaces(str(root), "faces.csv", schema="five")


def test_only_image_and_landmarks(root):
    source = source_of(root, f"image,{XY}", f"b.png,{A}", f"more/a.jpg,{B}", f"./b.png,{B}", f'"with, comma.jpg",{A}')
    faces = source.faces("train")
    assert source.faces("val") == source.faces("test") == []
    assert [face.id for face in faces] == ["b.png#0", "more/a.jpg#0", "b.png#1", "with, comma.jpg#0"]
    assert [face.group for face in faces] == ["b.png", "more/a.jpg", "b.png", "with, comma.jpg"]
    assert [face.image for face in faces] == [root / face.group for face in faces]
    for face, expected in zip(faces, [POINTS_A, POINTS_B, POINTS_B, POINTS_A], strict=True):
        np.testing.assert_array_equal(face.landmarks_image, expected)
        assert face.landmarks_image.dtype == np.float64
        assert face.valid.all() and face.valid.shape == (5,) and not face.occluded.any()
        assert face.boxes == {} and face.tags == frozenset()


def test_all_columns_in_any_order(root):
    header = "tags,y_max,x_max,y_min,x_min,group,split,y4,x4,y3,x3,y2,x2,y1,x1,y0,x0,image"
    landmarks = ",".join(reversed(A.split(",")))
    source = source_of(
        root,
        header,
        f"dark; side view,42,32,2,1,anna,train,{landmarks},a.jpg",
        f",42,32,2,1,,val,{landmarks},b.png",
        f"dark,42.5,32,2,1,anna,test,{landmarks},a.jpg",
    )
    train, val, test = (source.faces(split) for split in ("train", "val", "test"))
    assert [len(faces) for faces in (train, val, test)] == [1, 1, 1]
    assert [face[0].id for face in (train, val, test)] == ["a.jpg#0", "b.png#0", "a.jpg#1"]
    assert [face[0].group for face in (train, val, test)] == ["anna", "b.png", "anna"]
    assert [face[0].tags for face in (train, val, test)] == [{"dark", "side view"}, frozenset(), {"dark"}]
    assert train[0].boxes == {"file": Box(16.5, 22, 31, 40)}
    assert test[0].boxes == {"file": Box(16.5, 22.25, 31, 40.5)}
    np.testing.assert_array_equal(train[0].landmarks_image, POINTS_A)


@pytest.mark.parametrize(
    "header",
    [
        ",0,1,2,3,4,5,6,7,8,9",
        "image_name,part_0_x,part_0_y,part_1_x,part_1_y,part_2_x,part_2_y,part_3_x,part_3_y,part_4_x,part_4_y",
        f"\ufeffimage,{XY}",
        f" image , {XY.replace(',', ' , ')}",
    ],
    ids=["numbered", "parts", "byte order mark", "blanks"],
)
def test_other_headers(root, header):
    faces = source_of(root, header, f"a.jpg,{A}", f"b.png,{B}").faces("train")
    assert [face.id for face in faces] == ["a.jpg#0", "b.png#0"]
    np.testing.assert_array_equal(np.stack([face.landmarks_image for face in faces]), [POINTS_A, POINTS_B])


def test_empty_cells_are_not_valid(root):
    (face,) = source_of(root, f"image,{XY}", "a.jpg,10,20,,,20,30.5,,,28,40").faces("train")
    assert face.valid.tolist() == [True, False, True, False, True]
    expected = np.array(POINTS_A, float)
    expected[[1, 3]] = np.nan
    np.testing.assert_array_equal(face.landmarks_image, expected)


def test_file_above_the_images_and_schema_of_the_user(root, tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"name": "mine", "num_landmarks": 1, "flip_permutation": [0]}))
    (tmp_path / "faces.csv").write_bytes(b"image,x0,y0\r\n\r\na.jpg,200.0,7\r\n")
    source = CSVFaces(str(root / "more"), "../faces.csv", schema=str(tmp_path / "mine.yaml"))
    assert source.schema.name == "mine"
    (face,) = source.faces("train")
    assert (face.id, face.image) == ("a.jpg#0", root / "more" / "a.jpg")
    np.testing.assert_array_equal(face.landmarks_image, [[200, 7]])


def test_schema_is_checked_at_construction_and_data_is_not(tmp_path):
    assert CSVFaces(str(tmp_path / "gone"), "gone.csv").schema.name == "ibug68"
    with pytest.raises(ValueError, match=r"'gone\.yaml' is neither built in .* nor a YAML file"):
        CSVFaces(str(tmp_path), "faces.csv", schema="gone.yaml")


def test_missing_file(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"faces\.csv; set data\.source\.init_args\.root .*relative to root"
    ) as e:
        CSVFaces(str(tmp_path), "faces.csv").faces("train")
    assert str(tmp_path / "faces.csv") in str(e.value)


HEADER = f"image,{XY}"
BAD_HEADERS = {
    "empty file": ("", "0 coordinate columns, schema five needs 10"),
    "other markup": ("image,x0,y0", "2 coordinate columns, schema five needs 10"),
    "counted from 1": ("image,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5", "missing ['x0', 'y0'], unknown ['x5', 'y5']"),
    "no image": (XY, "missing ['image']"),
    "unknown column": (f"{HEADER},spilt", "unknown ['spilt']"),
    "part of a box": (f"{HEADER},x_min,y_min", "missing ['x_max', 'y_max']"),
    "index of pandas": (f",{HEADER}", "twice ['image'] (a column without a name is taken for image)"),
    "twice": (f"{HEADER},x0", "11 coordinate columns, schema five needs 10"),
}


@pytest.mark.parametrize("case", BAD_HEADERS)
def test_bad_header_is_named(root, case):
    header, message = BAD_HEADERS[case]
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        source_of(root, header, f"a.jpg,{A}").faces("train")
    assert str(error.value).startswith(f"{root / 'faces.csv'}, line 1: ")
    assert "choose another data.source.init_args.schema, or mend the header: image,x0,y0" in str(error.value)


@pytest.mark.parametrize("other", [";", "\t", "|"])
def test_other_separators_are_named(root, other):
    told = f"line 1: columns are separated by {other!r}; save the table as UTF-8 with commas"
    with pytest.raises(ValueError, match=re.escape(told)):
        source_of(root, HEADER.replace(",", other)).faces("train")


def test_utf_16_is_named(root):
    (root / "faces.csv").write_text(HEADER.replace(",", " "), encoding="utf-16-le")
    with pytest.raises(ValueError, match="line 1: it is not UTF-8; save the table as UTF-8 with commas"):
        CSVFaces(str(root), "faces.csv", "five").faces("train")


FULL = f"{HEADER},split,x_min,y_min,x_max,y_max"
BAD_ROWS = {
    "a cell short": ("a.jpg,1,2,3", "4 cells, the header has 16"),
    "a cell more": (f"a.jpg,{A},train,1,2,3,4,", "17 cells, the header has 16"),
    "no number": (f"a.jpg,{A.replace('30.5', 'left')},train,1,2,3,4", "could not convert string to float: 'left'"),
    "a number in Python": (f"a.jpg,{A.replace('30.5', '30_0.5')},train,1,2,3,4", "string to float: '30_0.5'"),
    "not a number": (f"a.jpg,{A.replace('30.5', 'nan')},train,1,2,3,4", "numbers must be finite; leave both cells"),
    "infinite": (f"a.jpg,{A.replace('30.5', 'inf')},train,1,2,3,4", "numbers must be finite; leave both cells"),
    "half a landmark": (f"a.jpg,{A.replace('30.5', '')},train,1,2,3,4", "a landmark needs both cells or none"),
    "no landmark": (f"a.jpg{',' * 10},train,1,2,3,4", "a face at least one landmark"),
    "no image": (f"gone.jpg,{A},train,1,2,3,4", "gone.jpg; mend or remove it"),
    "no name": (f",{A},train,1,2,3,4", "there is no image"),
    "path out of root": (f"../a.jpg,{A},train,1,2,3,4", "the image path '../a.jpg' leaves the folder"),
    "folder": (f"more,{A},train,1,2,3,4", "there is no image"),
    "split": (f"a.jpg,{A},training,1,2,3,4", "split must be train, val or test, got 'training'"),
    "box without width": (f"a.jpg,{A},train,1,2,1,4", "the box [1.0, 2.0, 1.0, 4.0] (x_min, y_min, x_max, y_max)"),
    "box upside down": (f"a.jpg,{A},train,1,5,3,4", "has no area"),
    "box missing": (f"a.jpg,{A},train,,,,", "has no area"),
    "quote never closed": (f'"a.jpg,{A},train,1,2,3,4' + "0" * 200_000, "field larger than field limit"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_row_is_named(root, case):
    row, message = BAD_ROWS[case]
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        source_of(root, FULL, f"a.jpg,{A},train,1,2,3,4", row).faces("train")
    assert str(error.value).startswith(f"{root / 'faces.csv'}, line 3: ")
    assert str(error.value).endswith("; mend or remove it")


def test_header_without_rows(root):
    with pytest.raises(ValueError, match="line 2: no face below the header; add one row per face") as error:
        source_of(root, HEADER).faces("train")
    assert str(root / "faces.csv") in str(error.value)


@real
def test_real_file_agrees_with_the_pts_files_it_was_made_from():
    faces = CSVFaces(f"{DATA}/samples/faces_csv/faces", "face_landmarks.csv").faces("train")
    original = {face.image.name: face.landmarks_image for face in IBUG300W(f"{DATA}/samples/300w").faces("train")}
    assert len(faces) == 5
    assert faces[0].id == "3873491482_1.jpg#0"
    for face in faces:
        assert face.valid.all()
        np.testing.assert_allclose(face.landmarks_image, original[face.image.name], atol=0.5 + 1e-9)
