"""What annotation writes: tables and a JSON file of all faces, and one `.pts` file or picture at a time."""

import csv
import json
from collections import Counter
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, TextIO

import cv2
import numpy as np
import simplejpeg

from wingmark.data.own_boxes import COLUMNS
from wingmark.evaluation.pictures import draw_landmarks
from wingmark.files import whole_file
from wingmark.geometry import apply
from wingmark.infer import Faces
from wingmark.schema import LandmarkSchema
from wingmark.types import Box

FORMATS = ("overlay", "csv", "json", "pts")
DECIMALS = 4  # of a pixel
COLOR, OUTLINE_COLOR = (60, 240, 100), (255, 200, 40)
QUALITY = 90  # of overlays: JPEG, since PNG takes twenty times as long and four times the space


class Results:
    """The files of a whole folder or video, written row by row so that memory does not grow with it.

    landmarks.csv: what `CSVFaces` reads. boxes.csv: what `data.boxes` and `--boxes` read, of a video the numbers of the
    tracks, and the means of score and expected error over the landmarks. landmarks.json: everything. All in pixels of
    the image, counted from 0.

    Args:
        formats: some of `FORMATS`; overlays and `.pts` are not written by this class.
        about: what stands at the head of the JSON file.
    """

    def __init__(self, folder: Path, formats: list[str], schema: LandmarkSchema, about: dict[str, Any]) -> None:
        self.folder, self.formats, self.schema, self.about = folder, formats, schema, about
        self.faces, self.pictures = 0, 0
        self.without_face: list[str] = []  # names of images, or of none
        self.left_out: list[str] = []  # what could not be read, and why
        self.interrupted = False  # before all was looked at
        self.summary: dict[str, Any] = {}  # what else the JSON file ends with
        self._files = ExitStack()

    def __enter__(self) -> "Results":
        if "csv" in self.formats:
            coordinates = [f"{axis}{landmark}" for landmark in range(self.schema.num_landmarks) for axis in "xy"]
            self._landmarks = self._table("landmarks.csv", ["image", *COLUMNS[1:], *coordinates])
            self._boxes = self._table("boxes.csv", [*COLUMNS, "score", "expected_error", "track"])
        if "json" in self.formats:
            self._json = self._open("landmarks.json")
            self._json.write(json.dumps({**self.about, "images": []}, ensure_ascii=False).removesuffix("]}"))
            self._between = "\n"
        return self

    def _table(self, name: str, header: list[str]) -> Any:
        table = csv.writer(self._open(name))
        table.writerow(header)
        return table

    def _open(self, name: str) -> TextIO:
        path = self._files.enter_context(whole_file(self.folder / name))
        return self._files.enter_context(open(path, "w", newline="", encoding="utf-8"))

    def add(self, name: str, faces: Faces, tracks: list[int] | None = None) -> None:
        """Write down the faces of an image, or of a frame with the numbers of their tracks."""
        self.faces += len(faces)
        self.pictures += 1
        if "csv" in self.formats:
            for number, (box, landmarks) in enumerate(zip(faces.boxes, faces.landmarks_image, strict=True)):
                means = ("" if a is None else round(float(a[number].mean()), DECIMALS) for a in _extras(faces))
                track = "" if tracks is None else tracks[number]
                self._boxes.writerow([f"{name}#{number}", *corners(box), *means, track])
                self._landmarks.writerow([name, *corners(box), *_rounded(landmarks.ravel())])
        if "json" in self.formats:
            content = {"image": name, "faces": [_to_dict(faces, i, tracks) for i in range(len(faces))]}
            self._json.write(self._between + json.dumps(content, ensure_ascii=False, allow_nan=False))
            self._between = ",\n"

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None and "json" in self.formats:
            tail = {"without_face": self.without_face, "left_out": self.left_out, "interrupted": self.interrupted}
            tail |= self.summary
            self._json.write("\n], " + json.dumps(tail, ensure_ascii=False, allow_nan=False)[1:] + "\n")
        self._files.__exit__(kind, error, trace)


def corners(box: Box) -> list[float]:
    """x_min, y_min, x_max, y_max of the smallest upright box around a box."""
    angle = np.deg2rad(box.roll)
    turn = np.abs([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    half = turn @ [box.width / 2, box.height / 2]
    return _rounded(np.concatenate([[box.x, box.y] - half, [box.x, box.y] + half]))


def _extras(faces: Faces) -> tuple[np.ndarray | None, np.ndarray | None]:
    return faces.score, faces.expected_error


def _rounded(numbers: np.ndarray) -> list:
    return np.round(numbers.astype(float), DECIMALS).tolist()


def _to_dict(faces: Faces, number: int, tracks: list[int] | None) -> dict[str, Any]:
    score, expected_error = (None if a is None else _rounded(a[number]) for a in _extras(faces))
    box = faces.boxes[number]
    return {
        **({} if tracks is None else {"track": tracks[number]}),
        "box": corners(box),
        "roll": box.roll,
        "landmarks": _rounded(faces.landmarks_image[number]),
        "score": score,
        "expected_error": expected_error,
    }


def stems(names: list[str]) -> dict[str, str]:
    """What the files of an image are called: its name without suffix, with it where several would be called so."""
    short = {name: PurePosixPath(name).with_suffix("").as_posix() for name in names}
    times = Counter(short.values())
    return {name: stem if times[stem] == 1 else name for name, stem in short.items()}


def write_pts(folder: Path, stem: str, faces: Faces) -> None:
    """A `.pts` file per face, counted from 1 as those of 300W: `stem.pts`, or `stem#0.pts`, ... of several."""
    for number, landmarks in enumerate(faces.landmarks_image):
        rows = "\n".join(f"{x:.{DECIMALS}f} {y:.{DECIMALS}f}" for x, y in landmarks + 1)
        with whole_file(folder / f"{stem}{f'#{number}' if len(faces) > 1 else ''}.pts") as path:
            path.write_text(f"version: 1\nn_points: {len(landmarks)}\n{{\n{rows}\n}}\n")


def write_overlay(path: Path, pixels: np.ndarray) -> None:
    """A JPEG of pixels (H, W, 3) uint8 RGB."""
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), QUALITY, colorsubsampling="420")
    with whole_file(path) as temporary:
        temporary.write_bytes(jpeg)


def draw_faces(pixels: np.ndarray, faces: Faces, schema: LandmarkSchema, crop_size: int) -> None:
    """Draw landmarks, contours and the outline of every crop on an image (H, W, 3), in place."""
    everywhere = np.ones(schema.num_landmarks, bool)
    ends = np.array([(x, y) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]) * crop_size - 0.5
    for landmarks, to_image in zip(faces.landmarks_image, faces.crop_to_image, strict=True):
        # Points and lines as they are drawn best on faces of 200 pixels.
        scale = max(0.5, float(np.ptp(landmarks, axis=0).max()) / 200)
        outline = np.rint(apply(to_image, ends)).astype(np.int32)
        cv2.polylines(pixels, [outline], True, OUTLINE_COLOR, max(1, round(0.7 * scale)), cv2.LINE_AA)
        draw_landmarks(pixels, landmarks, everywhere, schema, COLOR, scale)
