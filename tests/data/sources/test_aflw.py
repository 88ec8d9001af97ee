"""AFLW with 19 landmarks from small trees in its true layout, and from real files where WINGMARK_DATA names them."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from wingmark.data.sources import AFLW, aflw
from wingmark.types import Box

DATA = os.environ.get("WINGMARK_DATA")
real = pytest.mark.skipif(DATA is None, reason="WINGMARK_DATA is not set: the folder of real samples/aflw/")

NAMES = ["0/image00002.jpg", "3/image00035.jpg", "0/image00002.jpg", "2/image Ü.jpg"]


def table() -> dict:
    """Four faces, two of them in one image; the numbers tell which face, landmark and axis they belong to."""
    x = np.array([[100 * face + landmark + 0.25 for landmark in range(19)] for face in range(4)])
    visible = np.ones((4, 19), np.uint8)
    visible[1, [4, 18]] = 0
    names = np.empty((4, 1), object)
    names[:, 0] = NAMES
    return {
        "nameList": names,
        "bbox": np.array([[10, 50, 20, 80], [-900, -500, -3, 5], [0, 8, 0, 8], [1, 2, 3, 4]], float),
        "data": np.hstack([x, x + 1000]),
        "mask_new": visible,
        "ra": np.array([[3, 1, 4, 2]]),
    }


def write_list(root: Path, **changes) -> Path:
    path = root / "AFLWinfo_release.mat"
    scipy.io.savemat(path, {name: value for name, value in (table() | changes).items() if value is not None})
    return path


@pytest.fixture
def root(tmp_path) -> Path:
    for name in NAMES:
        (tmp_path / "flickr" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "flickr" / name).touch()  # holds nothing: listing must not decode it
    write_list(tmp_path)
    return tmp_path


def test_faces_are_read_in_the_order_of_ra(root):
    source = AFLW(str(root))
    faces = source.faces("train")
    assert source.schema.name == "aflw19" and source.faces("val") == [] and source.faces("test") == []
    assert [face.id for face in faces] == [
        "flickr/0/image00002.jpg#1",
        "flickr/0/image00002.jpg#0",
        "flickr/2/image Ü.jpg#0",
        "flickr/3/image00035.jpg#0",
    ]
    for row, face in zip((2, 0, 3, 1), faces, strict=True):
        assert face.group == f"flickr/{NAMES[row]}" and face.image == root / face.group
        assert face.landmarks_image.shape == (19, 2) and face.landmarks_image.dtype == np.float64
        for landmark in range(19):
            expected = 100 * row + landmark + 0.25
            assert face.landmarks_image[landmark].tolist() == [expected, 1000 + expected]


def test_box_hidden_landmarks_and_tag(root):
    second, first, fourth, hidden = AFLW(str(root)).faces("train")
    assert first.boxes == {"dataset": Box(30, 50, 40, 60)}  # left 10, right 50, top 20, bottom 80
    assert hidden.boxes == {"dataset": Box(-700, 1, 400, 8)}
    assert [face.tags for face in (second, first, fourth, hidden)] == [{"frontal"}] * 3 + [frozenset()]
    assert np.flatnonzero(hidden.occluded).tolist() == [4, 18] and hidden.valid.all()
    assert not first.occluded.any() and first.valid.all()


def test_what_follows_the_faces_for_training_is_test_and_ids_differ(root, monkeypatch):
    monkeypatch.setattr(aflw, "NUM_TRAIN", 1)
    source = AFLW(str(root))
    train, test = ([face.id for face in source.faces(split)] for split in ("train", "test"))
    assert train == ["flickr/0/image00002.jpg#1"]
    assert test == ["flickr/0/image00002.jpg#0", "flickr/2/image Ü.jpg#0", "flickr/3/image00035.jpg#0"]


def test_images_under_data_and_with_another_suffix_are_found(root):
    (root / "data").mkdir()
    (root / "flickr").rename(root / "data/flickr")
    (root / "data/flickr/3/image00035.jpg").rename(root / "data/flickr/3/image00035.png")
    assert AFLW(str(root)).faces("train")[3].id == "data/flickr/3/image00035.png#0"
    assert AFLW(str(root)).faces("train")[0].id == "data/flickr/0/image00002.jpg#1"


def test_a_list_of_one_face(root):
    write_list(root, **{name: value[:1] for name, value in table().items() if name != "ra"}, ra=np.array([[1]]))
    assert [face.id for face in AFLW(str(root)).faces("train")] == ["flickr/0/image00002.jpg#0"]


def test_partial_copy_is_told(root, caplog):
    AFLW(str(root)).faces("train")
    assert caplog.messages == [f"AFLW train: 4 of 20000 faces found under {root}: a partial copy"]


def changed(name: str, position: tuple[int, int], value: object) -> dict:
    column = table()[name].astype(object if isinstance(value, str) else float)
    column[position] = value
    return {name: column}


BAD_FACE = {
    "no number": (changed("data", (2, 20), np.nan), "expected finite numbers, got nan"),
    "no rectangle": (changed("bbox", (2, 1), 0.0), "the rectangle 0 0 0 8 (x_min y_min x_max y_max) has no area"),
    "infinite rectangle": (changed("bbox", (2, 1), np.inf), "expected finite numbers, got inf"),
    "mask": (changed("mask_new", (2, 1), 2.0), "mask_new must be 0 or 1, got [1.0, 2.0, 1.0"),
    "no image": (changed("nameList", (2, 0), "0/gone.jpg"), "there is no image"),
    "image elsewhere": (changed("nameList", (2, 0), "../AFLWinfo_release.mat"), "leaves the folder"),
}


@pytest.mark.parametrize("case", BAD_FACE)
def test_bad_face_is_named_by_its_row(root, case):
    changes, message = BAD_FACE[case]
    path = write_list(root, **changes)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        AFLW(str(root)).faces("train")
    assert str(error.value).startswith(f"{path}, row 3: ") and str(error.value).endswith("; unpack AFLW again")


BAD_LIST = {
    "no order": ({"ra": None}, "expected the variables ['ra']"),
    "an order of others": ({"ra": np.array([[0, 1, 2, 3]])}, "4 names need ra to hold 1..4 once each"),
    "a short order": ({"ra": np.array([[1, 2, 3]])}, "4 names need ra to hold 1..4 once each"),
    "a column short": ({"data": table()["data"][:, :37]}, "got [(4, 4), (4, 37), (4, 19)]"),
    "a row short": ({"mask_new": table()["mask_new"][:3]}, "got [(4, 4), (4, 38), (3, 19)]"),
    "words": ({"bbox": np.full((4, 4), "wide", object)}, "must hold numbers"),
}


@pytest.mark.parametrize("case", BAD_LIST)
def test_bad_list_is_refused(root, case):
    changes, message = BAD_LIST[case]
    path = write_list(root, **changes)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        AFLW(str(root)).faces("train")
    assert str(error.value).startswith(f"{path}: ") and str(error.value).endswith("; unpack it again")


@pytest.mark.parametrize("size", [0, 100, 700])
def test_truncated_list_is_refused(root, size):
    path = root / "AFLWinfo_release.mat"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=re.escape(str(path))):
        AFLW(str(root)).faces("train")


def test_wrong_root_tells_what_was_expected(tmp_path):
    (tmp_path / "flickr").mkdir()
    with pytest.raises(FileNotFoundError, match=r"AFLWinfo_release\.mat and flickr.*found \['flickr'\]"):
        AFLW(str(tmp_path)).faces("test")


@real
def test_real_samples():
    faces = AFLW(f"{DATA}/samples/aflw").faces("train")
    assert [face.id for face in faces] == ["flickr/2/image22568.jpg#0", "flickr/2/image04476.jpg#0"]
    assert faces[0].boxes == {"dataset": Box.from_corners(268, 140, 630, 502)}
    np.testing.assert_allclose(faces[0].landmarks_image[[0, 18]], [[337.28341385, 205.78904992], [451, 478]], atol=1e-8)
    assert [face.tags for face in faces] == [{"frontal"}] * 2
