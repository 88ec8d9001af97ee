"""300W-LP from small trees in its true layout, and from real files where WINGMARK_DATA names them."""

import os
from pathlib import Path

import numpy as np
import pytest

from wingmark.data.sources import IBUG300WLP

savemat = pytest.importorskip("scipy.io", reason="scipy writes the set's files: wingmark[dev]").savemat

DATA = os.environ.get("WINGMARK_DATA")
real = pytest.mark.skipif(DATA is None, reason="WINGMARK_DATA is not set: the folder of real samples/300wlp/")

# Face and group. The set's own names: face and pose are numbers at the end, LFPW and IBUG have none or another face.
TREE = {
    "AFW/AFW_1051618982_1_0.jpg": "AFW/AFW_1051618982",
    "AFW/AFW_1051618982_1_12.jpg": "AFW/AFW_1051618982",
    "AFW/AFW_1051618982_2_0.jpg": "AFW/AFW_1051618982",
    "AFW_Flip/AFW_1051618982_1_0.jpg": "AFW/AFW_1051618982",
    "HELEN/HELEN_100032540_1_0.jpg": "HELEN/HELEN_100032540",
    "IBUG/IBUG_image_003_1_0.jpg": "IBUG/IBUG_image_003",
    "IBUG/IBUG_image_010_3.jpg": "IBUG/IBUG_image_010",
    "IBUG/IBUG_image_092 _01_2.jpg": "IBUG/IBUG_image_092",
    "LFPW/LFPW_image_test_0001_0.jpg": "LFPW/LFPW_image_test_0001",
    "LFPW/LFPW_image_train_0001_11.JPG": "LFPW/LFPW_image_train_0001",
}


def points(seed: int) -> np.ndarray:
    """68 points in single precision, as the files have them."""
    return np.random.default_rng(seed).uniform(1, 450, (68, 2)).astype(np.float32)


def mat_of(root: Path, name: str) -> Path:
    return root / "landmarks" / Path(name).parent / f"{Path(name).stem}_pts.mat"


def write(root: Path, name: str, pts_2d: np.ndarray, pts_3d: np.ndarray) -> None:
    for path in (root / name, mat_of(root, name)):
        path.parent.mkdir(parents=True, exist_ok=True)
    (root / name).touch()  # holds nothing: listing must not decode it
    savemat(mat_of(root, name), {"pts_2d": pts_2d, "pts_3d": pts_3d})


@pytest.fixture
def root(tmp_path) -> Path:
    for seed, name in enumerate(TREE):
        write(tmp_path, name, points(seed), points(seed + 100))
    return tmp_path


def test_faces(root):
    source = IBUG300WLP(str(root))
    assert source.schema.name == "ibug68"
    assert source.faces("val") == source.faces("test") == []
    faces = source.faces("train")
    assert [face.id for face in faces] == [f"{name}#0" for name in TREE]
    assert [face.group for face in faces] == list(TREE.values())
    assert [face.image for face in faces] == [root / name for name in TREE]
    for seed, face in enumerate(faces):
        np.testing.assert_array_equal(face.landmarks_image, points(seed).astype(float) - 1)
        assert face.landmarks_image.dtype == np.float64 and face.valid.all() and not face.occluded.any()
        assert face.boxes == {} and face.tags == frozenset()


def test_points_3d(root):
    for seed, face in enumerate(IBUG300WLP(str(root), points="3d").faces("train")):
        np.testing.assert_array_equal(face.landmarks_image, points(seed + 100).astype(float) - 1)


def test_landmarks_count_from_zero(tmp_path):
    write(tmp_path, "AFW/AFW_1_1_0.jpg", np.ones((68, 2), np.uint8), np.ones((68, 2)))
    np.testing.assert_array_equal(IBUG300WLP(str(tmp_path)).faces("train")[0].landmarks_image, np.zeros((68, 2)))


BAD = {
    "a point short": points(0)[:67],
    "in columns": points(0).T,
    "not a number": np.where(np.arange(136).reshape(68, 2) == 7, np.nan, points(0)),
    "text": np.array(["a" * 68]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_points_are_named(root, case):
    name = "IBUG/IBUG_image_092 _01_2.jpg"
    write(root, name, BAD[case], points(0))
    with pytest.raises(ValueError, match="pts_2d must be 68 x 2 finite numbers; unpack it again") as error:
        IBUG300WLP(str(root)).faces("train")
    assert str(error.value).startswith(f"{mat_of(root, name)}: ")


def test_damaged_file(root):
    path = mat_of(root, "AFW/AFW_1051618982_2_0.jpg")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"AFW_1051618982_2_0_pts\.mat: .*; unpack it again"):
        IBUG300WLP(str(root)).faces("train")
    savemat(path, {"pt2d": points(0)})
    with pytest.raises(ValueError, match=r"AFW_1051618982_2_0_pts\.mat: expected the variables \['pts_2d'\]"):
        IBUG300WLP(str(root)).faces("train")


def test_missing_image(root):
    (root / "HELEN/HELEN_100032540_1_0.jpg").unlink()
    with pytest.raises(
        ValueError, match=r"1_0_pts\.mat: expected one image HELEN_100032540_1_0 in HELEN; add it or remove"
    ):
        IBUG300WLP(str(root)).faces("train")


def test_wrong_root(root):
    with pytest.raises(FileNotFoundError, match=r"IBUG300WLP: expected landmarks/AFW, AFW and so on under .*gone"):
        IBUG300WLP(str(root / "gone")).faces("train")
    (root / "AFW").rename(root / "afw2")
    with pytest.raises(FileNotFoundError, match=r"IBUG300WLP: expected AFW, as in landmarks, under "):
        IBUG300WLP(str(root)).faces("train")


@real
def test_real_samples():
    faces = IBUG300WLP(f"{DATA}/samples/300wlp/300W_LP").faces("train")
    assert [face.id for face in faces] == ["AFW/AFW_134212_1_0.jpg#0", "AFW/AFW_134212_2_0.jpg#0"]
    assert {face.group for face in faces} == {"AFW/AFW_134212"}
    np.testing.assert_allclose(faces[0].landmarks_image[0], [143.78085, 252.39178], rtol=0, atol=1e-5)
    np.testing.assert_allclose(faces[1].landmarks_image[3], [137.80328, 285.6426], rtol=0, atol=1e-5)
