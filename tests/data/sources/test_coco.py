"""COCO's JSON, good and bad."""

import json
import re

import numpy as np
import pytest

from wingmark.data.sources.coco import coco_box, image_name, numbers, read_coco
from wingmark.types import Box

IMAGES = [{"id": 7, "file_name": "a b.jpg", "width": 3}, {"id": 2, "file_name": "ü.PNG"}]


def test_images_and_annotations(tmp_path):
    path = tmp_path / "faces.json"
    path.write_text(json.dumps({"annotations": [{"image_id": 2}, {"image_id": 7}], "images": IMAGES}))
    names, annotations = read_coco(path)
    assert [image_name(annotation, names) for annotation in annotations] == ["ü.PNG", "a b.jpg"]
    with pytest.raises(ValueError, match="image_id 3 is none of the images"):
        image_name({"image_id": 3}, names)
    with pytest.raises(ValueError, match="image_id None is none of the images"):
        image_name({}, names)


WHOLE = json.dumps({"images": IMAGES, "annotations": []})
BAD = {
    "empty": ("", "not a whole JSON file (Expecting value: line 1 column 1"),
    "cut off": (WHOLE[:-20], "not a whole JSON file ("),
    "very deep": ("[" * 100_000, "not a whole JSON file ("),
    "no object": ("[1, 2]", "expected COCO's lists `images` and `annotations`"),
    "no annotations": (json.dumps({"images": IMAGES}), "expected COCO's lists"),
    "annotations by name": (json.dumps({"images": IMAGES, "annotations": {"0": {}}}), "expected COCO's lists"),
    "annotations are numbers": (json.dumps({"images": IMAGES, "annotations": [1]}), "expected COCO's lists"),
    "an id twice": (json.dumps({"images": IMAGES * 2, "annotations": []}), "4 images share 2 ids"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_is_named(tmp_path, case):
    text, message = BAD[case]
    path = tmp_path / "faces.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        read_coco(path)
    assert str(error.value).startswith(f"{path}: ")


def test_numbers():
    np.testing.assert_array_equal(numbers({"center": [1, 2.5]}, "center", 2), [1, 2.5])
    np.testing.assert_array_equal(numbers({"scale": 3}, "scale", 1), [3])


@pytest.mark.parametrize("values", [[1], [1, 2, 3], [1, "2"], [1, None], [1, [2]], [1, 10**400], "12", None, {}])
def test_what_is_not_two_finite_numbers_is_refused(values):
    with pytest.raises(ValueError, match="center must hold 2 finite numbers"):
        numbers({"center": values}, "center", 2)
    with pytest.raises(ValueError, match="there is no center"):
        numbers({}, "center", 2)


def test_not_finite_numbers_in_json_are_refused():
    for text in ("NaN", "Infinity", "1e999"):
        with pytest.raises(ValueError, match="center must hold 2 finite numbers, got 1 and 1 other values"):
            numbers(json.loads(f'{{"center": [1, {text}]}}'), "center", 2)


def test_box():
    assert coco_box({"bbox": [10, 20, 4, 6]}, "bbox") == Box(12, 23, 4, 6)
    for empty in ([10, 20, 0, 6], [10, 20, 4, -1]):
        with pytest.raises(ValueError, match="bbox .* has no area"):
            coco_box({"bbox": empty}, "bbox")
