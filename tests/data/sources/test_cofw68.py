"""COFW-68 from small trees in its true layout, and from real files where WINGMARK_DATA names them."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from wingmark.data.sources import COFW, COFW68
from wingmark.types import Box

h5py = pytest.importorskip("h5py", reason="h5py writes and reads COFW's files: wingmark[mat]")
scipy_io = pytest.importorskip("scipy.io", reason="scipy writes COFW-68's files: wingmark[dev]")
DATA = os.environ.get("WINGMARK_DATA")
real = pytest.mark.skipif(DATA is None, reason="WINGMARK_DATA is not set: the folder of real samples/cofw68/")

COUNT = 11  # more than 9: files must not be taken in the order of their names
IMAGES = [np.full((4 + i, 6, 3), i, np.uint8) for i in range(COUNT)]
# Corners that 16 bits cannot add up.
BOXES = np.array([[10 + i, 20, 30000, 30000] for i in range(COUNT)], np.int16)


def points(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1, 300, (68, 2))


def occluded(seed: int) -> np.ndarray:
    return np.random.default_rng(100 + seed).integers(0, 2, (1, 68), np.uint8)


def write_images(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        cells = file.create_dataset("IsT", (1, COUNT), h5py.ref_dtype)
        for i, image in enumerate(IMAGES):
            cells[0, i] = file.create_dataset(f"#refs#/{i}", data=image.T).ref


def write_face(root: Path, number: int, **changed: np.ndarray) -> Path:
    path = root / f"test_annotations/{number}_points.mat"
    path.parent.mkdir(exist_ok=True)
    scipy_io.savemat(path, {"Points": points(number - 1), "Occ": occluded(number - 1), **changed})
    return path


@pytest.fixture
def root(tmp_path) -> Path:
    root = tmp_path / "COFW68_Data"
    root.mkdir()
    write_images(tmp_path / "COFW_test_color.mat")
    scipy_io.savemat(root / "cofw68_test_bboxes.mat", {"bboxes": BOXES})
    for number in range(1, COUNT + 1):
        write_face(root, number)
    return root


def test_faces(root):
    source = COFW68(str(root))
    assert source.schema.name == "ibug68"
    assert source.faces("train") == source.faces("val") == []
    faces = source.faces("test")
    assert [face.id for face in faces] == [f"COFW_test_color.mat#{i}" for i in range(COUNT)]
    for i, face in enumerate(faces):
        np.testing.assert_array_equal(face.landmarks_image, points(i) - 1)  # counted from 1 in the file
        np.testing.assert_array_equal(face.occluded, occluded(i)[0] == 1)
        assert face.valid.all() and face.tags == frozenset()
        assert face.boxes == {"dataset": Box.from_corners(9 + i, 19, 30009 + i, 30019)}
        np.testing.assert_array_equal(source.read_image(face), IMAGES[i])


def test_images_within_root_or_gray(root):
    beside = root.parent / "COFW_test_color.mat"
    beside.rename(root / "COFW_test_color.mat")
    faces = COFW68(str(root)).faces("test")
    assert [face.image for face in faces] == [root / "COFW_test_color.mat"] * COUNT
    (root / "COFW_test_color.mat").rename(root.parent / "COFW_test.mat")
    faces = COFW68(str(root)).faces("test")
    assert [face.image for face in faces] == [root.parent / "COFW_test.mat"] * COUNT


def test_face_without_annotation_leaves_the_others_in_place(root, caplog):
    (root / "test_annotations/3_points.mat").unlink()
    faces = COFW68(str(root)).faces("test")
    assert [face.id for face in faces] == [f"COFW_test_color.mat#{i}" for i in range(COUNT) if i != 2]
    np.testing.assert_array_equal(faces[2].landmarks_image, points(3) - 1)
    assert caplog.messages == [f"COFW68 test: 10 of 507 faces found under {root}: a partial copy"]


BAD = {
    "too few points": ({"Points": points(0)[:67]}, "expected Points 68x2 and Occ 1x68, got (67, 2) and (68,)"),
    "no number": ({"Points": np.full((68, 2), np.nan)}, "expected finite numbers, got"),
    "flag of 2": ({"Occ": np.full((1, 68), 2)}, "the flags of occlusion must be 0 or 1, got"),
    "text": ({"Occ": "covered"}, "expected Points 68x2 and Occ 1x68, got (68, 2) and ()"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_annotation_is_named(root, case):
    changed, message = BAD[case]
    path = write_face(root, 5, **changed)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        COFW68(str(root)).faces("test")
    assert str(error.value).startswith(f"{path}, and row 4 of cofw68_test_bboxes.mat: ")
    assert str(error.value).endswith("; unpack them again")


def test_annotation_cut_off(root):
    path = root / "test_annotations/5_points.mat"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"not a whole MATLAB 5 file .*; unpack it again") as error:
        COFW68(str(root)).faces("test")
    assert str(error.value).startswith(f"{path}: ")


def test_boxes_of_another_number(root):
    path = root / "cofw68_test_bboxes.mat"
    scipy_io.savemat(path, {"bboxes": BOXES[:1]})
    with pytest.raises(
        ValueError, match=r"expected 11 rows x y width height, as .*color\.mat has images, got \(1, 4\)"
    ):
        COFW68(str(root)).faces("test")


def test_wrong_root_tells_what_was_expected_and_found(root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone, found no such folder; set data\.source\.init_args\.root"):
        COFW68(str(tmp_path / "gone")).faces("test")
    (tmp_path / "COFW_test_color.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"\(here or one folder up\) COFW_test_color\.mat under .*COFW68_Data"):
        COFW68(str(root)).faces("test")


@real
def test_real_samples():
    source = COFW68(f"{DATA}/samples/cofw68/COFW68_Data")
    faces = source.faces("test")
    assert [face.id for face in faces] == ["COFW_test_color.mat#0", "COFW_test_color.mat#1"]
    first = faces[0]
    np.testing.assert_allclose(first.landmarks_image[0], [41.0484988, 148.222708])
    assert first.boxes == {"dataset": Box.from_corners(41, 118, 173, 266)}
    assert [face.occluded.sum() for face in faces] == [25, 21]
    # The 29 landmarks of COFW lie at these of the 68: outer eye corners, mouth corners and chin.
    for face, other in zip(faces, COFW(f"{DATA}/samples/cofw").faces("test"), strict=True):
        np.testing.assert_array_equal(source.read_image(face), source.read_image(other))
        distance = np.linalg.norm(face.landmarks_image[[36, 45, 48, 54, 8]] - other.landmarks_image[[8, 9, 22, 23, 28]])
        assert distance < 20
