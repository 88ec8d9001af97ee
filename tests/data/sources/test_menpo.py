"""Annotations beside images, `.pts` and `.ljson`, and real ones where WINGMARK_DATA names them."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from wingmark.data.sources import Menpo
from wingmark.data.sources.menpo import read_ljson
from wingmark.data.sources.reading import leaving_out

DATA = os.environ.get("WINGMARK_DATA")
real = pytest.mark.skipif(DATA is None, reason="WINGMARK_DATA is not set: the folder of real samples/ljson/")

POINTS = [[10, 20], [30, 20], [20.5, 30], [12, 40], [28, -40]]  # x, y


def pts(points=POINTS) -> str:
    rows = "\r\n".join(f"{x} {y}" for x, y in points)
    return f"version: 1\r\nn_points:  {len(points)}\r\n{{\r\n{rows}\r\n}}\r\n"


def group(points=POINTS) -> dict:
    return {"landmarks": {"points": [[y, x] for x, y in points], "connectivity": []}, "labels": []}


def ljson(**groups: dict) -> str:
    return json.dumps({"groups": groups or {"LJSON": group()}, "version": 3})


def write(root: Path, name: str, text: str, suffix: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).touch()  # holds nothing: listing must not decode it
    (root / name).with_suffix(suffix).write_text(text, newline="")


def test_tree_of_both_formats(tmp_path):
    write(tmp_path, "b/a face.JPG", pts(), ".pts")
    write(tmp_path, "a/ü.png", ljson(), ".LJSON")
    write(tmp_path, "b/c.ppm", ljson(), ".ljson")
    write(tmp_path, "z.png", pts(), ".PTS")
    (tmp_path / "b/not annotated.png").touch()
    source = Menpo(str(tmp_path), schema="five")
    assert source.faces("val") == source.faces("test") == []
    faces = source.faces("train")
    assert [face.id for face in faces] == ["a/ü.png#0", "b/a face.JPG#0", "b/c.ppm#0", "z.png#0"]
    assert [face.group for face in faces] == [face.id.removesuffix("#0") for face in faces]
    assert [face.image for face in faces] == [tmp_path / face.group for face in faces]
    for face, first in zip(faces, (0, 1, 0, 1), strict=True):  # .pts counts from 1, .ljson from 0
        np.testing.assert_array_equal(face.landmarks_image, np.array(POINTS) - first)
        assert face.landmarks_image.dtype == np.float64 and face.valid.all() and face.boxes == {}


def test_null_has_no_location(tmp_path):
    write(tmp_path, "a.png", ljson(LJSON=group([*POINTS[:3], [None, None], POINTS[4]])), ".ljson")
    (face,) = Menpo(str(tmp_path), schema="five").faces("train")
    assert face.valid.tolist() == [True, True, True, False, True] and np.isnan(face.landmarks_image[3]).all()
    np.testing.assert_array_equal(face.landmarks_image[4], [28, -40])


def read(tmp_path: Path, text: str) -> np.ndarray:
    (tmp_path / "a.ljson").write_text(text)
    return read_ljson(tmp_path / "a.ljson", 5)


def test_group_with_as_many_points_as_the_schema(tmp_path):
    np.testing.assert_array_equal(read(tmp_path, ljson(pupils=group(POINTS[:2]), all=group())), POINTS)


def test_version_2_has_one_group(tmp_path):
    np.testing.assert_array_equal(read(tmp_path, json.dumps(group() | {"version": 2})), POINTS)


BAD = {
    "empty": ("", "not a whole JSON file"),
    "cut off": (ljson()[:-9], "not a whole JSON file"),
    "a list": ("[1]", "expected groups with landmarks and their points"),
    "version 1": (json.dumps({"groups": [{"label": "a", "landmarks": []}]}), "expected groups with landmarks"),
    "no points": (json.dumps({"groups": {"a": {"landmarks": {}}}}), "expected groups with landmarks"),
    "points are a number": (json.dumps({"groups": {"a": {"landmarks": {"points": 5}}}}), "expected groups"),
    "another count": (
        ljson(a=group(POINTS[:4])),
        "expected one group of 5 points, got {'a': 4}; choose another schema",
    ),
    "two that fit": (ljson(a=group(), b=group()), "expected one group of 5 points, got {'a': 5, 'b': 5}"),
    "one null": (
        ljson(a=group([[1, None], *POINTS[1:]])),
        "point 0 must be two finite numbers or two nulls, got [None, 1]",
    ),
    "text": (ljson(a=group([*POINTS[:4], ["1", 2]])), "point 4 must be two finite numbers or two nulls, got [2, '1']"),
    "not finite": (ljson(a=group([[1, float("inf")], *POINTS[1:]])), "point 0 must be two finite numbers"),
    "three numbers": (ljson().replace("[20, 10]", "[20, 10, 1]"), "point 0 must be two finite numbers"),
    "a word": (json.dumps({"landmarks": {"points": "words"}}), "point 0 must be two finite numbers"),
    "nothing known": (ljson(a=group([[None, None]] * 5)), "no point has a location; remove the file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_ljson_is_named(tmp_path, case):
    text, message = BAD[case]
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        read(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path / 'a.ljson'}: ")


def test_pts_of_another_markup_is_refused(tmp_path):
    write(tmp_path, "a.png", pts([*POINTS, [1, 1]]), ".pts")
    with pytest.raises(ValueError, match=r"a\.pts, line 2: n_points is 6, expected 5"):
        Menpo(str(tmp_path), schema="five").faces("train")


def test_two_annotations_of_an_image_and_none_with_an_image(tmp_path):
    write(tmp_path, "a.png", pts(), ".pts")
    write(tmp_path, "a.png", ljson(), ".ljson")
    write(tmp_path, "b.png", pts(), ".pts")
    (tmp_path / "b.png").unlink()
    with pytest.raises(ValueError, match=r"a\.pts: a\.png has another annotation beside it; remove one"):
        Menpo(str(tmp_path), schema="five").faces("train")
    with leaving_out() as left_out:
        assert [face.id for face in Menpo(str(tmp_path), schema="five").faces("train")] == ["a.png#0"]
    assert len(left_out) == 2 and left_out[1].startswith(f"{tmp_path / 'b.pts'}: no image of that name beside it")


def test_nothing_there(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(FileNotFoundError, match=r"Menpo: expected images with a \.pts or \.ljson file beside each"):
        Menpo(str(tmp_path)).faces("train")


@real
def test_real_samples():
    with leaving_out() as left_out:
        faces = Menpo(f"{DATA}/samples/ljson").faces("train")
    assert [face.id for face in faces] == ["lenna.png#0", "takeo.ppm#0"]
    assert len(left_out) == 1 and "tongue.pts: no image" in left_out[0]
    np.testing.assert_allclose(faces[1].landmarks_image[[0, 67]], [[31.310345, 98.612347], [78.291435, 144.632369]])
    written = json.loads(Path(DATA, "samples/ljson/lenna.ljson").read_text())["groups"]["LJSON"]["landmarks"]["points"]
    assert [[y, x] for x, y in faces[0].landmarks_image.tolist()] == written
