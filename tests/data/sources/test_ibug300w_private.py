"""The once private test set of 300W: small trees in its true layout, and real files where WINGMARK_DATA names them."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wingmark.data.sources import IBUG300WPrivate

DATA = os.environ.get("WINGMARK_DATA")
real = pytest.mark.skipif(DATA is None, reason="WINGMARK_DATA is not set: the folder of real samples/300w_private/")

TREE = ["01_Indoor/indoor_001.png", "01_Indoor/indoor_010.png", "02_Outdoor/outdoor_001.PNG"]


def points(seed: int) -> np.ndarray:
    """68 points counted from 1, with the three decimals of the files."""
    return np.random.default_rng(seed).uniform(1, 900, (68, 2)).round(3)


def write_tree(folder: Path) -> None:
    for seed, name in enumerate(TREE):
        image = folder / name
        image.parent.mkdir(parents=True, exist_ok=True)
        image.touch()  # holds nothing: listing must not decode it
        rows = "\n".join(f"{x:.3f} {y:.3f}" for x, y in points(seed))
        image.with_suffix(".pts").write_text(f"version: 1\nn_points: 68\n{{\n{rows}\n}}\n")


@pytest.mark.parametrize("nested", [True, False])
def test_faces(tmp_path, nested):
    folder = tmp_path / "300W" if nested else tmp_path
    write_tree(folder)
    source = IBUG300WPrivate(str(tmp_path))
    assert source.schema.name == "ibug68"
    assert source.faces("train") == source.faces("val") == []
    faces = source.faces("test")
    assert [face.id for face in faces] == [f"{name}#0" for name in TREE]
    assert [face.image for face in faces] == [folder / name for name in TREE]
    assert [face.tags for face in faces] == [{"indoor"}, {"indoor"}, {"outdoor"}]
    assert [face.group for face in faces] == TREE
    for seed, face in enumerate(faces):
        np.testing.assert_array_equal(face.landmarks_image, points(seed) - 1)
        assert face.valid.all() and not face.occluded.any() and face.boxes == {}


def test_partial_copy_is_told_and_full_one_is_not(tmp_path, caplog, monkeypatch):
    write_tree(tmp_path)
    IBUG300WPrivate(str(tmp_path)).faces("test")
    assert caplog.messages == [f"IBUG300WPrivate test: 3 of 600 faces found under {tmp_path}: a partial copy"]
    caplog.clear()
    monkeypatch.setattr(IBUG300WPrivate, "published_counts", {"test": 3})
    IBUG300WPrivate(str(tmp_path)).faces("test")
    assert caplog.messages == []


def test_annotation_without_image(tmp_path):
    write_tree(tmp_path)
    (tmp_path / TREE[1]).unlink()
    with pytest.raises(
        ValueError, match=r"indoor_010\.pts: no image of that name beside it; keep one image, or remove"
    ):
        IBUG300WPrivate(str(tmp_path)).faces("test")


def test_bad_annotation_names_file_and_line(tmp_path):
    write_tree(tmp_path)
    path = (tmp_path / TREE[2]).with_suffix(".pts")
    lines = path.read_text().split("\n")
    path.write_text("\n".join([*lines[:9], "12,5 3", *lines[10:]]))
    with pytest.raises(ValueError, match=r"outdoor_001\.pts, line 10: could not convert string to float: '12,5'"):
        IBUG300WPrivate(str(tmp_path)).faces("test")


def test_wrong_root_tells_what_was_expected_and_found(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"01_Indoor, 02_Outdoor under .*gone, found no such folder; set"):
        IBUG300WPrivate(str(tmp_path / "gone")).faces("test")
    (tmp_path / "images").mkdir()
    with pytest.raises(FileNotFoundError, match=r"found \['images'\]; set data\.source\.init_args\.root"):
        IBUG300WPrivate(str(tmp_path)).faces("test")


@real
def test_real_samples():
    faces = IBUG300WPrivate(f"{DATA}/samples/300w_private").faces("test")
    assert [face.id for face in faces] == ["01_Indoor/indoor_020.png#0", "01_Indoor/indoor_029.png#0"]
    np.testing.assert_allclose(faces[0].landmarks_image[0], [69, 291.332], atol=1e-9)
    for face in faces:
        width, height = Image.open(face.image).size
        assert (face.landmarks_image >= 0).all() and (face.landmarks_image < [width, height]).all()
