"""What INPUT may be, and the boxes given for it."""

from pathlib import Path

import pytest

from wingmark.annotation.inputs import ImageInput, VideoInput, boxes_of, find_input
from wingmark.types import Box

ALL = ["A b.JPG", "a.png", "ü/é.tiff", "ü/[1].jpeg"]


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "my photos"
    hidden = [".hidden.png", ".thumbs/a.png", "ü/._é.jpg", "ü/notes.txt", "faces.csv"]
    for name in (*ALL, *hidden):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (folder / "folder.png").mkdir()
    return folder


def test_a_folder_with_its_subfolders(photos):
    assert find_input(str(photos)) == ImageInput(photos, ["A b.JPG", "a.png", "ü/[1].jpeg", "ü/é.tiff"])


def test_a_hidden_folder_that_was_asked_for(photos):
    assert find_input(str(photos / ".thumbs")).names == ["a.png"]


def test_one_image(photos):
    assert find_input(str(photos / "A b.JPG")) == ImageInput(photos, ["A b.JPG"])
    assert find_input(str(photos / "ü" / "[1].jpeg")).names == ["[1].jpeg"]  # exists, so no pattern


def test_patterns_take_images_and_name_them_from_their_folder(photos, monkeypatch):
    assert find_input(f"{photos}/*") == ImageInput(photos, ["A b.JPG", "a.png"])
    assert find_input(f"{photos}/**/*.[jt]*") == ImageInput(photos, ["ü/[1].jpeg", "ü/é.tiff"])
    monkeypatch.chdir(photos)
    assert find_input("?.png") == ImageInput(Path("."), ["a.png"])


def test_videos_and_webcams(photos):
    video = photos / "faces.csv"
    assert find_input(str(video)) == VideoInput(video, "faces")  # whether it is one is told when it is opened
    assert find_input("webcam") == VideoInput(0, "webcam")
    assert find_input("webcam:2") == VideoInput(2, "webcam")


@pytest.mark.parametrize(
    ("text", "error", "sentence"),
    [
        ("nothing.jpg", FileNotFoundError, "there is no nothing.jpg; give an image, a folder, a pattern in quotes"),
        ("*.xyz", ValueError, r"no image matches '\*.xyz'; they end in .bmp .gif"),
        (".", ValueError, "the folder . holds no image, nor do its subfolders; they end in"),
    ],
)
def test_what_is_not_there(tmp_path, monkeypatch, text, error, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(error, match=sentence):
        find_input(text)


def boxes_file(folder: Path, *rows: str) -> Path:
    path = folder / "boxes.csv"
    path.write_text("\n".join(["id,x_min,y_min,x_max,y_max", *rows]) + "\n", encoding="utf-8")
    return path


def test_boxes_by_image_and_number(tmp_path):
    path = boxes_file(tmp_path, "ü/a.png#0,1,2,11,12", "b#1.png,0,0,4,4", "ü/a.png#1,5,5,6,6.5")
    assert boxes_of(["b#1.png", "c.png", "ü/a.png"].__contains__, "c.png", path) == {
        "ü/a.png": [Box(6, 7, 10, 10), Box(5.5, 5.75, 1, 1.5)],
        "b#1.png": [Box(2, 2, 4, 4)],
    }


def test_boxes_of_no_image_are_told(tmp_path, caplog):
    path = boxes_file(tmp_path, "a.png,0,0,4,4", "A.png#0,0,0,4,4")
    assert list(boxes_of("a.png".__eq__, "a.png", path)) == ["a.png"]
    assert "boxes.csv: 1 boxes are of no image to annotate, such as 'A.png#0'" in caplog.text
    with pytest.raises(
        ValueError, match="for none of the images; its ids are such as 'a.png', those of the images such as 'b.png'"
    ):
        boxes_of("b.png".__eq__, "b.png", path)


def test_a_damaged_file_of_boxes(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file .*other.csv; give --boxes a csv file"):
        boxes_of("a.png".__eq__, "a.png", tmp_path / "other.csv")
    with pytest.raises(ValueError, match="boxes.csv, line 2: .*no area"):
        boxes_of("a.png".__eq__, "a.png", boxes_file(tmp_path, "a.png,4,0,4,4"))
