"""Where the faces are in a picture: boxes for `Landmarker`."""

from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import cv2
import numpy as np

from wingmark.types import Box


class Detector(Protocol):
    """Any callable from an image (H, W, 3) uint8 RGB to the boxes of its faces, largest first.

    `wingmark annotate` calls it from several threads at once.
    """

    def __call__(self, image: np.ndarray) -> list[Box]: ...


def whole_image(image: np.ndarray) -> list[Box]:
    """For images that were cut around a face: all of one is its box."""
    height, width = image.shape[:2]
    return [Box((width - 1) / 2, (height - 1) / 2, width, height)]


class YuNet:
    """OpenCV's detector YuNet (Wu et al., YuNet: A Tiny Millisecond-level Face Detector, 2023).

    model: its file, `face_detection_yunet_2023mar.onnx` of OpenCV's model zoo.
    score: what is less certain is no face.
    side: images are shrunk to this longer side first; faces below a fifteenth of it are missed.
    """

    def __init__(self, model: str, score: float = 0.6, side: int = 640) -> None:
        self.model, self.score, self.side = model, score, side
        if not Path(model).is_file():
            raise FileNotFoundError(f"YuNet: there is no file {model}; give the .onnx of YuNet from OpenCV's model zoo")
        self(np.zeros((side, side, 3), np.uint8))  # a file that is none fails here

    def __call__(self, image: np.ndarray) -> list[Box]:
        height, width = image.shape[:2]
        scale = min(1.0, self.side / max(height, width))
        shrunk = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        try:
            # It keeps the last image: threads cannot share one.
            detector = cv2.FaceDetectorYN.create(self.model, "", shrunk.shape[1::-1], self.score)
            _, found = detector.detect(np.ascontiguousarray(shrunk[..., ::-1]))
        except cv2.error as error:
            fault = (error.err or "no network").strip().splitlines()[0]
            raise ValueError(f"YuNet: OpenCV cannot use {self.model} ({fault}); download it again") from error
        if found is None:
            return []
        # Its corners lie on the outer edges of pixels; ours count from pixel centers.
        sides = np.array([width / shrunk.shape[1], height / shrunk.shape[0]])
        corners = np.hstack([found[:, :2] * sides, (found[:, :2] + found[:, 2:4]) * sides]) - 0.5
        return _largest_first([Box.from_corners(*row) for row in corners.tolist()])


class Dlib:
    """dlib's detector of frontal faces, which comes with the package: `pip install -e '.[dlib]'`.

    upsample: how often the image is doubled first; without, faces below 80 pixels are missed.
    """

    def __init__(self, upsample: int = 0) -> None:
        try:
            from dlib import get_frontal_face_detector
        except ImportError as error:
            raise ImportError("the detector Dlib needs dlib: pip install -e '.[dlib]'") from error
        self.upsample, self._detect = upsample, get_frontal_face_detector()
        self._lock = Lock()  # two threads in it end the program

    def __call__(self, image: np.ndarray) -> list[Box]:
        with self._lock:
            found = self._detect(np.ascontiguousarray(image), self.upsample)
        return _largest_first([Box.from_corners(*_edges(rectangle)) for rectangle in found])


def _edges(rectangle: Any) -> tuple[float, float, float, float]:
    """From the first and last pixels of a rectangle of dlib to its outer edges."""
    return rectangle.left() - 0.5, rectangle.top() - 0.5, rectangle.right() + 0.5, rectangle.bottom() + 0.5


def _largest_first(boxes: list[Box]) -> list[Box]:
    return sorted(boxes, key=lambda box: -box.width * box.height)


def as_box(box: Box | np.ndarray) -> Box:
    """A box, also of a row x_min, y_min, x_max, y_max. ValueError for something else."""
    if isinstance(box, Box):
        return box
    try:
        corners = np.asarray(box, float)
    except (TypeError, ValueError):
        corners = np.empty(0)
    if corners.shape != (4,):
        raise ValueError(
            f"boxes are a list of `Box`, or of rows x_min, y_min, x_max, y_max; one of them is {box!s:.80}"
        )
    return Box.from_corners(*corners.tolist())
