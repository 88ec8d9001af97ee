"""HRNet's lists from small trees, and real ones where WINGMARK_DATA names them."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from wingmark.data.sources import HRNetCSV
from wingmark.types import Box

DATA = os.environ.get("WINGMARK_DATA")
real = pytest.mark.skipif(DATA is None, reason="WINGMARK_DATA is not set: the folder of real samples/hrnet_csv/")

XY = ",".join(f"original_{i}_{axis}" for i in range(5) for axis in "xy")
HEADER = f"image_name,scale,center_w,center_h,{XY}"
A, B = "10,20,30,20,20,30.5,12,40,28,40", "1,2,3,4,5,6,7,8,9,-10"
POINTS_A = [[10, 20], [30, 20], [20, 30.5], [12, 40], [28, 40]]
POINTS_B = [[1, 2], [3, 4], [5, 6], [7, 8], [9, -10]]


def write(root: Path, *lines: str, file: str = "test.csv") -> None:
    for name in ("a b.jpg", "Test/ü.PNG"):
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "images" / name).touch()  # holds nothing: listing must not decode it
    (root / file).write_text("\n".join(lines) + "\n", encoding="utf-8")


def faces_of(root: Path, **options):
    return HRNetCSV(str(root), schema="five", test="test.csv", **options).faces("test")


def test_faces_are_read_in_the_order_of_the_list(tmp_path):
    write(tmp_path, HEADER, f"Test/ü.PNG,0.4,20,30.5,{A}", f"a b.jpg,0.1,5,6,{B}", f"Test/ü.PNG,1,1,2,{B}")
    faces = faces_of(tmp_path)
    assert [face.id for face in faces] == ["images/Test/ü.PNG#0", "images/a b.jpg#0", "images/Test/ü.PNG#1"]
    assert [face.group for face in faces] == ["images/Test/ü.PNG", "images/a b.jpg", "images/Test/ü.PNG"]
    assert [face.image for face in faces] == [tmp_path / face.group for face in faces]
    for face, expected in zip(faces, [POINTS_A, POINTS_B, POINTS_B], strict=True):
        np.testing.assert_array_equal(face.landmarks_image, expected)
        assert face.landmarks_image.dtype == np.float64 and face.valid.all() and not face.occluded.any()
    assert [face.boxes for face in faces] == [
        {"hrnet": Box(20, 30.5, 80, 80)},
        {"hrnet": Box(5, 6, 20, 20)},
        {"hrnet": Box(1, 2, 200, 200)},
    ]


def test_each_split_has_its_list(tmp_path):
    write(tmp_path, HEADER, f"a b.jpg,1,1,2,{A}", file="a.csv")
    write(tmp_path, HEADER, f"a b.jpg,1,1,2,{A}", f"a b.jpg,1,1,2,{A}", file="b.csv")
    source = HRNetCSV(str(tmp_path), schema="five", train="a.csv", val="b.csv")
    assert [len(source.faces(split)) for split in ("train", "val", "test")] == [1, 2, 0]


def test_first_pixel_moves_landmarks_and_boxes(tmp_path):
    write(tmp_path, f"{HEADER},box_size", f"a b.jpg,0.4,20,30.5,{A},82")
    (face,) = faces_of(tmp_path, first_pixel=1)
    np.testing.assert_array_equal(face.landmarks_image, np.array(POINTS_A) - 1)
    assert face.boxes == {"hrnet": Box(19, 29.5, 80, 80), "dataset": Box(19, 29.5, 82, 82)}


def test_columns_are_found_by_name(tmp_path):
    columns, cells = f"{HEADER},box_size".split(","), f"a b.jpg,0.4,20,30.5,{A},82".split(",")
    write(tmp_path, ",".join(columns[::-1]) + "\r", ",".join(cells[::-1]) + "\r", "\r")
    (face,) = faces_of(tmp_path)
    np.testing.assert_array_equal(face.landmarks_image, POINTS_A)
    assert face.boxes == {"hrnet": Box(20, 30.5, 80, 80), "dataset": Box(20, 30.5, 82, 82)}


BAD = {
    "a cell short": (f"a b.jpg,1,1,2,{A[:-3]}", "13 cells, the header has 14"),
    "a cell more": (f"a b.jpg,1,1,2,{A},7", "15 cells, the header has 14"),
    "no number": (f"a b.jpg,1,1,2,{A.replace('30.5', '30;5')}", "could not convert string to float: '30;5'"),
    "an empty cell": (f"a b.jpg,1,1,2,{A.replace('30.5', '')}", "could not convert string to float: ''"),
    "not finite": (f"a b.jpg,1,1,2,{A.replace('30.5', 'nan')}", "expected finite numbers, got 'nan'"),
    "infinite center": (f"a b.jpg,1,inf,2,{A}", "expected finite numbers, got 'inf'"),
    "scale of 0": (f"a b.jpg,0,1,2,{A}", "a box of 0 pixels has no area"),
    "no image": (f"gone.jpg,1,1,2,{A}", "there is no image"),
    "an image elsewhere": (f"../../a.jpg,1,1,2,{A}", "leaves the folder"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_line_is_named(tmp_path, case):
    line, message = BAD[case]
    write(tmp_path, HEADER, f"a b.jpg,1,1,2,{A}", line)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        faces_of(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'test.csv'}, line 3: ")


BAD_HEADERS = {
    "no scale": (HEADER.replace("scale,", ""), "missing ['scale'], unknown []"),
    "other markup": (HEADER + ",original_5_x,original_5_y", "missing [], unknown ['original_5_x', 'original_5_y']"),
    "a landmark twice": (HEADER.replace("original_4_x", "original_0_x"), "missing ['original_4_x'], unknown []"),
    "scale twice": (HEADER + ",scale", "once each; missing [], unknown []"),
    "no header": (f"a b.jpg,1,1,2,{A}", "missing ['center_h', 'center_w', 'image_name', 'original_0_x']"),
    "nothing": ("", "missing ['center_h'"),
}


@pytest.mark.parametrize("case", BAD_HEADERS)
def test_bad_header_is_named(tmp_path, case):
    header, message = BAD_HEADERS[case]
    write(tmp_path, header, f"a b.jpg,1,1,2,{A}")
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        faces_of(tmp_path)
    assert str(error.value).startswith(
        f"{tmp_path / 'test.csv'}, line 1: expected image_name, scale, center_w, center_h"
    )


def test_no_csv_empty_list_and_missing_list(tmp_path):
    write(tmp_path, HEADER, '"' + "x" * 140_000)
    with pytest.raises(ValueError, match=r"test\.csv, line 2: field larger than field limit"):
        faces_of(tmp_path)
    write(tmp_path, HEADER)
    with pytest.raises(ValueError, match=r"test\.csv: no face below the header"):
        faces_of(tmp_path)
    with pytest.raises(
        FileNotFoundError,
        match=r"HRNetCSV: there is no file .*gone/test\.csv; set .*init_args\.test to a file in it, or to null",
    ):
        faces_of(tmp_path / "gone")


REAL = {
    "300w": ("ibug68", ["Test/01_Indoor/indoor_029.png#0", "Test/01_Indoor/indoor_020.png#0"], [267, 397.882], 477),
    "wflw": (
        "wflw98",
        [
            "36--Football/36_Football_americanfootball_ball_36_415.jpg#0",
            *(f"7--Cheering/7_Cheering_Cheering_7_16.jpg#{number}" for number in range(3)),
        ],
        [440.696106, 132.732559],
        85,
    ),
    "aflw": (
        "aflw19",
        ["flickr/2/image22568.jpg#0", "flickr/2/image04476.jpg#0"],
        [337.28341384863, 205.78904991948002],
        362,
    ),
}


@real
@pytest.mark.parametrize("name", REAL)
def test_real_samples(name):
    schema, ids, first, side = REAL[name]
    root, file = f"{DATA}/samples/hrnet_csv/{name}", f"face_landmarks_{name}_test.csv"
    faces = HRNetCSV(root, schema=schema, test=file, first_pixel=int(name == "300w")).faces("test")
    assert [face.id.removeprefix("images/") for face in faces] == ids
    np.testing.assert_allclose(faces[0].landmarks_image[0], first, rtol=0, atol=1e-9)
    box = faces[0].boxes["hrnet"]
    np.testing.assert_allclose([box.width, box.height], side)
    if name == "aflw":
        assert faces[0].boxes["dataset"] == Box(449, 321, 362, 362)
    else:  # the center and side of the landmarks, moved outwards to whole pixels
        low, high = np.floor(faces[0].landmarks_image.min(0)), np.ceil(faces[0].landmarks_image.max(0))
        np.testing.assert_allclose([box.x, box.y], (low + high) / 2)
        np.testing.assert_allclose(box.width, max(high - low))
