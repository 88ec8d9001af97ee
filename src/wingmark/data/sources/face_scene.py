"""What is behind a `face_model` head and before it: light, background, neck, ears, and what covers the face."""

from typing import NamedTuple

import cv2
import numpy as np

from wingmark.data.sources.face_model import Curve, Head, curves, project, relief
from wingmark.data.sources.face_paint import SKINS, Paint
from wingmark.geometry import fractions_to_pixels


class Light:
    """Where light comes from and how strong it is."""

    def __init__(self, rng: np.random.Generator, hard: bool):
        aside = rng.uniform(0.9, 1.6) if hard else rng.uniform(0.0, 0.6)
        direction = np.array([rng.choice([-1, 1]) * aside, -rng.uniform(0.3, 0.8), 0.9])
        self.direction = (direction / np.linalg.norm(direction)).astype(np.float32)
        ambient, diffuse = (0.22, 0.95) if hard else (0.52, 0.58)
        strength = rng.uniform(0.5, 1.0) if hard else rng.uniform(0.95, 1.1)
        self.ambient, self.diffuse = strength * ambient, strength * diffuse
        warmth = rng.normal(0, 0.04)
        self.color = np.array([1 + warmth, 1, 1 - warmth], np.float32)

    def flat(self) -> np.ndarray:
        """Brightness (3,) of what has no relief."""
        return (self.ambient + 0.5 * self.diffuse) * self.color


def background(size: int, rng: np.random.Generator) -> np.ndarray:
    """A blurred room (size, size, 3): a gradient or a texture, and a few shapes in muted colors."""
    count = rng.integers(1, 8)
    base = rng.uniform(30, 225) + rng.normal(0, 16, 3)
    coarse = base + rng.normal(0, rng.uniform(5, 40), (count, count, 1)) + rng.normal(0, 10, (count, count, 3))
    image = cv2.resize(np.clip(coarse, 0, 255).astype(np.uint8), (size, size), interpolation=cv2.INTER_LINEAR)
    for _ in range(rng.integers(0, 6)):
        color = np.clip(base + rng.normal(0, 45) + rng.normal(0, 18, 3), 0, 255)
        x, y, width, height = (int(size * part) for part in rng.random(4))
        if rng.random() < 0.6:
            cv2.rectangle(image, (x - width // 3, y - height // 2), (x + width // 3, y + height // 2), color, -1)
        else:
            cv2.circle(image, (x, y), width // 3, color, -1)
    return cv2.blur(image, (11, 11))


def _fill(canvas: np.ndarray, fractions: np.ndarray, color) -> None:
    points = fractions_to_pixels(fractions, canvas.shape[0])
    cv2.fillPoly(canvas, [np.rint(points * 16).astype(np.int32)], (*np.clip(color, 0, 255), 255), cv2.LINE_AA, 4)


def _ball(count: int) -> np.ndarray:
    """Points (3, count) spread evenly over a sphere."""
    step = np.arange(count)
    y = 2 * (step + 0.5) / count - 1
    turn = np.pi * (3 - np.sqrt(5)) * step
    return np.stack([np.sqrt(1 - y**2) * np.cos(turn), y, np.sqrt(1 - y**2) * np.sin(turn)])


_BALL = _ball(160)


def paint_behind(canvas, head: Head, jaw: Curve, paint: Paint, light: Light, rng: np.random.Generator) -> None:
    """What the face hides a part of, far things first."""
    skin = paint.skin * light.flat()
    _paint_hair(canvas, head, paint, light, rng)
    _paint_body(canvas, head, jaw, skin, np.clip(rng.uniform(20, 220) + rng.normal(0, 35, 3), 0, 255) * light.flat())
    if paint.style != "long":
        _paint_ears(canvas, head, skin)


def _paint_hair(canvas, head: Head, paint: Paint, light: Light, rng: np.random.Generator) -> None:
    """The outline of the skull with its hair, seen from anywhere."""
    (x, y, z), grown = _BALL, 1 + paint.volume
    points = project(head, grown * head.half_width * x, grown * head.skull * y, grown * 0.9 * z - 0.05)[y < 0.3]
    if paint.style == "long":
        locks = project(head, (head.half_width + 0.17) * x, 0.3 + rng.uniform(0.7, 1.3) * y, 0.5 * z - 0.4)
        points = np.concatenate([points, locks])
    color = 0.8 * paint.skin if paint.style == "bald" else 0.6 * paint.hair
    _fill(canvas, cv2.convexHull(points.astype(np.float32))[:, 0], color * light.flat())


def _paint_body(canvas, head: Head, jaw: Curve, skin, cloth) -> None:
    """Neck, the shadow of the jaw on it, and shoulders, which follow the head's turn but little."""
    body = head._replace(yaw=0.3 * head.yaw, pitch=0.0, roll=0.3 * head.roll)
    x, y = np.array([0.43, 0.44, 0.62]), np.array([0.4, 1.35, 1.75])
    _fill(canvas, project(body, np.r_[-x, x[::-1]], np.r_[y, y[::-1]], 0.0), 0.75 * skin)
    _fill(canvas, project(head, 0.75 * jaw[0], jaw[1] + 0.1, relief(head, *jaw) - 0.2), 0.55 * skin)
    x, y = np.array([1.9, 1.5, 0.52]), np.array([4.0, 1.75, 1.45])
    _fill(canvas, project(body, np.r_[-x, 0, x[::-1]], np.r_[y, 1.72, y[::-1]], 0.05), cloth)


def _paint_ears(canvas, head: Head, skin) -> None:
    turn = np.linspace(0, 2 * np.pi, 20)
    for side in (-1, 1):
        for size, dark in ((1.0, 0.85), (0.6, 0.6)):
            out, y = 0.06 + 0.1 * size * np.cos(turn), 0.17 + 0.2 * size * np.sin(turn)
            _fill(canvas, project(head, side * (head.half_width - 0.03 + 0.8 * out), y, 0.02 - 0.8 * out), dark * skin)


class Occluder(NamedTuple):
    """Something before the face: what it is and its outlines, each (n, 2) in sides of the picture from its middle."""

    kind: str
    outlines: list[np.ndarray]

    def covers(self, fractions: np.ndarray) -> np.ndarray:
        """Which points (K, 2) are behind it."""
        x, y = fractions.T[..., None]
        covered = np.zeros(len(fractions), bool)
        for outline in self.outlines:
            (x0, y0), (x1, y1) = outline.T, np.roll(outline, -1, axis=0).T
            steep = np.where(y1 == y0, 1.0, y1 - y0)
            crossed = ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / steep)  # edges to the right (K, n)
            covered |= crossed.sum(1) % 2 == 1
        return covered


def _sunglasses(head: Head, rng: np.random.Generator):
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    roundness = rng.uniform(0.5, 1.0)
    x = 0.215 * np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** roundness
    y = 0.15 * np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** roundness + 0.02
    bridge = np.array([-0.14, 0.14, 0.14, -0.14]), np.array([-0.05, -0.05, -0.015, -0.015])
    parts = [(x - head.eye_x, y), (x + head.eye_x, y), bridge]
    return [(x, y, 0.92 - 0.6 * x**2) for x, y in parts]


def _mask(head: Head, rng: np.random.Generator):
    """A cloth from the nose to the chin."""
    x, y = (axis[6:27] for axis in curves(head)["jaw"])
    top = np.linspace(x[-1], x[0], 9)
    x, y = np.r_[1.04 * x, top], np.r_[y + 0.03, rng.uniform(0.15, 0.4) + 0.2 * (top / x[0]) ** 2]
    return [(x, y, relief(head, 0.95 * x, np.minimum(y, 0.99 * head.chin)) + 0.05)]


def _hand(head: Head, rng: np.random.Generator):
    """A palm and four fingers that come from below."""
    arc = np.linspace(0, np.pi, 9)
    parts = [np.array([(-0.3, 0.9), (-0.34, 0.3), (-0.3, 0.0), (0.3, 0.0), (0.34, 0.3), (0.3, 0.9)]).T]
    for middle, length in ((-0.225, 0.40), (-0.075, 0.50), (0.075, 0.47), (0.225, 0.36)):
        x = np.r_[middle - 0.077, middle - 0.077 * np.cos(arc), middle + 0.077]
        parts.append(np.stack([x, np.r_[0.1, -length - 0.07 * np.sin(arc), 0.1]]))
    return _held(parts, rng.uniform(-0.7, 0.7), rng.uniform(-0.45, 0.45), rng.uniform(0.7, 1.0))


def _card(head: Head, rng: np.random.Generator):
    """A sheet of paper or a telephone, before one side of the face."""
    half = rng.uniform(0.3, 0.5, (2, 1))
    corners = half * np.array([(-1, 1, 1, -1), (-1, -1, 1, 1)])
    return _held([corners], rng.uniform(-0.5, 0.5), rng.choice([-1, 1]) * rng.uniform(0.2, 0.6), rng.uniform(0.3, 1.0))


def _held(parts, turn: float, x: float, y: float):
    """Flat outlines (2, n), turned and moved, held before the face."""
    matrix = np.array([(np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn))])
    return [(*(matrix @ part + [[x], [y]]), np.full(part.shape[1], 1.3)) for part in parts]


OCCLUDERS = {"sunglasses": _sunglasses, "mask": _mask, "hand": _hand, "card": _card}


def make_occluder(head: Head, rng: np.random.Generator) -> Occluder:
    """Sunglasses, a mask, a hand or a card before a head."""
    kind = list(OCCLUDERS)[rng.integers(len(OCCLUDERS))]
    return Occluder(kind, [project(head, *part) for part in OCCLUDERS[kind](head, rng)])


def paint_occluder(canvas: np.ndarray, occluder: Occluder, light: Light, rng: np.random.Generator) -> None:
    """Fill the outlines, each with a darker rim."""
    dyed = rng.uniform(25, 225) + rng.normal(0, 35, 3)
    color = {"sunglasses": rng.uniform(8, 40, 3), "hand": SKINS[rng.integers(len(SKINS))]}.get(occluder.kind, dyed)
    for outline in occluder.outlines:
        middle = outline.mean(0)
        _fill(canvas, outline, 0.75 * color * light.flat())
        _fill(canvas, middle + 0.95 * (outline - middle), color * light.flat())
