"""`wingmark annotate` with a tiny run: on a folder of odd images, on boxes and detectors, on a video, on bad input."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from wingmark.cli import main
from wingmark.data.images import read_image
from wingmark.data.sources import CSVFaces
from wingmark.data.sources.pts import read_pts
from wingmark.infer import Landmarker

TINY = Path(__file__).parents[1] / "tiny.yaml"
DETECTOR = """
import numpy as np
from wingmark.types import Box

class Middle:
    def __init__(self, share: float, least: int = 0) -> None:
        self.share, self.least = share, least

    def __call__(self, image: np.ndarray) -> list[Box]:
        height, width = image.shape[:2]
        if width < self.least:
            return []
        return [Box((width - 1) / 2, (height - 1) / 2, self.share * width, self.share * height)]

class Other:
    pass
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> str:
    runs = tmp_path_factory.mktemp("runs")
    main(["fit", "--config", str(TINY), "--runs", str(runs), "--name", "a", "--trainer.max_epochs", "5"])
    return str(runs / "a")


def picture(seed: int, width: int = 90, height: int = 70) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    """The current folder has `photos`, with names and files as they occur."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "middle.py").write_text(DETECTOR)
    monkeypatch.syspath_prepend(tmp_path)
    folder = Path("photos")
    (folder / "more ones").mkdir(parents=True)
    rotated = Image.Exif()
    rotated[0x0112] = 6  # stored lying on its side
    Image.fromarray(picture(0)).save(folder / "a b.JPG", quality=95)
    Image.fromarray(picture(1)).save(folder / "same.png")
    Image.fromarray(picture(2)).save(folder / "same.jpg", quality=95)
    Image.fromarray(picture(3)[..., 0]).save(folder / "more ones" / "gray é.png")
    Image.fromarray(picture(4)[..., 0].astype(np.uint16) * 257).save(folder / "more ones" / "gray16.tif")
    Image.fromarray(picture(5)).save(folder / "more ones" / "turned.jpeg", exif=rotated, quality=95)
    return folder


STEMS = {
    "a b.JPG": "a b",
    "more ones/gray é.png": "more ones/gray é",
    "more ones/gray16.tif": "more ones/gray16",
    "more ones/turned.jpeg": "more ones/turned",
    "same.jpg": "same.jpg",
    "same.png": "same.png",
}


def content_of(folder: str = "annotated") -> dict:
    return json.loads((Path(folder) / "landmarks.json").read_text(encoding="utf-8"))


def test_a_folder(photos, run, capsys):
    before = {path: path.read_bytes() for path in photos.rglob("*.*")}
    main(["annotate", "photos", "--model", run, "--format", "overlay", "csv", "json", "pts", "--batch-size", "4"])
    out = capsys.readouterr().out
    assert "6 faces on 6 images in " in out and " a second, in annotated" in out
    assert {path: path.read_bytes() for path in photos.rglob("*.*")} == before
    faces = CSVFaces("photos", "../annotated/landmarks.csv").faces("train")
    assert [face.id for face in faces] == [f"{name}#0" for name in STEMS]
    content = content_of()
    assert (content["model"], content["schema"], content["left_out"]) == (run, "ibug68", [])
    landmarker = Landmarker.load(run)
    for face, entry, (name, stem) in zip(faces, content["images"], STEMS.items(), strict=True):
        (expected,) = landmarker.find([landmarker.cut(photos / name, keep=True)])
        assert entry["image"] == name
        written = entry["faces"][0]["landmarks"], face.landmarks_image, read_pts(Path(f"annotated/{stem}.pts"), 68) - 1
        for landmarks in written:
            np.testing.assert_allclose(landmarks, expected.landmarks_image[0], rtol=0, atol=1e-3)
        # Landmarks are pixels as they are stored, also where EXIF tells to turn them; pictures are turned.
        pixels, overlay = read_image(photos / name), read_image(Path(f"annotated/{stem}.jpg"))
        if "turned" in name:
            pixels = np.rot90(pixels, -1)
        assert overlay.shape == pixels.shape
        assert 0 < np.median(np.abs(overlay.astype(int) - pixels)) < 25
    assert {path.suffix for path in Path("annotated").rglob("*.*")} == {".jpg", ".pts", ".csv", ".json"}


def test_by_default_there_are_no_pts_files(photos, run):
    results = main(["annotate", "photos/*.png", "--model", run, "--output", "out/x"])
    assert results.faces == 1
    names = {path.name for path in Path("out/x").iterdir()}
    assert names == {"same.jpg", "landmarks.csv", "boxes.csv", "landmarks.json"}


def test_given_boxes_and_those_that_were_written(photos, run, capsys):
    rows = ["id,x_min,y_min,x_max,y_max", "a b.JPG,10,5,60,60", "more ones/turned.jpeg#0,20,10,50,60"]
    rows.append("more ones/turned.jpeg#1,40,10,80,60")
    Path("b.csv").write_text("\n".join(rows) + "\n")
    main(["annotate", "photos", "--model", run, "--boxes", "b.csv", "--format", "csv", "json", "pts"])
    out = capsys.readouterr().out
    assert "4 without a face:\n  more ones/gray é.png\n" in out and "3 faces" in out
    landmarker, content = Landmarker.load(run), content_of()
    for name, boxes in (
        ("a b.JPG", [(10, 5, 60, 60)]),
        ("more ones/turned.jpeg", [(20, 10, 50, 60), (40, 10, 80, 60)]),
    ):
        (entry,) = (entry for entry in content["images"] if entry["image"] == name)
        expected = landmarker(photos / name, np.array(boxes, float)).landmarks_image
        np.testing.assert_allclose([face["landmarks"] for face in entry["faces"]], expected, rtol=0, atol=1e-3)
        np.testing.assert_allclose([face["box"] for face in entry["faces"]], boxes, rtol=0, atol=1e-3)
    assert sorted(path.name for path in Path("annotated/more ones").iterdir()) == ["turned#0.pts", "turned#1.pts"]
    main(["annotate", "photos", "--model", run, "--boxes", "annotated/boxes.csv", "--output", "b", "--format", "json"])
    assert content_of("b")["images"] == content["images"]


def test_a_detector_by_class_or_file(photos, run, capsys):
    model = ["--model", run, "--format", "json"]
    main(["annotate", "photos/same.jpg", *model, "--detector", "middle.Middle", "--detector.share", "0.5"])
    (entry,) = content_of()["images"]
    np.testing.assert_allclose(entry["faces"][0]["box"], [44.5 - 22.5, 34.5 - 17.5, 44.5 + 22.5, 34.5 + 17.5])
    Path("d.yaml").write_text("class_path: middle.Middle\ninit_args: {share: 0.5, least: 100}\n")
    with pytest.raises(SystemExit, match="wingmark: no face was found"):
        main(["annotate", "photos/same.jpg", *model, "--detector", "d.yaml", "--output", "none"])
    assert "1 without a face:\n  same.jpg\n" in capsys.readouterr().out
    assert content_of("none")["without_face"] == ["same.jpg"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["--detector", "middle.Middle"], "--detector middle.*: .*share"),
        (["--detector", "middle.Middle", "--detector.share", "a"], "--detector middle.*: .*float"),
        (
            ["--detector", "middle.Middle", "--detector.share", "1", "--detectr", "1"],
            "--detector middle.*: .*--detectr",
        ),
        (["--detector", "middle.Other"], "--detector middle.*: .*does not implement protocol Detector"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate; a pattern goes in quotes"),
        (["--smooth"], "--smooth is for videos"),
        (["--batch-size", "0"], "--batch-size must be 1 or more"),
        (["--output", "photos"], "photos is there already: choose another --output"),
        (["--output", "middle.py"], "middle.py is there already"),
        (["--output", "photos/a"], "--output photos/a lies in photos, where its pictures would be annotated next time"),
        (["--boxes", "none.csv"], "there is no file none.csv; give --boxes"),
        (["--model", "none"], "none"),
    ],
)
def test_bad_settings(photos, run, settings, sentence):
    with pytest.raises(SystemExit, match=sentence):
        main(["annotate", "photos", "--model", run, *settings])
    assert not Path("annotated").exists()


def test_what_cannot_be_read_is_told_and_the_rest_is_done(photos, run, capsys):
    for number in range(12):
        (photos / f"bad {number:02d}.jpg").write_bytes((photos / "a b.JPG").read_bytes()[: 30 + number])
    with pytest.raises(SystemExit) as end:
        main(["annotate", "photos", "--model", run])
    assert end.value.code == 1
    out = capsys.readouterr().out
    assert "6 faces" in out and "12 could not be read:\n  photos/bad 00.jpg: cannot be decoded as an image" in out
    assert "bad 09.jpg" in out and "bad 10.jpg" not in out and "  and 2 more, see landmarks.json" in out
    content = content_of()
    assert len(content["images"]) == 6 and len(content["left_out"]) == 12
    assert content["left_out"][11].startswith("photos/bad 11.jpg: cannot be decoded")


@pytest.mark.parametrize("what", ["photos", "clip.avi"])
def test_what_was_found_before_ctrl_c_is_kept(photos, run, what, monkeypatch, capsys):
    writer = cv2.VideoWriter("clip.avi", cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (90, 70))
    for number in range(6):
        writer.write(picture(number)[..., ::-1].copy())
    writer.release()
    find, calls = Landmarker.find, []

    def interrupted(self, cuts):
        calls.append(cuts)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return find(self, cuts)

    monkeypatch.setattr(Landmarker, "find", interrupted)
    with pytest.raises(SystemExit) as end:
        main(["annotate", what, "--model", run, "--batch-size", "1"])
    assert end.value.code == 130 and "interrupted: the rest was not looked at" in capsys.readouterr().err
    content = content_of()
    assert content["interrupted"] and 0 < len(content["images"]) <= 3
    assert len(Path("annotated/landmarks.csv").read_text().splitlines()) == 1 + len(content["images"])
    assert not list(Path("annotated").glob(".*"))


def test_boxes_outside_a_frame_are_told_and_the_rest_is_done(photos, run, capsys):
    writer = cv2.VideoWriter("clip.avi", cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (90, 70))
    for number in range(4):
        writer.write(picture(number)[..., ::-1].copy())
    writer.release()
    rows = ["id,x_min,y_min,x_max,y_max", "clip/000001,10,5,60,60", "clip/000003,900,900,960,960"]
    Path("b.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(SystemExit) as end:
        main(["annotate", "clip.avi", "--model", run, "--boxes", "b.csv"])
    assert end.value.code == 1
    assert "1 could not be read:\n  clip/000003: Box(x=930.0" in capsys.readouterr().out
    assert [len(entry["faces"]) for entry in content_of()["images"]] == [1, 1, 1, 1]


def test_an_empty_folder(photos, run):
    Path("empty").mkdir()
    with pytest.raises(SystemExit, match="wingmark: the folder empty holds no image, nor do its subfolders"):
        main(["annotate", "empty", "--model", run])


def test_a_video_and_one_that_ends_early(photos, run, capsys):
    writer = cv2.VideoWriter("clip.avi", cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (90, 70))
    for number in range(10):
        writer.write(np.roll(picture(0), number, 1)[..., ::-1].copy())
    writer.release()
    video = ["annotate", "clip.avi", "--model", run]
    main([*video, "--smooth", "--min-cutoff", "0.5", "--detector", "middle.Middle", "--detector.share", "0.5"])
    out, content = capsys.readouterr().out, content_of()
    assert f"jitter of the landmarks as found: {content['jitter']:.2f} % of the face size" in out
    assert f"after smoothing: {content['jitter_smoothed']:.2f} % of the face size" in out
    assert 0 < content["jitter_smoothed"] < content["jitter"]
    assert cv2.VideoCapture("annotated/clip.mp4").get(cv2.CAP_PROP_FRAME_COUNT) == 10
    Path("clip.avi").write_bytes(Path("clip.avi").read_bytes()[:-4000])
    with pytest.raises(SystemExit):
        main([*video, "--output", "cut"])
    assert "1 could not be read:\n  clip.avi ends early: " in capsys.readouterr().out
