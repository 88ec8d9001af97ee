"""Kaggle's facial keypoints from small files in the true format, and from real ones where WINGMARK_DATA names them."""

import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from wingmark.data.sources import Kaggle15
from wingmark.geometry import inside
from wingmark.types import Box

DATA = os.environ.get("WINGMARK_DATA")
real = pytest.mark.skipif(DATA is None, reason="WINGMARK_DATA is not set: the folder of samples/kaggle15/")

HEADER = (
    "left_eye_center_x,left_eye_center_y,right_eye_center_x,right_eye_center_y,left_eye_inner_corner_x,"
    "left_eye_inner_corner_y,left_eye_outer_corner_x,left_eye_outer_corner_y,right_eye_inner_corner_x,"
    "right_eye_inner_corner_y,right_eye_outer_corner_x,right_eye_outer_corner_y,left_eyebrow_inner_end_x,"
    "left_eyebrow_inner_end_y,left_eyebrow_outer_end_x,left_eyebrow_outer_end_y,right_eyebrow_inner_end_x,"
    "right_eyebrow_inner_end_y,right_eyebrow_outer_end_x,right_eyebrow_outer_end_y,nose_tip_x,nose_tip_y,"
    "mouth_left_corner_x,mouth_left_corner_y,mouth_right_corner_x,mouth_right_corner_y,mouth_center_top_lip_x,"
    "mouth_center_top_lip_y,mouth_center_bottom_lip_x,mouth_center_bottom_lip_y,Image"
)


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (96, 96))


def coordinates(seed: int) -> list[str]:
    return [f"{value:.10f}" for value in np.random.default_rng(seed).uniform(0, 96, 30)]


def fields(seed: int) -> list[str]:
    return [*coordinates(seed), " ".join(map(str, picture(seed).ravel()))]


def write(root: Path, rows: list[list[str]], end: str = "\n") -> Path:
    path = root / "training.csv"
    path.write_bytes("".join(line + end for line in [HEADER, *map(",".join, rows)]).encode())
    return path


@pytest.fixture
def root(tmp_path) -> Path:
    blank = fields(1)
    blank[4:20] = [""] * 16  # all of eye corners and brows
    write(tmp_path, [fields(0), blank, fields(2)])
    return tmp_path


def test_landmarks_box_and_group(root):
    source = Kaggle15(str(root))
    faces = source.faces("train")
    assert source.schema.name == "kaggle15" and source.faces("val") == source.faces("test") == []
    assert [face.id for face in faces] == ["training.csv#0", "training.csv#1", "training.csv#2"]
    assert len({face.group for face in faces}) == 3
    for seed, face in enumerate(faces):
        for landmark in range(15):
            known = seed != 1 or not 2 <= landmark < 10
            x, y = map(float, coordinates(seed)[2 * landmark : 2 * landmark + 2])
            np.testing.assert_array_equal(face.landmarks_image[landmark], (x, y) if known else (np.nan, np.nan))
            assert face.valid[landmark] == known
        assert face.boxes == {"dataset": Box(47.5, 47.5, 96, 96)} and not face.occluded.any()


def test_pictures_are_those_of_their_lines_also_in_another_process(root):
    source = Kaggle15(str(root))
    faces = source.faces("train")
    copy = pickle.loads(pickle.dumps(source))
    for seed in (2, 0, 1):
        for one in (source, copy):
            image = one.read_image(faces[seed])
            assert image.dtype == np.uint8 and image.shape == (96, 96, 3)
            for channel in range(3):
                np.testing.assert_array_equal(image[..., channel], picture(seed))
    blocks = picture(0).reshape(48, 2, 48, 2).mean((1, 3))
    assert abs(source.read_image(faces[0], reduce=2)[..., 1] - blocks).max() <= 0.5


def test_pictures_are_not_kept(root):
    source = Kaggle15(str(root))
    source.faces("train")
    assert len(pickle.dumps(source)) < 5000


def test_line_ends_blank_lines_and_a_byte_order_mark_do_not_matter(root):
    path = write(root, [fields(0), fields(1), fields(2)], end="\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\r\n")
    source = Kaggle15(str(root))
    faces = source.faces("train")
    assert len(faces) == 3
    np.testing.assert_array_equal(source.read_image(faces[2])[..., 0], picture(2))


def test_partial_copy_is_told(root, caplog):
    Kaggle15(str(root)).faces("train")
    assert caplog.messages == [f"Kaggle15 train: 3 of 7049 faces found under {root}: a partial copy"]


def with_field(position: int, value: str) -> list[str]:
    row = fields(5)
    row[position] = value
    return row


BAD = {
    "no number": (with_field(7, "twelve"), "could not convert string to float: 'twelve'"),
    "not a number": (with_field(7, "nan"), "coordinates must be finite numbers, or blank"),
    "infinite": (with_field(7, "-inf"), "coordinates must be finite numbers, or blank"),
    "half a landmark": (with_field(7, ""), "a landmark needs x and y or neither"),
    "no landmark": ([""] * 30 + fields(5)[30:], "a face at least one landmark"),
    "a column short": (fields(5)[1:], "expected 30 coordinates and 9216 gray values, got 29 and 9216"),
    "truncated picture": (with_field(30, "1 2 3"), "expected 30 coordinates and 9216 gray values, got 30 and 3"),
    "cut in the middle": (fields(5)[:12], "expected 30 coordinates and 9216 gray values, got 11 and 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_line_is_named(root, case):
    row, message = BAD[case]
    path = write(root, [fields(0), row])
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        Kaggle15(str(root)).faces("train")
    assert str(error.value).startswith(f"{path}, line 3: ") and str(error.value).endswith("; correct or remove it")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("256", "gray values must be 0 to 255, got 0 to 256"),
        ("-1", "gray values must be 0 to 255, got -1 to"),
        ("0.5", "invalid literal for int"),
        ("x", "invalid literal for int"),
    ],
)
def test_bad_picture_is_named_when_it_is_read(root, value, message):
    pixels = ["0", *fields(5)[30].split()[1:-1], value]
    path = write(root, [fields(0), [*coordinates(5), " ".join(pixels)]])
    source = Kaggle15(str(root))
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        source.read_image(source.faces("train")[1])
    assert str(error.value).startswith(f"{path}, line 3: ")


def test_other_columns_are_refused(root):
    path = root / "training.csv"
    path.write_text(path.read_text().replace("nose_tip_x,nose_tip_y,", ""))
    with pytest.raises(ValueError, match=r"training\.csv, line 1: expected left_eye_center_x,\.\.\.,Image, 31 columns"):
        Kaggle15(str(root)).faces("train")
    path.write_text("")
    with pytest.raises(ValueError, match="line 1: expected"):
        Kaggle15(str(root)).faces("train")


def test_wrong_root_tells_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected training\.csv under .* found \[\]"):
        Kaggle15(str(tmp_path)).faces("train")


@real
def test_real_samples():
    source = Kaggle15(f"{DATA}/samples/kaggle15")
    faces = source.faces("train")
    assert [face.valid.sum() for face in faces] == [15, 15, 7, 15, 15]
    np.testing.assert_array_equal(faces[0].landmarks_image[0], [65.5757956515, 19.7307743007])
    for face in faces:
        assert source.read_image(face).std() > 20 and inside(face.landmarks_image[face.valid], 96, 96).all()
        # The person's left eye and mouth corner are on the right of the picture.
        assert face.landmarks_image[0, 0] > face.landmarks_image[1, 0]
        assert face.landmarks_image[11, 0] > face.landmarks_image[12, 0]
