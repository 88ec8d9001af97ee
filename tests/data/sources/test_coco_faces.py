"""COCO keypoint files of faces from small trees, and real ones where WINGMARK_DATA names them."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from wingmark.data.sources import COCOFaces
from wingmark.types import Box

DATA = os.environ.get("WINGMARK_DATA")
real = pytest.mark.skipif(DATA is None, reason="WINGMARK_DATA is not set: the folder of real samples/coco_json/")

POINTS = [[10, 20], [30, 20], [20.5, 30], [12, 40], [28, -40]]


def annotation(image_id: int, v: str = "22222", points=POINTS, **fields) -> dict:
    keypoints = [number for (x, y), flag in zip(points, v, strict=True) for number in (x, y, int(flag))]
    return {"image_id": image_id, "id": 5, "keypoints": keypoints, "bbox": [2, 4, 30, 50]} | fields


def write(root: Path, *annotations: dict, file: str = "annotations/test.json") -> None:
    names = ["b c.JPG", "sub/a.png"]
    images = [{"id": 10 + i, "file_name": name, "width": 9, "height": 9} for i, name in enumerate(names)]
    for path in [root / file, *(root / "images" / name for name in names)]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()  # images hold nothing: listing must not decode them
    content = {"info": {}, "categories": [], "images": images, "annotations": annotations}
    (root / file).write_text(json.dumps(content))


def faces_of(root: Path, **options):
    return COCOFaces(str(root), schema="five", test="annotations/test.json", **options).faces("test")


def test_faces_are_read_in_the_order_of_the_file(tmp_path):
    write(tmp_path, annotation(11), annotation(10, points=POINTS[::-1]), annotation(11, points=POINTS[::-1]))
    faces = faces_of(tmp_path)
    assert [face.id for face in faces] == ["images/sub/a.png#0", "images/b c.JPG#0", "images/sub/a.png#1"]
    assert [face.group for face in faces] == ["images/sub/a.png", "images/b c.JPG", "images/sub/a.png"]
    assert [face.image for face in faces] == [tmp_path / face.group for face in faces]
    np.testing.assert_array_equal(faces[0].landmarks_image, POINTS)
    np.testing.assert_array_equal(faces[2].landmarks_image, POINTS[::-1])
    assert faces[0].landmarks_image.dtype == np.float64
    assert all(face.valid.all() and not face.occluded.any() for face in faces)
    assert [face.boxes for face in faces] == [{"dataset": Box(17, 29, 30, 50)}] * 3


def test_each_split_has_its_file(tmp_path):
    write(tmp_path, annotation(10), file="a.json")
    write(tmp_path, annotation(10), annotation(11), file="b.json")
    source = COCOFaces(str(tmp_path), schema="five", train="a.json", val="b.json")
    assert [len(source.faces(split)) for split in ("train", "val", "test")] == [1, 2, 0]


def test_v_tells_unknown_from_occluded(tmp_path):
    write(tmp_path, annotation(10, "21012"), annotation(11, "11111"))
    first, second = faces_of(tmp_path)
    assert first.valid.tolist() == [True, True, False, True, True]
    assert first.occluded.tolist() == [False, True, False, True, False]
    assert np.isnan(first.landmarks_image[2]).all()
    np.testing.assert_array_equal(first.landmarks_image[3:], POINTS[3:])
    assert second.valid.all() and second.occluded.all()


def test_v_of_1_means_nothing_where_no_landmark_has_2(tmp_path):
    write(tmp_path, annotation(10, "11011"), annotation(11, "11111"))
    first, second = faces_of(tmp_path)
    assert first.valid.tolist() == [True, True, False, True, True] and second.valid.all()
    assert not first.occluded.any() and not second.occluded.any()


def test_annotations_without_landmark_are_left_out(tmp_path):
    write(tmp_path, annotation(10, "00000", bbox=[0, 0, 0, 0]), annotation(10))
    assert [face.id for face in faces_of(tmp_path)] == ["images/b c.JPG#0"]


def test_hrnet_box(tmp_path):
    write(tmp_path, annotation(10, center=[19.5, 0], scale=0.4))
    assert faces_of(tmp_path)[0].boxes == {"dataset": Box(17, 29, 30, 50), "hrnet": Box(19.5, 0, 80, 80)}


def test_box_size_is_the_face_rectangle(tmp_path):
    write(tmp_path, annotation(10, center=[19.5, 0], scale=0.4, box_size=82))
    assert faces_of(tmp_path)[0].boxes == {"dataset": Box(19.5, 0, 82, 82), "hrnet": Box(19.5, 0, 80, 80)}


def test_first_pixel_moves_landmarks_and_boxes(tmp_path):
    write(tmp_path, annotation(10, center=[19.5, 0], scale=0.4))
    face = faces_of(tmp_path, first_pixel=1)[0]
    np.testing.assert_array_equal(face.landmarks_image, np.array(POINTS) - 1)
    assert face.boxes == {"dataset": Box(16, 28, 30, 50), "hrnet": Box(18.5, -1, 80, 80)}


BAD = {
    "a landmark short": (annotation(10) | {"keypoints": [1, 2, 2] * 4}, "keypoints must hold 15 finite numbers"),
    "no keypoints": ({"image_id": 10}, "there is no keypoints"),
    "text": (annotation(10) | {"keypoints": ["1", 2, 2] * 5}, "got 10 and 5 other values"),
    "v of 3": (annotation(10, "22322"), "v, every third number of keypoints, must be 0, 1 or 2"),
    "box without area": (annotation(10, bbox=[1, 2, 3, 0]), "bbox [1.0, 2.0, 3.0, 0.0] (x_min y_min width height)"),
    "scale of 0": (annotation(10, center=[1, 2], scale=0), "a box of 0 pixels has no area"),
    "no scale": (annotation(10, center=[1, 2]), "there is no scale"),
    "unknown image": (annotation(99), "image_id 99 is none of the images"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_annotation_is_named(tmp_path, case):
    broken, message = BAD[case]
    write(tmp_path, annotation(10), annotation(11), broken)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        faces_of(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'annotations/test.json'}, annotations[2]: ")


def test_missing_image_and_other_folder(tmp_path):
    write(tmp_path, annotation(10))
    with pytest.raises(ValueError, match=r"annotations\[0\]: there is no image .*photos/b c.JPG"):
        faces_of(tmp_path, images="photos")
    (tmp_path / "images").rename(tmp_path / "photos")
    assert faces_of(tmp_path, images="photos")[0].id == "photos/b c.JPG#0"


def test_file_without_faces_and_missing_file(tmp_path):
    write(tmp_path)
    with pytest.raises(ValueError, match=r"test\.json: no face with an annotated landmark"):
        faces_of(tmp_path)
    with pytest.raises(
        FileNotFoundError,
        match=r"COCOFaces: there is no file .*gone/annotations/test\.json; set .*init_args\.test to a file in it, or",
    ):
        faces_of(tmp_path / "gone")


REAL = {
    "300w": ("ibug68", ["indoor_029.png#0", "indoor_020.png#0"], [267, 397.882], [0, 0]),
    "wflw": (
        "wflw98",
        [
            "36_Football_americanfootball_ball_36_415.jpg#0",
            *(f"7_Cheering_Cheering_7_16.jpg#{number}" for number in range(3)),
        ],
        [440.696106, 132.732559],
        [0, 0, 0, 0],
    ),
    "cofw": ("cofw29", ["001766.jpg#0", "001805.jpg#0"], [46.562534549474826, 120.07575548185008], [6, 9]),
    "aflw": ("aflw19", ["image22568.jpg#0", "image04476.jpg#0"], [337.28341384863, 205.78904991948002], [0, 0]),
    "lapa": ("lapa106", ["10773046825_0.jpg#0", "13609937564_5.jpg#0"], [406, 644], [0, 0]),
}


@real
@pytest.mark.parametrize("name", REAL)
def test_real_samples(name):
    schema, ids, first, occluded = REAL[name]
    root, file = f"{DATA}/samples/coco_json/{name}", f"annotations/test_{name}.json"
    faces = COCOFaces(root, schema=schema, test=file, first_pixel=int(name == "300w")).faces("test")
    assert [face.id.removeprefix("images/") for face in faces] == ids
    np.testing.assert_array_equal(faces[0].landmarks_image[0], first)
    assert [face.occluded.sum() for face in faces] == occluded and all(face.valid.all() for face in faces)
    assert [sorted(face.boxes) for face in faces] == [
        ["dataset"] if name in ("cofw", "lapa") else ["dataset", "hrnet"] for _ in faces
    ]
