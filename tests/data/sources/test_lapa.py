"""LaPa from small trees in its true layout, and from real files where WINGMARK_DATA names them."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from wingmark.data.sources import LaPa
from wingmark.data.sources.lapa import photo

DATA = os.environ.get("WINGMARK_DATA")
real = pytest.mark.skipif(DATA is None, reason="WINGMARK_DATA is not set: the folder of real samples/lapa/")


def points(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-20, 500, (106, 2)).astype(float)


def lines(seed: int) -> list[str]:
    return ["106", *(f"{x} {y}" for x, y in points(seed))]


def write_face(root: Path, split: str, stem: str, text: list[str], suffix: str = ".jpg") -> Path:
    for folder in ("images", "landmarks", "labels"):
        (root / split / folder).mkdir(parents=True, exist_ok=True)
    (root / split / "images" / f"{stem}{suffix}").touch()  # holds nothing: listing must not decode it
    path = root / split / "landmarks" / f"{stem}.txt"
    path.write_text("\n".join(text) + "\n")
    return path


@pytest.fixture
def root(tmp_path) -> Path:
    write_face(tmp_path, "train", "200_1", lines(1), ".JPG")
    write_face(tmp_path, "train", "200_0", lines(0))
    write_face(tmp_path, "train", "HELEN_77_1_5", lines(2))
    write_face(tmp_path, "val", "a b_é 9_0", lines(3))
    write_face(tmp_path, "test", "31_0", lines(4))
    return tmp_path


def test_faces_of_each_split(root):
    source = LaPa(str(root))
    faces = {split: source.faces(split) for split in ("train", "val", "test")}
    assert source.schema.name == "lapa106"
    assert [face.id for face in faces["train"]] == [
        "train/images/200_0.jpg#0",
        "train/images/200_1.JPG#0",
        "train/images/HELEN_77_1_5.jpg#0",
    ]
    assert [face.group for face in faces["train"]] == ["200", "200", "HELEN_77"]
    assert [face.id for face in faces["val"] + faces["test"]] == [
        "val/images/a b_é 9_0.jpg#0",
        "test/images/31_0.jpg#0",
    ]
    for seed, face in enumerate(faces["train"] + faces["val"] + faces["test"]):
        np.testing.assert_array_equal(face.landmarks_image, points(seed))
        assert face.image == root / face.id.removesuffix("#0") and face.boxes == {} and face.tags == frozenset()
        assert face.valid.all() and face.valid.shape == (106,) and not face.occluded.any()


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("10773046825_0", "10773046825"),
        ("8982300538_14", "8982300538"),
        ("HELEN_137346980_1_5", "HELEN_137346980"),
        ("LFPW_image_train_0671_3", "LFPW_image_train_0671"),
        ("AFW_134212_1_0", "AFW_134212"),
        ("IBUG_image_003_1_0", "IBUG_image_003"),
        ("portrait", "portrait"),
    ],
)
def test_photo(stem, expected):
    assert photo(stem) == expected


def test_known_defects_are_the_22_reported():
    assert len(LaPa.known_defects) == 22
    assert {"115769026_0", "HELEN_137346980_1_5", "LFPW_image_train_0800_0"} <= set(LaPa.known_defects)


def test_line_ends_and_blank_ends_do_not_matter(root):
    path = root / "test/landmarks/31_0.txt"
    path.write_bytes(b"\xef\xbb\xbf" + " \r\n".join(lines(4)).encode() + b"\r\n\r\n")
    np.testing.assert_array_equal(LaPa(str(root)).faces("test")[0].landmarks_image, points(4))


def test_partial_copy_is_told(root, caplog):
    LaPa(str(root)).faces("val")
    assert caplog.messages == [f"LaPa val: 1 of 2000 faces found under {root}: a partial copy"]


BAD = {
    "empty": ([], "line 1: expected 106 and as many lines `x y`, got '' and 0 lines"),
    "other markup": (["68", *lines(0)[1:69]], "line 1: expected 106 and as many lines `x y`, got '68' and 68 lines"),
    "no count": (lines(0)[1:], "line 1: expected 106 and as many lines"),
    "truncated": (lines(0)[:60], "got '106' and 59 lines"),
    "a line more": ([*lines(0), "1 2"], "got '106' and 107 lines"),
    "no y": ([*lines(0)[:4], "17.0", *lines(0)[5:]], "line 5: expected two finite numbers `x y`, got '17.0'"),
    "three": ([*lines(0)[:4], "1 2 3", *lines(0)[5:]], "line 5: expected two finite numbers `x y`, got '1 2 3'"),
    "word": ([*lines(0)[:106], "x 3"], "line 107: expected two finite numbers `x y`, got 'x 3'"),
    "not a number": ([*lines(0)[:1], "nan 3", *lines(0)[2:]], "line 2: expected two finite numbers"),
}


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_half_a_number_at_the_end_is_named(root, cut):
    """`.0` stands behind every number of the set; without it the last one is cut off, whether or not it is one."""
    path = write_face(root, "train", "999_1", [*lines(0)[:-1], "762.0 663.0"])
    text = path.read_text().rstrip()
    path.write_text(text)
    (face,) = [face for face in LaPa(str(root)).faces("train") if face.image.stem == "999_1"]
    assert face.landmarks_image[-1].tolist() == [762, 663]
    path.write_text(text[:-cut])
    with pytest.raises(ValueError, match="line 107: '762.0 [63.]+' is cut off, other lines are like"):
        LaPa(str(root)).faces("train")


@pytest.mark.parametrize("case", BAD)
def test_bad_file_is_named(root, case):
    text, message = BAD[case]
    path = write_face(root, "train", "200_1", text, ".JPG")
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        LaPa(str(root)).faces("train")
    assert str(error.value).startswith(f"{path}: ") and str(error.value).endswith("; correct or remove it")


def test_missing_image(root):
    (root / "train/images/200_0.jpg").unlink()
    with pytest.raises(
        ValueError, match=r"200_0\.txt: no image of the name 200_0, expected one image; correct or remove it"
    ):
        LaPa(str(root)).faces("train")


def test_wrong_root_tells_what_was_expected(root):
    with pytest.raises(FileNotFoundError, match=r"test/images and test/landmarks .* found no such folder; set data"):
        LaPa(str(root / "LaPa")).faces("test")


@real
def test_real_samples():
    source = LaPa(f"{DATA}/samples/lapa/LaPa")
    (train,), (val,), (test,) = (source.faces(split) for split in ("train", "val", "test"))
    assert train.id == "train/images/10773046825_0.jpg#0" and train.group == "10773046825"
    np.testing.assert_array_equal(train.landmarks_image[:2], [[406, 644], [402, 682]])
    # Both pupils are there twice.
    np.testing.assert_array_equal(train.landmarks_image[[74, 83]], train.landmarks_image[[104, 105]])
    assert val.group == test.group == "13609937564"
