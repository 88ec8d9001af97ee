"""Landmarks over time: a filter that calms them, and a figure for how much they tremble."""

import numpy as np

from wingmark.geometry import tight_box

DERIVATIVE_CUTOFF = 1.0  # Hz, as the paper has it


def face_size(landmarks: np.ndarray) -> float:
    """The length that others are shares of: the root of the area of the smallest box around landmarks (K, 2)."""
    box = tight_box(landmarks)
    return float(np.sqrt(box.width * box.height))


class OneEuro:
    """The 1 euro filter (Casiez, Roussel, Vogel, CHI 2012) on every coordinate of the landmarks of one face.

    A low pass whose cutoff grows with speed: calm where the face rests, without much delay where it moves.

    min_cutoff: Hz, of a face at rest; less is calmer.
    beta: Hz per face size a second; more follows faster.
    """

    def __init__(self, min_cutoff: float, beta: float) -> None:
        self.min_cutoff, self.beta = min_cutoff, beta
        self.landmarks: np.ndarray | None = None
        self.speed: np.ndarray | float = 0.0

    def __call__(self, landmarks: np.ndarray, seconds: float) -> np.ndarray:
        """The calmed landmarks (K, 2), in pixels, `seconds` after the last ones."""
        if self.landmarks is None:
            self.landmarks = landmarks
            return landmarks
        speed = (landmarks - self.landmarks) / (seconds * face_size(landmarks))
        self.speed = _low_pass(speed, self.speed, DERIVATIVE_CUTOFF, seconds)
        cutoff = self.min_cutoff + self.beta * np.abs(self.speed)
        self.landmarks = _low_pass(landmarks, self.landmarks, cutoff, seconds)
        return self.landmarks


def _low_pass(value, last, cutoff, seconds: float):
    alpha = 1 / (1 + 1 / (2 * np.pi * cutoff * seconds))
    return alpha * value + (1 - alpha) * last


class Jitter:
    """How much the landmarks of one face tremble, in percent of its size.

    The second difference of three successive frames, L(t+1) - 2 L(t) + L(t-1), is zero for what rests or moves evenly.
    From it the mean over the landmarks is taken, which is how the whole face was moved. The figure is the root mean
    square of the lengths of what is left, divided by the face size and by sqrt(6): noise that is independent from
    frame to frame has a second difference sqrt(6) times as large as itself. So 1 means that landmarks lie about 1 % of
    the face off their place, now here, now there. Noise that all landmarks of a face share is not in it.
    """

    def __init__(self) -> None:
        self.last: list[np.ndarray] = []
        self.total, self.count = 0.0, 0

    def update(self, landmarks: np.ndarray) -> None:
        """Take the landmarks (K, 2) of the next frame."""
        self.last = [*self.last[-2:], landmarks]
        if len(self.last) == 3:
            difference = self.last[2] - 2 * self.last[1] + self.last[0]
            difference = (difference - difference.mean(0)) / face_size(self.last[1])
            self.total += (difference**2).sum()
            self.count += len(difference)

    @staticmethod
    def percent(parts: list["Jitter"]) -> float | None:
        """The figure over several faces; None where none was seen in three successive frames."""
        count = sum(part.count for part in parts)
        return 100 * float(np.sqrt(sum(part.total for part in parts) / (6 * count))) if count else None
