"""300W from small trees in its true layout, and from real files where WINGMARK_DATA names them."""

import logging
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wingmark.data.sources import IBUG300W
from wingmark.data.sources.reading import leaving_out
from wingmark.geometry import tight_box
from wingmark.types import Box

DATA = os.environ.get("WINGMARK_DATA")
real = pytest.mark.skipif(DATA is None, reason="WINGMARK_DATA is not set: the folder of real 300w/ and samples/300w/")

TREE = [
    "afw/1051618982_1.jpg",
    "afw/1051618982_2.jpg",
    "helen/trainset/100032540_1.jpg",
    "lfpw/trainset/image_0001.png",
    "helen/testset/296814969_3.jpg",
    "lfpw/testset/image_0001.png",
    "ibug/image_003_1.jpg",
    "ibug/image_092 _01.jpg",
]


def points(seed: int) -> np.ndarray:
    """68 points counted from 1, with the six decimals of the files."""
    return np.random.default_rng(seed).uniform(1, 500, (68, 2)).round(6)


def write_face(image: Path, seed: int = 0, landmarks: np.ndarray | None = None) -> None:
    """An image that holds nothing, since listing must not decode it, and its annotation."""
    image.parent.mkdir(parents=True, exist_ok=True)
    image.touch()
    rows = "\n".join(f"{x:.6f} {y:.6f}" for x, y in (points(seed) if landmarks is None else landmarks))
    image.with_suffix(".pts").write_text(f"version: 1\nn_points:  68\n{{\n{rows}\n}}")


@pytest.fixture
def root(tmp_path) -> Path:
    for seed, name in enumerate(TREE):
        write_face(tmp_path / name, seed)
    return tmp_path


def test_splits_ids_and_tags(root):
    source = IBUG300W(str(root))
    assert source.schema.name == "ibug68"
    assert [face.id for face in source.faces("train")] == [f"{name}#0" for name in TREE[:4]]
    assert source.faces("val") == []
    test = source.faces("test")
    assert [(face.id, face.tags) for face in test] == [
        ("helen/testset/296814969_3.jpg#0", {"common"}),
        ("lfpw/testset/image_0001.png#0", {"common"}),
        ("ibug/image_003_1.jpg#0", {"challenge"}),
        ("ibug/image_092 _01.jpg#0", {"challenge"}),
    ]
    assert all(face.image == root / face.id.removesuffix("#0") for face in test)
    assert all(face.tags == frozenset() and face.boxes == {} for face in source.faces("train"))


def test_landmarks_count_from_zero(root):
    write_face(root / TREE[0], landmarks=np.ones((68, 2)))
    first, second = IBUG300W(str(root)).faces("train")[:2]
    np.testing.assert_array_equal(first.landmarks_image, np.zeros((68, 2)))
    np.testing.assert_array_equal(second.landmarks_image, points(1) - 1)
    assert second.landmarks_image.dtype == np.float64
    assert second.valid.all() and second.valid.shape == (68,) and second.valid.dtype == bool
    assert not second.occluded.any() and second.occluded.shape == (68,)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("afw/1051618982_1.jpg", "afw/1051618982"),
        ("afw/237815567_3.jpg", "afw/237815567"),
        ("helen/trainset/296814969_1.jpg", "helen/296814969"),
        ("helen/testset/296814969_3.jpg", "helen/296814969"),
        ("lfpw/trainset/image_0001.png", "lfpw/trainset/image_0001"),
        ("lfpw/testset/image_0001.png", "lfpw/testset/image_0001"),
        ("ibug/image_99.jpg", "ibug/image_99"),
        ("ibug/image_003_1.jpg", "ibug/image_003"),
        ("ibug/image_014_02.jpg", "ibug/image_014"),
        ("ibug/image_092 _01.jpg", "ibug/image_092"),
        ("ibug/image_092.jpg", "ibug/image_092"),
    ],
)
def test_group_is_the_photo(tmp_path, name, group):
    write_face(tmp_path / name)
    source = IBUG300W(str(tmp_path))
    assert [face.group for split in ("train", "test") for face in source.faces(split)] == [group]


def test_image_is_found_by_stem(tmp_path):
    for name in ("a_1.JPG", "b_1.jpeg", "c_1.PNG", "d.1_1.bmp"):
        write_face(tmp_path / "afw" / name)
    (tmp_path / "afw" / "a_1.txt").touch()
    (tmp_path / "afw" / "without_annotation.jpg").touch()
    write_face(tmp_path / "afw" / "a_1_mirror.jpg")
    faces = IBUG300W(str(tmp_path)).faces("train")
    assert [face.id for face in faces] == ["afw/a_1.JPG#0", "afw/b_1.jpeg#0", "afw/c_1.PNG#0", "afw/d.1_1.bmp#0"]


def test_unpacking_that_nests_once_more(tmp_path):
    write_face(tmp_path / "afw/afw/1_1.jpg")
    write_face(tmp_path / "helen/helen/trainset/2_1.jpg")
    write_face(tmp_path / "lfpw/trainset/image_0001.png")
    faces = IBUG300W(str(tmp_path)).faces("train")
    assert [(face.id, face.group) for face in faces] == [
        ("afw/afw/1_1.jpg#0", "afw/1"),
        ("helen/helen/trainset/2_1.jpg#0", "helen/2"),
        ("lfpw/trainset/image_0001.png#0", "lfpw/trainset/image_0001"),
    ]


def write_boxes(path: Path, rows: dict[str, list[float]]) -> None:
    """A file like those of the archive: a 1 x N cell of structs."""
    scipy_io = pytest.importorskip("scipy.io", reason="scipy writes the detector's boxes: wingmark[dev]")
    cell = np.empty((1, len(rows)), object)
    for i, (name, corners) in enumerate(rows.items()):
        cell[0, i] = {"imgName": name, "bb_detector": np.array([corners]), "bb_ground_truth": np.zeros((1, 4))}
    path.parent.mkdir(exist_ok=True)
    scipy_io.savemat(path, {"bounding_boxes": cell})


def test_detector_boxes_are_matched_by_name(root):
    folder = root / "Bounding Boxes"
    afw = {"image_092 _01.jpg": [11.0, 21.0, 31.0, 61.0], "134212_1.jpg": [1.0, 1.0, 2.0, 2.0]}
    write_boxes(folder / "bounding_boxes_ibug.mat", afw)
    write_boxes(folder / "bounding_boxes_helen_testset.mat", {"296814969_3.jpg": [1.0, 1.0, 101.5, 51.0]})
    boxes = {face.id: face.boxes for face in IBUG300W(str(root)).faces("test")}
    assert boxes == {
        "helen/testset/296814969_3.jpg#0": {"detector": Box.from_corners(0.0, 0.0, 100.5, 50.0)},
        "lfpw/testset/image_0001.png#0": {},
        "ibug/image_003_1.jpg#0": {},
        "ibug/image_092 _01.jpg#0": {"detector": Box.from_corners(10.0, 20.0, 30.0, 60.0)},
    }


def test_file_of_boxes_cut_off(root):
    path = root / "Bounding Boxes" / "bounding_boxes_ibug.mat"
    write_boxes(path, {"image_003_1.jpg": [1.0, 1.0, 2.0, 2.0]})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"not a whole MATLAB 5 file .*; unpack it again") as error:
        IBUG300W(str(root)).faces("test")
    assert str(error.value).startswith(f"{path}: ")


BAD_BOXES = {
    "no width": ([5.0, 1.0, 5.0, 9.0], "the rectangle 4 0 4 8 (x_min y_min x_max y_max) has no area"),
    "three numbers": ([1.0, 1.0, 2.0], "expected imgName and 4 numbers bb_detector"),
    "not a number": ([1.0, 1.0, float("nan"), 2.0], "expected finite numbers, got nan"),
}


@pytest.mark.parametrize("case", BAD_BOXES)
def test_box_that_is_none(root, case):
    corners, says = BAD_BOXES[case]
    path = root / "Bounding Boxes" / "bounding_boxes_ibug.mat"
    write_boxes(path, {"image_092 _01.jpg": [11.0, 21.0, 31.0, 61.0], "image_003_1.jpg": corners})
    with pytest.raises(ValueError, match=re.escape(says)) as error:
        IBUG300W(str(root)).faces("test")
    assert str(error.value).startswith(f"{path}, bounding_boxes[1]: ")
    assert str(error.value).endswith("; correct it or unpack it again")
    with leaving_out() as left_out:
        boxes = {face.id: face.boxes for face in IBUG300W(str(root)).faces("test")}
    assert len(left_out) == 1
    assert [*boxes["ibug/image_092 _01.jpg#0"]] == ["detector"]
    assert not boxes["ibug/image_003_1.jpg#0"]


def test_partial_copy_is_told_once(root, caplog):
    IBUG300W(str(root)).faces("train")
    assert caplog.messages == [f"IBUG300W train: 4 of 3148 faces found under {root}: a partial copy"]
    assert caplog.records[0].levelno == logging.WARNING


def test_full_copy_and_missing_split_are_silent(root, caplog, monkeypatch):
    monkeypatch.setattr(IBUG300W, "published_counts", {"train": 4, "test": 4})
    assert [len(IBUG300W(str(root)).faces(split)) for split in ("train", "val", "test")] == [4, 0, 4]
    assert caplog.messages == []


def test_copy_without_test_part(tmp_path, caplog):
    write_face(tmp_path / TREE[0])
    assert IBUG300W(str(tmp_path)).faces("test") == []
    assert "0 of 689 faces found" in caplog.text


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_wrong_root_tells_what_was_expected_and_found(tmp_path, split):
    with pytest.raises(
        FileNotFoundError, match=r"afw, helen/trainset.*gone, found no such folder; set .*root"
    ) as error:
        IBUG300W(str(tmp_path / "gone")).faces(split)
    (tmp_path / "images").mkdir()
    with pytest.raises(FileNotFoundError, match=r"found \['images'\]") as error:
        IBUG300W(str(tmp_path)).faces(split)
    assert str(tmp_path) in str(error.value) and "data.source.init_args.root" in str(error.value)


def test_annotation_without_image(root):
    (root / "ibug/image_003_1.jpg").unlink()
    path = root / "ibug/image_003_1.pts"
    with pytest.raises(ValueError, match=r"no image of that name beside it; keep one image, or remove") as error:
        IBUG300W(str(root)).faces("test")
    assert str(path) in str(error.value)


def test_bad_annotation_names_file_and_line(root):
    path = root / "ibug/image_003_1.pts"
    path.write_text(path.read_text().replace("n_points:  68", "n_points:  51"))
    with pytest.raises(ValueError, match="line 2: n_points is 51, expected 68; replace the file") as error:
        IBUG300W(str(root)).faces("test")
    assert str(path) in str(error.value)


@real
def test_real_training_part():
    faces = IBUG300W(f"{DATA}/300w").faces("train")
    sets = [face.id.rpartition("/")[0] for face in faces]
    assert {name: sets.count(name) for name in set(sets)} == {"afw": 337, "lfpw/trainset": 805, "helen/trainset": 870}
    assert len({face.id for face in faces}) == len(faces)
    assert len({face.group for face in faces if face.id.startswith("afw")}) == 185
    landmarks = np.stack([face.landmarks_image for face in faces])
    assert landmarks.shape == (2012, 68, 2) and np.isfinite(landmarks).all()
    np.testing.assert_allclose(faces[0].landmarks_image[0], [124.866335, 159.009351], atol=1e-9)


@real
def test_real_samples():
    source = IBUG300W(f"{DATA}/samples/300w")
    faces = source.faces("train") + source.faces("test")
    assert len(faces) == 16
    assert sum("challenge" in face.tags for face in faces) == 2
    for face in faces:
        width, height = Image.open(face.image).size
        assert (face.landmarks_image >= 0).all() and (face.landmarks_image < [width, height]).all()
        detector, tight = face.boxes["detector"], tight_box(face.landmarks_image)
        distance = np.hypot(detector.x - tight.x, detector.y - tight.y)
        assert distance < 0.25 * max(tight.width, tight.height), face.id
