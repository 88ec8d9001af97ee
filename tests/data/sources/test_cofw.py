"""COFW from small files in its true layout, and from real files where WINGMARK_DATA names them."""

import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from wingmark.data.sources import COFW
from wingmark.data.sources.reading import leaving_out
from wingmark.types import Box

h5py = pytest.importorskip("h5py", reason="h5py writes and reads COFW's files: wingmark[mat]")
DATA = os.environ.get("WINGMARK_DATA")
real = pytest.mark.skipif(DATA is None, reason="WINGMARK_DATA is not set: the folder of real samples/cofw/")

RNG = np.random.default_rng(0)
COLOR = RNG.integers(0, 256, (7, 5, 3), np.uint8)  # 7 rows, 5 columns
GRAY = RNG.integers(0, 256, (6, 9), np.uint8)


def phis(seed: int) -> np.ndarray:
    """29 x, 29 y, 29 flags of occlusion, as a row of the file."""
    random = np.random.default_rng(seed)
    return np.concatenate([random.uniform(1, 300, 58), random.integers(0, 2, 29)])


def write_mat(path: Path, images: list[np.ndarray], rows: np.ndarray, boxes: np.ndarray) -> None:
    """A file as MATLAB 7.3 writes it: a block of its own before the HDF5, axes reversed, cells as references."""
    end = "Tr" if "train" in path.name else "T"
    with h5py.File(path, "w", userblock_size=512) as file:
        cells = file.create_dataset(f"Is{end}", (1, len(images)), h5py.ref_dtype)
        for i, image in enumerate(images):
            cells[0, i] = file.create_dataset(f"#refs#/{i}", data=image.T).ref
        file[f"phis{end}"] = np.asarray(rows, float).T
        file[f"bboxes{end}"] = np.asarray(boxes, float).T
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64")


@pytest.fixture
def root(tmp_path) -> Path:
    boxes = [[1, 1, 100, 50], [38, 102, 105, 180]]
    write_mat(tmp_path / "COFW_train_color.mat", [COLOR, GRAY], [phis(0), phis(1)], boxes)
    write_mat(tmp_path / "COFW_test_color.mat", [COLOR], [phis(2)], boxes[:1])
    return tmp_path


def test_faces(root):
    source = COFW(str(root))
    assert source.schema.name == "cofw29"
    assert source.faces("val") == []
    faces = source.faces("train") + source.faces("test")
    assert [face.id for face in faces] == ["COFW_train_color.mat#0", "COFW_train_color.mat#1", "COFW_test_color.mat#0"]
    assert len({face.group for face in faces}) == 3
    for seed, face in enumerate(faces):
        row = phis(seed)
        for k in range(29):  # counted from 1 in the file
            assert face.landmarks_image[k].tolist() == [row[k] - 1, row[29 + k] - 1]
            assert face.occluded[k] == (row[58 + k] == 1)
        assert face.valid.all() and face.tags == frozenset()
    assert [face.boxes for face in faces] == [
        {"dataset": Box.from_corners(0, 0, 100, 50)},
        {"dataset": Box.from_corners(37, 101, 142, 281)},
        {"dataset": Box.from_corners(0, 0, 100, 50)},
    ]


def test_images_in_color_and_gray(root):
    source = COFW(str(root))
    color, gray = (source.read_image(face) for face in source.faces("train"))
    np.testing.assert_array_equal(color, COLOR)
    np.testing.assert_array_equal(gray, np.stack([GRAY, GRAY, GRAY], axis=-1))
    assert color.flags.c_contiguous and color.dtype == np.uint8
    (face,) = source.faces("test")
    np.testing.assert_array_equal(source.read_image(face), COLOR)


def test_reduced_image_is_that_of_every_source(root):
    source = COFW(str(root))
    face = source.faces("train")[0]
    # Blocks of 2 pixels, the last row and column repeated; OpenCV rounds halves either way.
    padded = np.pad(COLOR.astype(float), ((0, 1), (0, 1), (0, 0)), mode="edge")
    expected = padded.reshape(4, 2, 3, 2, 3).mean((1, 3))
    reduced = source.read_image(face, reduce=2)
    assert reduced.shape == (4, 3, 3) and np.abs(reduced - expected).max() <= 0.5


def test_gray_version_where_it_is_the_only_one(root):
    write_mat(root / "COFW_test.mat", [GRAY], [phis(9)], [[1, 1, 2, 2]])
    source = COFW(str(root))
    assert [face.id for face in source.faces("test")] == ["COFW_test_color.mat#0"]
    (root / "COFW_test_color.mat").unlink()
    (face,) = source.faces("test")
    assert face.id == "COFW_test.mat#0"
    np.testing.assert_array_equal(source.read_image(face)[..., 0], GRAY)


def test_version_of_an_image_follows_the_file(root):
    source = COFW(str(root))
    (face,) = source.faces("test")
    before = source.image_version(face)
    write_mat(root / "COFW_test_color.mat", [COLOR, COLOR], [phis(2), phis(2)], [[1, 1, 2, 2]] * 2)
    assert source.image_version(face) != before


def test_partial_copy_is_told_once(root, caplog):
    COFW(str(root)).faces("test")
    assert caplog.messages == [f"COFW test: 1 of 507 faces found under {root}: a partial copy"]


@pytest.mark.parametrize("kept", [0, 100, 600, 2000])
def test_file_cut_off(root, kept):
    path = root / "COFW_test_color.mat"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"not a whole MATLAB 7.3 file with IsT .*; unpack it again") as error:
        COFW(str(root)).faces("test")
    assert str(error.value).startswith(f"{path}: ")


def test_missing_variable(root):
    path = root / "COFW_test_color.mat"
    with h5py.File(path, "r+") as file:
        del file["phisT"]
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: not a whole MATLAB 7.3 file with phisT"):
        COFW(str(root)).faces("test")


def test_rows_that_do_not_match(root):
    path = root / "COFW_test_color.mat"
    write_mat(path, [COLOR], [phis(0), phis(1)], [[1, 1, 2, 2]])
    message = f"{path}: 1 images need as many rows of 87 and 4, got phis (2, 87) and bboxes (1, 4); unpack it again"
    with pytest.raises(ValueError, match=re.escape(message)):
        COFW(str(root)).faces("test")


BAD = {
    "landmark": (3, np.nan, "expected finite numbers, got"),
    "flag": (60, 2, "the flags of occlusion must be 0 or 1, got"),
    "box": (89, 0, "the rectangle 0 0 0 1 (x_min y_min x_max y_max) has no area"),
    "infinite box": (88, np.inf, "expected finite numbers, got"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_row_is_named(root, case):
    position, value, message = BAD[case]
    row = np.concatenate([phis(1), [1, 1, 1, 1]])
    row[position] = value
    path = root / "COFW_test_color.mat"
    write_mat(path, [COLOR, GRAY], [phis(0), row[:87]], [[1, 1, 5, 5], row[87:]])
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        COFW(str(root)).faces("test")
    assert str(error.value).startswith(f"{path}, row 1: ") and str(error.value).endswith("; unpack it again")
    with leaving_out() as left_out:
        assert [face.id for face in COFW(str(root)).faces("test")] == ["COFW_test_color.mat#0"]
    assert len(left_out) == 1


@pytest.mark.parametrize(
    "image", [COLOR.astype(float), np.zeros(4, np.uint8), COLOR[..., :2], np.zeros((5, 5, 3, 2), np.uint8)]
)
def test_image_that_is_none(root, image):
    path = root / "COFW_test_color.mat"
    write_mat(path, [image], [phis(0)], [[1, 1, 5, 5]])
    source = COFW(str(root))
    (face,) = source.faces("test")
    with pytest.raises(ValueError, match=r"row 0: expected a color or gray image of 8 bits, got .*; unpack it again"):
        source.read_image(face)


def test_wrong_root_tells_what_was_expected_and_found(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"COFW_train_color\.mat or COFW_train\.mat under .*gone, found no such folder; set"
    ):
        COFW(str(tmp_path / "gone")).faces("train")


def test_without_h5py(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"MATLAB files are read with h5py: pip install -e '.\[mat\]'"):
        COFW(str(root)).faces("train")


@real
def test_real_samples():
    source = COFW(f"{DATA}/samples/cofw")
    train, test = source.faces("train"), source.faces("test")
    assert len(train) == 3 and len(test) == 2
    first = test[0]
    np.testing.assert_allclose(first.landmarks_image[0], [46.56253455, 120.07575548])
    np.testing.assert_allclose(first.landmarks_image[28], [94.99537037, 271.1205316])
    assert np.flatnonzero(first.occluded).tolist() == [22, 23, 24, 25, 26, 27]
    assert first.boxes == {"dataset": Box.from_corners(37, 101, 142, 281)}
    assert source.read_image(first).shape == (322, 235, 3)
    color, gray = source.read_image(train[1]), source.read_image(train[2])
    assert color.shape == gray.shape == (253, 352, 3)
    # Red weighs 0.299 in gray: exchanged colors differ by more than rounding does.
    assert np.abs(color @ [0.299, 0.587, 0.114] - gray[..., 0]).mean() < 1
