"""A copy with some of the splits is read as far as it goes: the others are empty."""

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wingmark.data.sources import AFLWSqlite, CelebA, COCOWholeBody, JDLandmark, LaPa


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)


def points(path: Path, count: int = 106) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{count}\n" + "".join(f"{i} {i + 1}\n" for i in range(count)))


def test_lapa_without_test_faces(tmp_path):
    picture(tmp_path / "train/images/1_0.JPG")
    points(tmp_path / "train/landmarks/1_0.TXT")
    points(tmp_path / "train/landmarks/._1_0.txt")  # as macOS leaves them
    assert [len(LaPa(str(tmp_path)).faces(split)) for split in ("train", "val", "test")] == [1, 0, 0]


@pytest.mark.parametrize(("folder", "counts"), [("Training_data/AFW", [1, 0, 0]), ("Test_data1", [0, 0, 1])])
def test_jd_landmark_with_one_split(tmp_path, folder, counts):
    picture(tmp_path / folder / "picture/1.jpg")
    points(tmp_path / folder / "landmark/1.jpg.txt")
    assert [len(JDLandmark(str(tmp_path)).faces(split)) for split in ("train", "val", "test")] == counts


def test_coco_wholebody_with_validation_images_alone(tmp_path):
    picture(tmp_path / "val2017/1.jpg")
    person = {"image_id": 1, "face_valid": True, "face_box": [0, 0, 8, 8], "face_kpts": [1.0, 2.0, 1.0] * 68}
    content = {"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": [person]}
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/coco_wholebody_val_v1.0.json").write_text(json.dumps(content))
    assert [len(COCOWholeBody(str(tmp_path)).faces(split)) for split in ("train", "val", "test")] == [0, 0, 1]


@pytest.mark.parametrize(
    ("change", "says"), [({"id": None}, "needs an id"), ({"id": 1, "file_name": 3}, "needs an id")]
)
def test_coco_images_need_names_of_their_own(tmp_path, change, says):
    (tmp_path / "annotations").mkdir()
    content = {"images": [{"id": 1, "file_name": "1.jpg"} | change], "annotations": []}
    (tmp_path / "annotations/coco_wholebody_val_v1.0.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="needs an id and a file_name"):
        COCOWholeBody(str(tmp_path)).faces("test")


def test_celeba_without_its_heading_is_refused(tmp_path):
    picture(tmp_path / "img_align_celeba/000001.jpg")
    (tmp_path / "list_landmarks_align_celeba.txt").write_text("000001.jpg " + "1 " * 10 + "\n")
    (tmp_path / "list_eval_partition.txt").write_text("000001.jpg 0\n")
    with pytest.raises(ValueError, match=r"celeba.txt, line 1: an image where 2 lines of heading belong"):
        CelebA(str(tmp_path)).faces("train")


def test_a_list_without_a_last_line_end_is_told(tmp_path, caplog):
    picture(tmp_path / "img_align_celeba/000001.jpg")
    (tmp_path / "list_landmarks_align_celeba.txt").write_text("1\nnames\n000001.jpg " + "1 " * 9 + "1")
    (tmp_path / "list_eval_partition.txt").write_text("000001.jpg 0\n")
    assert len(CelebA(str(tmp_path)).faces("train")) == 1
    assert any("celeba.txt does not end with a line end: if the file was cut off" in line for line in caplog.messages)


def test_a_face_twice_in_aflw_is_refused(tmp_path):
    picture(tmp_path / "flickr/0/a.jpg")
    with sqlite3.connect(tmp_path / "aflw.sqlite") as database:
        database.execute("CREATE TABLE Faces (face_id, file_id)")
        database.execute("CREATE TABLE FaceImages (file_id, filepath)")
        database.execute("CREATE TABLE FaceRect (face_id, x, y, w, h)")
        database.execute("CREATE TABLE FeatureCoords (face_id, feature_id, x, y)")
        database.execute("INSERT INTO Faces VALUES (1, 'f')")
        database.execute("INSERT INTO FaceImages VALUES ('f', '0/a.jpg')")
        database.execute("INSERT INTO FaceRect VALUES (1, 0, 0, 8, 8)")
        database.execute("INSERT INTO FeatureCoords VALUES (1, 8, 3, 4)")
    (face,) = AFLWSqlite(str(tmp_path)).faces("train")
    np.testing.assert_array_equal(face.landmarks_image[7], [3, 4])
    with sqlite3.connect(tmp_path / "aflw.sqlite") as database:
        database.execute("INSERT INTO FaceRect VALUES (1, 1, 1, 8, 8)")
    with pytest.raises(ValueError, match="a face_id has several rows of FaceImages or FaceRect"):
        AFLWSqlite(str(tmp_path)).faces("train")
