"""COCO-WholeBody's faces from small trees in its true layout, and from real files where WINGMARK_DATA names them."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from wingmark.data.sources import COCOWholeBody
from wingmark.types import Box

DATA = os.environ.get("WINGMARK_DATA")
real = pytest.mark.skipif(DATA is None, reason="WINGMARK_DATA is not set: the folder of real samples/coco_wholebody/")


def points(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1, 500, (68, 2)).round(3)


def person(image_id: int, seed: int, unknown: tuple[int, ...] = (), **fields) -> dict:
    keypoints = np.column_stack([points(seed), np.ones(68)])
    keypoints[list(unknown)] = 0
    return {
        "image_id": image_id,
        "keypoints": [0] * 51,
        "bbox": [1, 1, 300, 400],
        "face_valid": True,
        "face_box": [79.5, 131, 29, 28.5],
        "face_kpts": keypoints.ravel().tolist(),
    } | fields


NO_FACE = {"face_valid": False, "face_box": [0.0] * 4, "face_kpts": [0.0] * 204}


def write(root: Path, split: str, *people: dict) -> Path:
    images = [{"id": number, "file_name": f"{number:012d}.jpg", "height": 425, "width": 640} for number in (785, 139)]
    for image in images:
        (root / f"{split}2017").mkdir(parents=True, exist_ok=True)
        (root / f"{split}2017" / image["file_name"]).touch()  # holds nothing: listing must not decode it
    path = root / f"annotations/coco_wholebody_{split}_v1.0.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": people}))
    return path


def test_faces(tmp_path):
    write(tmp_path, "train", person(785, 0))
    write(tmp_path, "val", person(139, 1, **NO_FACE), person(139, 2), person(785, 3), person(139, 4))
    source = COCOWholeBody(str(tmp_path))
    assert source.schema.name == "ibug68" and source.faces("val") == []
    assert [face.id for face in source.faces("train")] == ["train2017/000000000785.jpg#0"]
    faces = source.faces("test")
    first, second = "val2017/000000000139.jpg", "val2017/000000000785.jpg"
    assert [face.id for face in faces] == [f"{first}#0", f"{second}#0", f"{first}#1"]
    assert [face.group for face in faces] == [first, second, first]
    assert [face.image for face in faces] == [tmp_path / face.group for face in faces]
    for seed, face in zip((2, 3, 4), faces, strict=True):
        np.testing.assert_array_equal(face.landmarks_image, points(seed))
        assert face.valid.all() and not face.occluded.any()
        assert face.boxes == {"dataset": Box(94, 145.25, 29, 28.5)}


def test_landmark_without_location(tmp_path):
    write(tmp_path, "val", person(785, 0, unknown=(3, 67)))
    (face,) = COCOWholeBody(str(tmp_path)).faces("test")
    assert np.flatnonzero(~face.valid).tolist() == [3, 67]
    assert np.isnan(face.landmarks_image[[3, 67]]).all()
    np.testing.assert_array_equal(face.landmarks_image[4:67], points(0)[4:67])


BAD = {
    "no face_valid": (person(785, 0, face_valid=None), "face_valid must be true or false"),
    "a number as face_valid": (person(785, 0, face_valid=1), "face_valid must be true or false"),
    "a landmark short": (person(785, 0, face_kpts=[1.0] * 201), "face_kpts must hold 204 finite numbers, got 201"),
    "no landmark": (person(785, 0, face_kpts=[0] * 204), "no landmark of face_kpts has a v above 0"),
    "text": (person(785, 0, face_kpts=["1"] * 204), "got 0 and 204 other values"),
    "box of zeros": (person(785, 0, face_box=[0, 0, 0, 0]), "face_box [0.0, 0.0, 0.0, 0.0]"),
    "unknown image": (person(1, 0), "image_id 1 is none of the images"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_person_is_named(tmp_path, case):
    broken, message = BAD[case]
    path = write(tmp_path, "val", person(785, 0), broken)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        COCOWholeBody(str(tmp_path)).faces("test")
    assert str(error.value).startswith(f"{path}, annotations[1]: ")


def test_missing_image(tmp_path):
    write(tmp_path, "val", person(785, 0))
    (tmp_path / "val2017/000000000785.jpg").unlink()
    with pytest.raises(ValueError, match=r"annotations\[0\]: there is no image .*val2017/000000000785\.jpg"):
        COCOWholeBody(str(tmp_path)).faces("test")


def test_nobody_has_a_face(tmp_path):
    write(tmp_path, "val", person(785, 0, **NO_FACE))
    with pytest.raises(ValueError, match="no annotated face; unpack it again"):
        COCOWholeBody(str(tmp_path)).faces("test")


def test_wrong_root(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected annotations/coco_wholebody_"):
        COCOWholeBody(str(tmp_path)).faces("train")


@real
def test_real_samples():
    faces = COCOWholeBody(f"{DATA}/samples/coco_wholebody").faces("test")
    assert [face.id for face in faces] == [
        "val2017/000000000785.jpg#0",
        "val2017/000000040083.jpg#0",
        "val2017/000000040083.jpg#1",
        "val2017/000000197388.jpg#0",
    ]
    np.testing.assert_array_equal(faces[0].landmarks_image[:2], [[355.823, 75.36], [356.354, 79.0837]])
    assert faces[0].boxes["dataset"] == Box.from_corners(
        358.2, 69.86, 358.2 + 26.360000000000014, 69.86 + 25.849999999999994
    )
