"""The hair of a `face_model` head: its border on the face, and what hangs behind and before the face."""

import cv2
import numpy as np

from wingmark.data.sources.face_canvas import fill, stroke
from wingmark.data.sources.face_light import Light
from wingmark.data.sources.face_model import Head, cheeks, half_width, project, relief
from wingmark.data.sources.face_person import Paint


def hairline(across, paint: Paint):
    """y of the border of the hair, for x / half width from -1 to 1."""
    sideburn = 0.2 - paint.hairline
    return paint.hairline + paint.part * across + sideburn * np.abs(across) ** 7


def strands(color: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Colors (count, 3) of lighter and darker strands."""
    bright = np.linspace(0.6, 1.4, count)[rng.permutation(count), None]
    return np.clip(color * bright + rng.uniform(-6, 12, (count, 1)), 0, 255)


def _paint_lock(canvas, inner: np.ndarray, outer: np.ndarray, paint: Paint, bright, rng: np.random.Generator) -> None:
    """A lock between two lines (n, 2) from its root to its tip."""
    fill(canvas, np.concatenate([inner, outer[::-1]]), 0.75 * paint.hair * bright)
    beside = rng.random((24, 1, 1)) + (0.03 + paint.style.curl) * rng.standard_normal((24, len(inner), 1))
    lines = inner + np.clip(beside, -0.06, 1.06) * (outer - inner)
    for bundle, color in enumerate(strands(paint.hair, 6, rng) * bright):
        stroke(canvas, lines[bundle::6], color, 1 / 120)


def paint_hair_behind(canvas: np.ndarray, head: Head, paint: Paint, light: Light, rng: np.random.Generator) -> None:
    """The outline of the skull with its hair, seen from anywhere, and what falls behind the face."""
    (x, y, z), grown = _BALL, 1 + paint.volume
    points = project(head, grown * head.half_width * x, grown * head.skull * y, grown * 0.9 * z - 0.05)[y < 0.3]
    color = (0.6 * paint.crown if paint.style.volume else 0.8 * paint.skin) * light.flat()
    outline = cv2.convexHull(points.astype(np.float32))[:, 0]
    rough = 1 + (0.3 * paint.style.fray + 0.5 * paint.style.curl) * rng.standard_normal((len(outline), 1))
    outline = outline.mean(0) + rough * (outline - outline.mean(0))
    fill(canvas, outline, color)
    if paint.style.down:
        down = np.linspace(-0.3, paint.style.down * rng.uniform(0.85, 1.1), 6)
        wide = head.half_width * (1 + paint.volume) + rng.uniform(0.02, 0.15) * np.linspace(0, 1, 6)
        wave = paint.style.curl * rng.standard_normal(6)
        sides = [project(head, side * wide + wave, down, -0.35) for side in (-1, 1)]
        _paint_lock(canvas, *sides, paint, 0.8 * light.flat(), rng)


def paint_locks(canvas: np.ndarray, head: Head, paint: Paint, light: Light, rng: np.random.Generator) -> None:
    """Locks that fall before the cheeks, as far as the head does not turn them away."""
    for side in (-1, 1):
        if side * head.yaw > 0.3:
            continue  # behind the face
        cover = paint.style.front * rng.uniform(0.2, 1.0)
        y = np.linspace(-0.55, rng.uniform(0.8, 1.0) * paint.style.down, 8)
        wide = half_width(head, np.minimum(y, 0.5 * head.chin))
        swing = paint.style.curl * rng.standard_normal(8) + 0.06 * np.sin(np.linspace(0, 4, 8) + 6 * rng.random())
        swing = swing * np.clip(y, 0.1, 1)  # less before the eyes
        inner = wide * (1.0 - 0.42 * cover * np.clip((y + 0.75) / 0.9, 0.3, 1)) + swing
        x = side * np.minimum(inner, wide)
        shown = np.clip(x, *cheeks(head, np.minimum(y, 0.5 * head.chin)))
        z = relief(head, x, np.minimum(y, 0.8 * head.chin)) + 0.03
        outer = project(head, side * (wide * (1 + paint.volume) + 0.08), y, -0.1)
        bright = light.flat() * (1 + 0.35 * side * light.direction[0])
        _paint_lock(canvas, project(head, shown, y, z), outer, paint, bright, rng)


def _ball(count: int) -> np.ndarray:
    """Points (3, count) spread evenly over a sphere."""
    step = np.arange(count)
    y = 2 * (step + 0.5) / count - 1
    turn = np.pi * (3 - np.sqrt(5)) * step
    return np.stack([np.sqrt(1 - y**2) * np.cos(turn), y, np.sqrt(1 - y**2) * np.sin(turn)])


_BALL = _ball(100)
