"""Annotating videos: faces are tracked, and drawn on a new video."""

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count, takewhile
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from wingmark.annotation.images import in_order
from wingmark.annotation.inputs import VideoInput
from wingmark.annotation.results import Results, draw_faces, write_pts
from wingmark.annotation.tracking import Tracker
from wingmark.files import whole_file
from wingmark.infer import Faces, Landmarker
from wingmark.progress import progress
from wingmark.types import Box

GAP = 50  # frames; where so many in a row cannot be decoded the video has ended
AHEAD = 4  # frames that are decoded before they are asked for, and that wait to be written
FPS_OF_WEBCAM = 30.0  # where it does not tell


class Video:
    """The frames of a video file or webcam.

    fps: frames a second.
    frames: how many it says to have, 0 where it does not say.
    faults: after reading, what could not be decoded.

    Raises ValueError where the file is no video.
    """

    def __init__(self, video: VideoInput) -> None:
        self.live = isinstance(video.source, int)
        self.name = f"webcam {video.source}" if self.live else str(video.source)
        self.stem = video.stem
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what cannot be read is told below
        self._capture = cv2.VideoCapture(video.source if self.live else str(video.source))
        fps, frames = (self._capture.get(key) for key in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT))
        self.fps = fps if math.isfinite(fps) and fps > 0 else FPS_OF_WEBCAM
        self.frames = 0 if self.live else max(0, int(frames))
        self.faults: list[str] = []
        if not self._capture.isOpened():
            fault = "cannot be opened; is it connected?" if self.live else "is neither an image nor a video of OpenCV"
            raise ValueError(f"{self.name} {fault}")

    def frame_name(self, number: int) -> str:
        """What a frame, counted from 1, is called in results."""
        return f"{self.stem}/{number:06d}"

    def has(self, name: str) -> bool:
        """Whether a frame may be called so."""
        number = name.removeprefix(f"{self.stem}/")
        known = number.isdecimal() and name == self.frame_name(int(number))
        return known and 1 <= int(number) <= (self.frames or math.inf)

    def __iter__(self) -> Iterator[np.ndarray | None]:
        """Frames (H, W, 3) uint8 RGB in their order, None for one that cannot be decoded."""
        missing, number = [], 0
        try:
            for number in count():
                frame = self._read()
                if frame is not None:
                    yield from [None] * len(missing)
                    self.faults += [f"{self.name}: frame {m + 1} cannot be decoded" for m in missing]
                    missing = []
                    yield frame
                elif number >= self.frames or len(missing) == GAP:
                    break
                else:
                    missing.append(number)
        finally:
            self._capture.release()
        if missing:
            self.faults.append(f"{self.name} ends early: {missing[0]} of {self.frames} frames can be decoded")

    def _read(self) -> np.ndarray | None:
        read, frame = self._capture.read()
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) if read else None


def annotate_video(tracker: Tracker, video: Video, results: Results, boxes: dict[str, list[Box]] | None = None) -> None:
    """Follow the faces of a video and write them down: rows `stem/000001`, ..., and the overlay `stem.mp4`.

    boxes: those of some frames, by the names of their rows. A webcam is recorded until Ctrl-C.
    """
    frames, end = iter(video), object()
    # Whole files are made of it last, after all that waits was written.
    with ExitStack() as files, ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        overlay = (
            Overlay(results.folder / f"{video.stem}.mp4", video.fps, files) if "overlay" in results.formats else None
        )

        def write(found: Found) -> None:
            if overlay is not None:
                overlay.write(found, tracker.landmarker)
            if found.faces is not None:
                _note(found, results)

        read = in_order(reader, lambda _: next(frames, end), count(), AHEAD)
        followed = _follow(tracker, takewhile(lambda frame: frame is not end, read), video, boxes or {})
        try:
            deque(progress(in_order(writer, write, followed, AHEAD), "annotating", video.frames or None), maxlen=0)
        except KeyboardInterrupt:  # what was found is kept; a webcam has no other end
            results.interrupted = not video.live
    results.left_out += video.faults
    results.summary |= {"fps": video.fps, **tracker.jitter()}


class Found(NamedTuple):
    """A frame and its faces; without both where it cannot be decoded."""

    name: str
    frame: np.ndarray | None
    faces: Faces | None
    tracks: list[int]


def _follow(
    tracker: Tracker, frames: Iterator[np.ndarray | None], video: Video, boxes: dict[str, list[Box]]
) -> Iterator[Found]:
    passed = 0  # frames since the last one that was decoded
    for number, frame in enumerate(frames, 1):
        name, passed = video.frame_name(number), passed + 1
        if frame is None:
            yield Found(name, None, None, [])
        else:
            seconds, passed = passed / video.fps, 0
            try:
                faces, tracks = tracker(frame, seconds, boxes.get(name))
            except ValueError as error:
                if name not in boxes:
                    raise
                video.faults.append(f"{name}: {error}")  # of a box that was given
                faces, tracks = tracker(frame, seconds)
            yield Found(name, frame, faces, tracks)


def _note(found: Found, results: Results) -> None:
    results.add(found.name, found.faces, found.tracks)
    if not len(found.faces):
        results.without_face.append(found.name)
    if "pts" in results.formats:
        write_pts(results.folder, found.name, found.faces)


class Overlay:
    """A video with the faces drawn on it, as long as the one that was read.

    MPEG-4 in an .mp4: the one codec for it that OpenCV brings along everywhere and that is fast.
    """

    def __init__(self, path: Path, fps: float, files: ExitStack) -> None:
        self._path, self._fps, self._files = path, fps, files
        self._video = cv2.VideoWriter()
        self._last: np.ndarray | None = None

    def write(self, found: Found, landmarker: Landmarker) -> None:
        """Draw a frame and add it; one that could not be decoded shows the last one."""
        if found.frame is not None:
            draw_faces(found.frame, found.faces, landmarker.schema, landmarker.crop_size)
            self._last = cv2.cvtColor(found.frame, cv2.COLOR_RGB2BGR)
        if self._last is None:
            return
        if not self._video.isOpened():
            self._open(self._last.shape[1::-1])
        self._video.write(self._last)

    def _open(self, size: tuple[int, int]) -> None:
        temporary = self._files.enter_context(whole_file(self._path))
        self._files.callback(self._video.release)
        if not self._video.open(str(temporary), cv2.VideoWriter.fourcc(*"mp4v"), self._fps, size):
            raise ValueError(f"OpenCV cannot write {self._path}, {size[0]}x{size[1]} pixels; choose --format csv json")
