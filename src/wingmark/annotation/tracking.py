"""Faces followed from frame to frame: the landmarks of one frame tell where to look in the next."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from wingmark.annotation.smoothing import Jitter, OneEuro, face_size
from wingmark.detectors import as_box
from wingmark.geometry import inside, tight_box
from wingmark.infer import Faces, Landmarker
from wingmark.types import Box

Detect = Callable[[np.ndarray], list[Box]]

# A track is lost where its landmarks take less than this share of the crop's side,
SMALLEST = 0.05
# or are expected to be this share of the face size off, on average.
LARGEST_ERROR = 0.15
# The crop of a track moves where its box and the one that its landmarks make overlap less than this.
SAME_BOX = 0.9
# A detected face whose box covers at least this share (intersection over union) of a track's is that one.
SAME_FACE = 0.3


class Track:
    """One face in a video.

    box: where it was looked for.
    box_of: the box that landmarks (K, 2) make.
    """

    def __init__(self, number: int, box: Box, box_of: Callable[[np.ndarray], Box], smooth: OneEuro | None) -> None:
        self.number, self.box, self.box_of, self.smooth = number, box, box_of, smooth
        self.misses = 0  # detections in a row that did not see it
        self.jitter, self.jitter_smoothed = Jitter(), Jitter()

    def follow(self, landmarks: np.ndarray, seconds: float) -> np.ndarray:
        """Take the landmarks (K, 2) found in a frame, `seconds` after the last one; gives them smoothed.

        The next crop comes from what was found, not from what was smoothed, which lags behind. It stays where the face
        moved little: another crop gives slightly other landmarks, and these again another crop, without an end.
        """
        box = self.box_of(landmarks)
        if overlap(self.box, box) < SAME_BOX:
            self.box = box
        self.jitter.update(landmarks)
        if self.smooth is None:
            return landmarks
        landmarks = self.smooth(landmarks, seconds)
        self.jitter_smoothed.update(landmarks)
        return landmarks


class Tracker:
    """All faces of a video, one track each.

    New faces are looked for by `detect`, in pictures (H, W, 3) uint8 RGB, where no track is left, and besides every
    `detect_seconds`, where tracks end that it does not see twice in a row; None: not besides.
    smooth: makes the filter of a new track, or None.
    """

    def __init__(
        self,
        landmarker: Landmarker,
        detect: Detect,
        detect_seconds: float | None,
        smooth: Callable[[], OneEuro] | None,
    ) -> None:
        self.landmarker, self.detect, self.detect_seconds, self.smooth = landmarker, detect, detect_seconds, smooth
        self.tracks: list[Track] = []
        self.every_track: list[Track] = []
        self.since_detection = 0.0  # seconds

    def __call__(self, frame: np.ndarray, seconds: float, given: list[Box] | None = None) -> tuple[Faces, list[int]]:
        """The faces of the next frame, `seconds` after the last one, and the numbers of their tracks.

        given: boxes that are known for this frame, instead of detected ones; they end no track.
        """
        boxes = [track.box for track in self.tracks]
        self.since_detection += seconds
        due = not boxes or (self.detect_seconds is not None and self.since_detection >= self.detect_seconds)
        if given is not None or due:
            self.since_detection = 0.0
            boxes = self._given(given) if given is not None else self._detected([*map(as_box, self.detect(frame))])
        faces = self.landmarker.find([self.landmarker.cut(frame, boxes)])[0]
        found = [row for row in range(len(boxes)) if not _lost(faces, row, frame)]
        self.tracks = [self.tracks[row] if row < len(self.tracks) else self._start(faces, row) for row in found]
        landmarks = [t.follow(faces.landmarks_image[row], seconds) for t, row in zip(self.tracks, found, strict=True)]
        return _some_faces(faces, found, landmarks), [track.number for track in self.tracks]

    def jitter(self) -> dict[str, float | None]:
        """`Jitter.percent` over all tracks, of the landmarks as found, and smoothed where they were."""
        found = {"jitter": Jitter.percent([track.jitter for track in self.every_track])}
        if self.smooth is not None:
            found["jitter_smoothed"] = Jitter.percent([track.jitter_smoothed for track in self.every_track])
        return found

    def _detected(self, boxes: list[Box]) -> list[Box]:
        """End the tracks that were missed twice; gives where to look for the others, and for new faces."""
        seen, new = self._match(boxes)
        for track in self.tracks:
            track.misses = 0 if track in seen else track.misses + 1
        self.tracks = [track for track in self.tracks if track.misses < 2]
        return [*(track.box for track in self.tracks), *new]

    def _given(self, boxes: list[Box]) -> list[Box]:
        """Where to look for all tracks, and for new faces."""
        return [*(track.box for track in self.tracks), *self._match(boxes)[1]]

    def _match(self, boxes: list[Box]) -> tuple[list[Track], list[Box]]:
        """The tracks that boxes are of, and the boxes that are of none."""
        seen, new = [], []
        for box in boxes:
            free = [track for track in self.tracks if track not in seen]
            nearest = max(free, key=lambda track: overlap(track.box, box), default=None)
            if nearest is not None and overlap(nearest.box, box) >= SAME_FACE:
                seen.append(nearest)
            else:
                new.append(box)
        return seen, new

    def _start(self, faces: Faces, row: int) -> Track:
        """A track for a face that has none yet."""
        # Some protocols say themselves what box landmarks make; for the others only the first box tells.
        if self.landmarker.protocol.box in ("tight", "refined"):
            box_of = partial(self.landmarker.box_of, roll=faces.boxes[row].roll)
        else:
            box, landmarks = faces.boxes[row], faces.landmarks_image[row]
            box_of = partial(_carried, _relation(box, landmarks), box.roll)
        self.every_track.append(Track(len(self.every_track), faces.boxes[row], box_of, self.smooth and self.smooth()))
        return self.every_track[-1]


def _relation(box: Box, landmarks: np.ndarray) -> np.ndarray:
    """How a box lies around the smallest one of landmarks (K, 2).

    The shift of its center (dx, dy) and its width and height, in sides of that, and below each other (2, 2).
    """
    tight = tight_box(landmarks)
    return np.array([[box.x - tight.x, box.y - tight.y], [box.width, box.height]]) / [tight.width, tight.height]


def _carried(relation: np.ndarray, roll: float, landmarks: np.ndarray) -> Box:
    tight = tight_box(landmarks)
    shift, sides = relation * [tight.width, tight.height]
    return Box(tight.x + shift[0], tight.y + shift[1], *sides.tolist(), roll)


def _lost(faces: Faces, row: int, frame: np.ndarray) -> bool:
    landmarks, box = faces.landmarks_image[row], faces.boxes[row]
    if not np.isfinite(landmarks).all() or not inside(landmarks.mean(0), frame.shape[1], frame.shape[0]):
        return True
    size = face_size(landmarks)
    if size < SMALLEST * max(box.width, box.height):
        return True
    return faces.expected_error is not None and faces.expected_error[row].mean() > LARGEST_ERROR * size


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two upright boxes."""
    sides = [
        min(a + p / 2, b + q / 2) - max(a - p / 2, b - q / 2)
        for a, p, b, q in ((one.x, one.width, other.x, other.width), (one.y, one.height, other.y, other.height))
    ]
    shared = max(sides[0], 0.0) * max(sides[1], 0.0)
    return shared / (one.width * one.height + other.width * other.height - shared)


def _some_faces(faces: Faces, rows: list[int], landmarks: list[np.ndarray]) -> Faces:
    """These faces alone, with other landmarks."""
    return replace(
        faces,
        landmarks_image=np.array(landmarks).reshape(-1, *faces.landmarks_image.shape[1:]),
        score=None if faces.score is None else faces.score[rows],
        expected_error=None if faces.expected_error is None else faces.expected_error[rows],
        boxes=[faces.boxes[row] for row in rows],
        crop_to_image=faces.crop_to_image[rows],
    )
