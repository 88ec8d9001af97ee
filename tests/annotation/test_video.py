"""Videos of dots: whole, cut off, with gaps, and from a webcam."""

import json

import cv2
import numpy as np
import pytest

from wingmark.annotation import video as video_module
from wingmark.annotation.inputs import VideoInput
from wingmark.annotation.results import Results
from wingmark.annotation.tracking import Tracker
from wingmark.annotation.video import Video, annotate_video
from wingmark.data.sources.pts import read_pts

FRAMES = 12


def places(dots) -> list[np.ndarray]:
    return [dots.shape + [60 + 8 * t, 60 + 5 * t] for t in range(FRAMES)]


@pytest.fixture
def clip(tmp_path, dots):
    """A video of 320 x 240 at 20 frames a second whose every frame is a JPEG."""
    path = tmp_path / "my clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (320, 240))
    for landmarks in places(dots):
        writer.write(dots.draw([landmarks])[..., ::-1].copy())
    writer.release()
    return path


class FakeCapture:
    """A `cv2.VideoCapture` that gives these frames, None for one that cannot be decoded, and then ends."""

    def __init__(self, frames, fps=20.0, says=None, opened=True):
        self.frames, self.fps, self.says, self.opened = list(frames), fps, says, opened

    def get(self, key):
        says = len(self.frames) if self.says is None else self.says
        return {cv2.CAP_PROP_FPS: self.fps, cv2.CAP_PROP_FRAME_COUNT: says}[key]

    def isOpened(self):
        return self.opened

    def read(self):
        frame = self.frames.pop(0) if self.frames else None
        if isinstance(frame, BaseException):
            raise frame
        return frame is not None, None if frame is None else frame[..., ::-1]

    def release(self):
        pass


def fake(monkeypatch, frames, **options) -> None:
    capture = FakeCapture(frames, **options)
    monkeypatch.setattr(video_module.cv2, "VideoCapture", lambda source: capture)


def annotate(source, dots, output, first) -> Results:
    video = Video(VideoInput(source, "my clip"))
    tracker = Tracker(dots.landmarker(), lambda frame: [dots.box(first)], None, None)
    with Results(output, ["overlay", "csv", "json", "pts"], dots.schema, {}) as results:
        annotate_video(tracker, video, results)
    return results


def frames_of(path) -> tuple[list[np.ndarray], float]:
    capture, frames = cv2.VideoCapture(str(path)), []
    while (frame := capture.read()[1]) is not None:
        frames.append(frame[..., ::-1])
    return frames, capture.get(cv2.CAP_PROP_FPS)


def test_every_frame_is_followed_and_drawn(clip, dots, tmp_path):
    truth = places(dots)
    results = annotate(clip, dots, tmp_path / "out", truth[0])
    assert (results.faces, results.left_out, results.without_face) == (FRAMES, [], [])
    drawn, fps = frames_of(tmp_path / "out" / "my clip.mp4")
    assert (len(drawn), fps) == (FRAMES, 20.0)
    content = json.loads((tmp_path / "out" / "landmarks.json").read_text())
    assert content["fps"] == 20.0 and content["jitter"] < 0.5 and "jitter_smoothed" not in content
    for number, (landmarks, entry, frame) in enumerate(zip(truth, content["images"], drawn, strict=True), 1):
        assert entry["image"] == f"my clip/{number:06d}"
        (face,) = entry["faces"]
        assert face["track"] == 0
        np.testing.assert_allclose(face["landmarks"], landmarks, atol=0.5)
        written = read_pts(tmp_path / "out" / "my clip" / f"{number:06d}.pts", 3) - 1
        np.testing.assert_allclose(written, face["landmarks"], rtol=0, atol=1e-4)
        green = frame[..., 1].astype(int) - frame[..., 0]
        middle = np.rint((landmarks[0] + landmarks[1]) / 2).astype(int)  # on the contour, away from any dot
        assert green[middle[1] - 2 : middle[1] + 3, middle[0]].max() > 60


def test_a_file_that_was_cut_off(clip, dots, tmp_path):
    clip.write_bytes(clip.read_bytes()[: int(0.6 * clip.stat().st_size)])
    results = annotate(clip, dots, tmp_path / "out", places(dots)[0])
    (fault,) = results.left_out
    assert 3 < results.faces < FRAMES
    assert fault == f"{clip} ends early: {results.faces} of {FRAMES} frames can be decoded"
    assert len(frames_of(tmp_path / "out" / "my clip.mp4")[0]) == results.faces


def test_a_gap_keeps_time_and_numbers(monkeypatch, dots, tmp_path):
    truth = places(dots)
    frames = [dots.draw([landmarks]) for landmarks in truth]
    frames[0] = frames[5] = frames[6] = None
    fake(monkeypatch, frames)
    seconds = []
    tracked = Tracker.__call__
    monkeypatch.setattr(Tracker, "__call__", lambda self, *args: seconds.append(args[1]) or tracked(self, *args))
    results = annotate("x.avi", dots, tmp_path / "out", truth[1])
    monkeypatch.undo()
    assert results.left_out == [f"x.avi: frame {number} cannot be decoded" for number in (1, 6, 7)]
    np.testing.assert_allclose(seconds, [0.1, 0.05, 0.05, 0.05, 0.15, 0.05, 0.05, 0.05, 0.05])
    content = json.loads((tmp_path / "out" / "landmarks.json").read_text())
    numbers = [2, 3, 4, 5, 8, 9, 10, 11, 12]
    assert [entry["image"] for entry in content["images"]] == [f"my clip/{number:06d}" for number in numbers]
    drawn, _ = frames_of(tmp_path / "out" / "my clip.mp4")
    assert len(drawn) == 11  # the last one stands still in the gap; there is none before the first
    np.testing.assert_allclose(drawn[4].astype(int), drawn[3], atol=30)


def test_a_video_without_a_single_frame(monkeypatch, dots, tmp_path):
    fake(monkeypatch, [], says=70)
    results = annotate("x.avi", dots, tmp_path / "out", places(dots)[0])
    assert results.left_out == ["x.avi ends early: 0 of 70 frames can be decoded"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"landmarks.csv", "boxes.csv", "landmarks.json"}


def test_more_frames_than_the_file_says(monkeypatch, dots, tmp_path):
    fake(monkeypatch, [dots.draw([landmarks]) for landmarks in places(dots)], says=5)
    results = annotate("x.avi", dots, tmp_path / "out", places(dots)[0])
    assert (results.faces, results.left_out) == (FRAMES, [])


def test_boxes_of_frames(clip, dots, tmp_path):
    truth = places(dots)
    boxes = {"my clip/000003": [dots.box(truth[2])]}
    video, tracker = Video(VideoInput(clip, "my clip")), Tracker(dots.landmarker(), lambda frame: [], None, None)
    with Results(tmp_path / "out", ["json"], dots.schema, {}) as results:
        annotate_video(tracker, video, results, boxes)
    assert results.faces == FRAMES - 2
    assert results.without_face == ["my clip/000001", "my clip/000002"]


def test_a_webcam_ends_with_ctrl_c(monkeypatch, dots, tmp_path):
    truth = places(dots)
    fake(monkeypatch, [dots.draw([landmarks]) for landmarks in truth], fps=0.0, says=-1)
    tracked = Tracker.__call__

    def interrupted(self, *args):
        if len(seen) == 7:
            raise KeyboardInterrupt
        seen.append(args)
        return tracked(self, *args)

    seen = []
    monkeypatch.setattr(Tracker, "__call__", interrupted)
    results = annotate(0, dots, tmp_path / "out", truth[0])
    monkeypatch.undo()
    drawn, fps = frames_of(tmp_path / "out" / "my clip.mp4")
    assert (fps, len(drawn), results.faces, results.left_out) == (30.0, 7, 7, [])


def test_names_of_frames(monkeypatch):
    fake(monkeypatch, [None] * 12)
    video = Video(VideoInput("x.avi", "my clip"))
    names = [
        "my clip/000001",
        "my clip/000012",
        "my clip/000000",
        "my clip/000013",
        "my clip/1",
        "clip/000001",
        "a",
        "",
    ]
    assert [video.has(name) for name in names] == [True, True, *6 * [False]]
    fake(monkeypatch, [], says=0)  # it does not say how many it has
    assert Video(VideoInput("x.avi", "my clip")).has("my clip/1000000")


def test_what_is_no_video(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("no video")
    with pytest.raises(ValueError, match="notes.txt is neither an image nor a video of OpenCV"):
        Video(VideoInput(path, "notes"))


def test_a_webcam_that_is_not_there(monkeypatch):
    fake(monkeypatch, [], opened=False)
    with pytest.raises(ValueError, match="webcam 3 cannot be opened; is it connected?"):
        Video(VideoInput(3, "webcam"))


@pytest.mark.parametrize("size", [(321, 241), (64, 48)])
def test_any_size_is_written(monkeypatch, dots, tmp_path, size):
    landmarks = dots.shape + [30, 24]
    fake(monkeypatch, [dots.draw([landmarks], *size)] * 3)
    annotate("x.avi", dots, tmp_path / "out", landmarks)
    monkeypatch.undo()
    drawn, _ = frames_of(tmp_path / "out" / "my clip.mp4")
    assert len(drawn) == 3
    assert drawn[0].shape[1] in (size[0], size[0] - 1) and drawn[0].shape[0] in (size[1], size[1] - 1)
