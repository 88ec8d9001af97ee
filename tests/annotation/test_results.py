"""Every file that is written, read back by the readers of data sets."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from wingmark.annotation.results import Results, corners, draw_faces, stems, write_overlay, write_pts
from wingmark.data.own_boxes import with_own_boxes
from wingmark.data.sources import CSVFaces
from wingmark.data.sources.pts import read_pts
from wingmark.geometry import apply, crop_to_image
from wingmark.infer import Faces
from wingmark.types import Box

ALL = ["overlay", "csv", "json", "pts"]


def faces_of(count: int, calibrated: bool = True, seed: int = 0) -> Faces:
    random = np.random.default_rng(seed)
    boxes = [Box(*random.uniform(40, 60, 2), *random.uniform(10, 30, 2)) for _ in range(count)]
    return Faces(
        landmarks_image=random.uniform(-20, 4000, (count, 3, 2)),
        score=random.random((count, 3)).astype(np.float32) if calibrated else None,
        expected_error=random.uniform(0, 3, (count, 3)) if calibrated else None,
        boxes=boxes,
        crop_to_image=np.array([crop_to_image(box, 64, 1.25) for box in boxes]).reshape(count, 2, 3),
    )


@pytest.fixture
def schema_file(tmp_path, dots) -> str:
    path = tmp_path / "dots.yaml"
    path.write_text(yaml.safe_dump(dots.schema.to_dict()))
    return str(path)


def write(folder: Path, dots, images: dict[str, Faces], formats: list[str] = ALL) -> Results:
    with Results(folder, formats, dots.schema, {"model": "runs/ü"}) as results:
        for name, faces in images.items():
            results.add(name, faces)
        results.left_out.append("ü.jpg: no image")
        results.without_face.append("empty.png")
        results.summary |= {"fps": 25.0}
    return results


IMAGES = {"ü b/A,1.JPG": faces_of(2, seed=1), "empty.png": faces_of(0), "c.png": faces_of(1, seed=2)}


def test_tables_are_read_as_a_data_set(tmp_path, dots, schema_file):
    for name in IMAGES:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    assert write(tmp_path / "out", dots, IMAGES).faces == 3
    source = CSVFaces(str(tmp_path / "in"), "../out/landmarks.csv", schema_file)
    faces = source.faces("train")
    assert [face.id for face in faces] == ["ü b/A,1.JPG#0", "ü b/A,1.JPG#1", "c.png#0"]
    written = [(f.boxes[i], f.landmarks_image[i], f) for f in IMAGES.values() for i in range(len(f))]
    boxed = with_own_boxes({"train": faces}, tmp_path / "out" / "boxes.csv")["train"]
    for face, again, (box, landmarks, _) in zip(faces, boxed, written, strict=True):
        np.testing.assert_allclose(face.landmarks_image, landmarks, rtol=0, atol=1e-4)
        for found in (face.boxes["file"], again.boxes["file"]):
            np.testing.assert_allclose(corners(found), corners(box), rtol=0, atol=2e-4)
    rows = (tmp_path / "out" / "boxes.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0] == "id,x_min,y_min,x_max,y_max,score,expected_error,track"
    first = IMAGES["ü b/A,1.JPG"]
    means = [float(cell) for cell in rows[2].split(",")[-3:-1]]
    np.testing.assert_allclose(means, [first.score[1].mean(), first.expected_error[1].mean()], atol=1e-4)


def test_json_holds_everything(tmp_path, dots):
    write(tmp_path, dots, IMAGES)
    content = json.loads((tmp_path / "landmarks.json").read_text(encoding="utf-8"))
    assert list(content) == ["model", "images", "without_face", "left_out", "interrupted", "fps"]
    assert (content["model"], content["left_out"], content["fps"]) == ("runs/ü", ["ü.jpg: no image"], 25.0)
    assert [image["image"] for image in content["images"]] == list(IMAGES)
    for image, faces in zip(content["images"], IMAGES.values(), strict=True):
        assert len(image["faces"]) == len(faces)
        for number, face in enumerate(image["faces"]):
            np.testing.assert_allclose(face["landmarks"], faces.landmarks_image[number], rtol=0, atol=1e-4)
            np.testing.assert_allclose(face["score"], faces.score[number], rtol=0, atol=1e-4)
            np.testing.assert_allclose(face["expected_error"], faces.expected_error[number], rtol=0, atol=1e-4)
            assert (face["roll"], "track" in face) == (0.0, False)


def test_what_a_model_does_not_tell_is_empty(tmp_path, dots):
    write(tmp_path, dots, {"a.png": faces_of(1, calibrated=False)})
    (image,) = json.loads((tmp_path / "landmarks.json").read_text())["images"]
    assert image["faces"][0]["score"] is None and image["faces"][0]["expected_error"] is None
    assert (tmp_path / "boxes.csv").read_text().splitlines()[1].endswith(",,")


def test_only_the_chosen_formats_are_written(tmp_path, dots):
    write(tmp_path / "csv", dots, IMAGES, ["csv"])
    write(tmp_path / "json", dots, IMAGES, ["json"])
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert found == {"csv/landmarks.csv", "csv/boxes.csv", "json/landmarks.json"}


def test_an_error_leaves_no_half_files(tmp_path, dots):
    write(tmp_path, dots, IMAGES)
    before = (tmp_path / "landmarks.json").read_bytes()
    with pytest.raises(OSError, match="disk full"), Results(tmp_path, ALL, dots.schema, {}) as results:
        results.add("a.png", IMAGES["c.png"])
        raise OSError("disk full")
    assert (tmp_path / "landmarks.json").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"landmarks.csv", "boxes.csv", "landmarks.json"}


@pytest.mark.parametrize("count", [1, 2])
def test_pts_count_from_1_as_300w_does(tmp_path, count):
    faces = faces_of(count)
    write_pts(tmp_path, "ü/a b", faces)
    names = ["a b.pts"] if count == 1 else ["a b#0.pts", "a b#1.pts"]
    assert sorted(path.name for path in (tmp_path / "ü").iterdir()) == names
    for name, landmarks in zip(names, faces.landmarks_image, strict=True):
        np.testing.assert_allclose(read_pts(tmp_path / "ü" / name, 3) - 1, landmarks, rtol=0, atol=1e-4)


def test_images_of_one_stem_keep_their_suffix():
    assert stems(["a.jpg", "a.png", "b/a.jpg", "c.d.JPG"]) == {
        "a.jpg": "a.jpg",
        "a.png": "a.png",
        "b/a.jpg": "b/a",
        "c.d.JPG": "c.d",
    }


def test_corners_of_a_box_with_roll():
    assert corners(Box(10, 20, 8, 4, 90.0)) == [8, 16, 12, 24]
    assert corners(Box(10, 20, 8, 4)) == [6, 18, 14, 22]
    half = (8 + 4) / 2 / 2**0.5
    np.testing.assert_allclose(
        corners(Box(10, 20, 8, 4, -45.0)), [10 - half, 20 - half, 10 + half, 20 + half], atol=1e-4
    )


def test_overlays_show_landmarks_contours_and_the_crop(tmp_path, dots):
    landmarks = np.array([(100.0, 100), (300, 100), (200, 300)])
    to_image = crop_to_image(Box(200, 200, 240, 240), 64)
    faces = Faces(landmarks[None], None, None, [Box(200, 200, 240, 240)], to_image[None])
    pixels = np.full((400, 500, 3), 128, np.uint8)
    draw_faces(pixels, faces, dots.schema, 64)
    changed = (pixels != 128).any(-1)
    on_contour = [(100, 100), (300, 100), (200, 300), (200, 100), (150, 200)]
    on_outline = [(80, 80), (320, 200), (200, 320), (80, 320)]
    for x, y in on_contour + on_outline:
        assert changed[y - 1 : y + 2, x - 1 : x + 2].any(), (x, y)
    assert not changed[150, 200] and not changed[:75].any() and not changed[:, 330:].any()
    np.testing.assert_allclose(apply(to_image, np.array([[-0.5, -0.5], [63.5, 63.5]])), [[80, 80], [320, 320]])

    write_overlay(tmp_path / "a" / "b.jpg", pixels)
    again = cv2.imread(str(tmp_path / "a" / "b.jpg"))[..., ::-1]
    assert again.shape == pixels.shape and np.abs(again.astype(int) - pixels).mean() < 3


def test_points_and_lines_grow_with_the_face(dots):
    def drawn(scale: int) -> float:
        box = Box(100 * scale, 100 * scale, 160 * scale, 160 * scale)
        landmarks = np.array([(40.0, 40), (160, 40), (100, 160)]) * scale
        faces = Faces(landmarks[None], None, None, [box], crop_to_image(box, 64)[None])
        pixels = np.full((200 * scale, 200 * scale, 3), 128, np.uint8)
        draw_faces(pixels, faces, dots.schema, 64)
        return (pixels != 128).any(-1).mean()

    assert drawn(16) == pytest.approx(drawn(8), rel=0.3)  # half of it if they did not
