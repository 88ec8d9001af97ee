"""Painting on a square canvas (S, S, 4) uint8, at positions in sides of the picture from its middle."""

import cv2
import numpy as np

from wingmark.geometry import fractions_to_pixels


def fill(canvas: np.ndarray, outline: np.ndarray, color) -> None:
    """Paint the area inside an outline (n, 2)."""
    cv2.fillPoly(canvas, [_fixed_point(canvas, outline)], _opaque(color), cv2.LINE_AA, 4)


def stroke(canvas: np.ndarray, lines, color, width: float, closed: bool = False) -> None:
    """Paint lines, each (n, 2), `width` sides of the picture wide, but not thinner than a pixel."""
    pixels = max(1, round(width * canvas.shape[0]))
    points = [_fixed_point(canvas, line) for line in lines]
    cv2.polylines(canvas, points, closed, _opaque(color), pixels, cv2.LINE_AA, 4)


def _fixed_point(canvas: np.ndarray, fractions: np.ndarray) -> np.ndarray:
    """Pixels in the 1/16 that OpenCV counts in here."""
    return np.rint(16 * fractions_to_pixels(fractions, canvas.shape[0])).astype(np.int32)


def _opaque(color) -> tuple[float, ...]:
    return (*np.clip(color, 0, 255), 255)
