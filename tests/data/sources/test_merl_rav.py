"""MERL-RAV from small trees in both true layouts, and from real files where WINGMARK_DATA names them."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wingmark.data.sources import MERLRAV
from wingmark.data.sources.reading import leaving_out

DATA = os.environ.get("WINGMARK_DATA")
real = pytest.mark.skipif(DATA is None, reason="WINGMARK_DATA is not set: the folder of real samples/merl_rav/")

# Of each face: what its label is called, and the folder of AFLW with its photo.
TREE = {
    "frontal/trainset/image00070_1": "0",
    "frontal/testset/image00070_2": "0",
    "left/trainset/image00091": "2",
    "lefthalf/trainset/image00076_1": "2",
    "right/trainset/image00010": "3",
    "righthalf/trainset/image00133": "3",
}
TRAIN = [name for name in TREE if "/trainset/" in name]


def points(seed: int) -> np.ndarray:
    """68 landmarks as they are written: every third is covered, every fourth of the rest is hidden by the face."""
    signed = np.random.default_rng(seed).uniform(1, 900, (68, 2))
    signed[::3] *= -1
    signed[1::4] = -1
    return signed


def write_label(path: Path, signed: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = "\n".join("-1 -1" if x == y == -1 else f"{x!r} {y!r}" for x, y in signed.tolist())
    path.write_text(f"version: 1\nn_points:  68\n{{\n{rows}\n}}")


@pytest.fixture
def organized(tmp_path) -> Path:
    """The tree that the script of the set makes."""
    root = tmp_path / "merl_rav_organized"
    for seed, name in enumerate(TREE):
        write_label(root / f"{name}.pts", points(seed))
        (root / f"{name}.jpg").touch()  # holds nothing: listing must not decode it
    return root


@pytest.fixture
def labels(tmp_path) -> Path:
    """The labels alone, and AFLW's images beside them."""
    root = tmp_path / "merl_rav_labels"
    for seed, (name, folder) in enumerate(TREE.items()):
        pose, split, stem = name.split("/")
        write_label(root / pose / split / "labels" / f"{stem}.pts", points(seed))
        image = tmp_path / "aflw/data/flickr" / folder / f"{stem.split('_')[0]}.jpg"
        image.parent.mkdir(parents=True, exist_ok=True)
        image.touch()
    return root


def test_organized_layout(organized):
    source = MERLRAV(str(organized))
    assert source.schema.name == "ibug68"
    assert source.faces("val") == []
    train, test = source.faces("train"), source.faces("test")
    assert [face.id for face in train] == [f"{name}#0" for name in TRAIN]
    assert [face.image for face in train] == [organized / f"{name}.jpg" for name in TRAIN]
    assert [face.id for face in test] == ["frontal/testset/image00070_2#0"]
    assert test[0].group == train[0].group == "image00070"
    assert all(face.boxes == {} for face in train)
    assert [face.tags for face in train] == [
        {"frontal"},
        {"profile", "left"},
        {"half", "lefthalf"},
        {"profile", "right"},
        {"half", "righthalf"},
    ]


def test_labels_alone_give_the_same_faces(organized, labels, tmp_path):
    source = MERLRAV(str(labels), aflw=str(tmp_path / "aflw"))
    for split in ("train", "val", "test"):
        ours, theirs = MERLRAV(str(organized)).faces(split), source.faces(split)
        assert [(face.id, face.group, face.tags) for face in ours] == [(f.id, f.group, f.tags) for f in theirs]
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one.landmarks_image, other.landmarks_image)
    flickr = tmp_path / "aflw/data/flickr"
    assert [face.image for face in source.faces("train")] == [
        flickr / "0/image00070.jpg",
        flickr / "2/image00091.jpg",
        flickr / "2/image00076.jpg",
        flickr / "3/image00010.jpg",
        flickr / "3/image00133.jpg",
    ]


def test_signs_tell_visibility(organized):
    signed = np.full((68, 2), 5.5)
    signed[0] = -20.25, -30.5  # covered by something else
    signed[1] = -1, -1  # hidden by the face itself
    signed[2] = -1, -30.5  # covered, at the border of the image
    signed[3] = 0, 4.0
    write_label(organized / "frontal/testset/image00070_2.pts", signed)
    (face,) = MERLRAV(str(organized)).faces("test")
    np.testing.assert_array_equal(
        face.landmarks_image[:5], [[20.25, 30.5], [np.nan, np.nan], [1, 30.5], [0, 4], [5.5, 5.5]]
    )
    assert face.valid.tolist() == [True, False] + [True] * 66
    assert face.occluded.tolist() == [True, True, True] + [False] * 65


def test_numbers_are_taken_as_they_are(organized):
    for seed, face in enumerate(MERLRAV(str(organized)).faces("train")):
        signed = points(seed if seed == 0 else seed + 1)  # the second of the tree is the test face
        for written, landmark, valid, occluded in zip(
            signed, face.landmarks_image, face.valid, face.occluded, strict=True
        ):
            if (written == -1).all():
                assert np.isnan(landmark).all() and not valid and occluded
            else:
                assert landmark.tolist() == abs(written).tolist() and valid and occluded == (written[0] < 0)


def test_mixed_signs(organized):
    path = organized / "frontal/testset/image00070_2.pts"
    signed = points(0)
    signed[7] = 4, -5
    write_label(path, signed)
    message = f"{path}: a landmark has one negative coordinate, expected both or none; replace the file"
    with pytest.raises(ValueError, match=re.escape(message)):
        MERLRAV(str(organized)).faces("test")


def test_label_cut_off(organized):
    path = organized / "frontal/testset/image00070_2.pts"
    path.write_text(path.read_text()[:900])
    with pytest.raises(ValueError, match=re.escape(f"{path}: not a whole .pts file")):
        MERLRAV(str(organized)).faces("test")


def test_label_without_image(organized, labels, tmp_path):
    (organized / "frontal/testset/image00070_2.jpg").unlink()
    with pytest.raises(ValueError, match=r"image00070_2\.pts: no image of that name beside it"):
        MERLRAV(str(organized)).faces("test")
    (tmp_path / "aflw/data/flickr/0/image00070.jpg").unlink()
    with pytest.raises(ValueError, match=r"image00070_2\.pts: AFLW has 0 images of that name, expected one; unpack"):
        MERLRAV(str(labels), str(tmp_path / "aflw")).faces("test")


def test_photo_that_aflw_has_twice(labels, tmp_path):
    (tmp_path / "aflw/data/flickr/3/image00070.png").touch()
    with pytest.raises(ValueError, match=r"image00070_2\.pts: AFLW has 2 images of that name, expected one"):
        MERLRAV(str(labels), str(tmp_path / "aflw")).faces("test")


def test_wrong_folders_tell_what_was_expected(labels, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"with init_args\.aflw frontal/trainset/labels/\*\.pts under .*labels"):
        MERLRAV(str(labels)).faces("train")
    with pytest.raises(FileNotFoundError, match=r"gone, found no such folder; set data\.source\.init_args\.root"):
        MERLRAV(str(tmp_path / "gone")).faces("test")
    with pytest.raises(FileNotFoundError, match=r"flickr under .*merl_rav_labels; set data\.source\.init_args\.aflw"):
        MERLRAV(str(labels), aflw=str(labels)).faces("test")


def test_partial_copy_is_told_once(organized, caplog):
    MERLRAV(str(organized)).faces("train")
    assert caplog.messages == [f"MERLRAV train: 5 of 15449 faces found under {organized}: a partial copy"]


@real
def test_real_samples():
    source = MERLRAV(f"{DATA}/samples/merl_rav/merl_rav_organized")
    faces = source.faces("train") + source.faces("test")
    assert [face.id for face in faces] == ["frontal/trainset/image04476#0", "frontal/testset/image22568#0"]
    # The label begins -301.78 -257.86 and -306.78 -310.71, then 309.64 366.43.
    np.testing.assert_allclose(
        faces[1].landmarks_image[:3],
        [
            [301.7857142857143, 257.8571428571429],
            [306.7857142857143, 310.7142857142857],
            [309.6428571428571, 366.4285714],
        ],
    )
    assert faces[1].occluded[:3].tolist() == [True, True, False]
    for face in faces:
        width, height = Image.open(face.image).size
        located = face.landmarks_image[face.valid]
        assert (located >= 0).all() and (located < [width, height]).all()


@real
def test_real_labels_with_images_of_aflw():
    with leaving_out() as left_out:
        source = MERLRAV(f"{DATA}/samples/merl_rav/merl_rav_labels", f"{DATA}/samples/aflw")
        faces = source.faces("train") + source.faces("test")
    assert [face.id for face in faces] == ["frontal/trainset/image04476#0", "frontal/testset/image22568#0"]
    assert len(left_out) == 30 and all("AFLW has 0 images of that name" in fault for fault in left_out)
