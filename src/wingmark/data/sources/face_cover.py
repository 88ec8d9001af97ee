"""What is before a `face_model` head: sunglasses, masks, hands, cards, and clear glasses."""

from typing import NamedTuple

import cv2
import numpy as np

from wingmark.data.sources.face_canvas import fill, stroke
from wingmark.data.sources.face_light import Light
from wingmark.data.sources.face_model import Head, curves, project, relief
from wingmark.data.sources.face_person import SKINS


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
    x, y = (
        np.concatenate([1.04 * x, top]),
        np.concatenate([y + 0.03, rng.uniform(0.15, 0.4) + 0.2 * (top / x[0]) ** 2]),
    )
    return [(x, y, relief(head, 0.95 * x, np.minimum(y, 0.99 * head.chin)) + 0.05)]


FINGERS = (  # x and y of the root, length and half the breadth
    (-0.24, 0.15, 0.51, 0.07),
    (-0.08, 0.10, 0.66, 0.075),
    (0.07, 0.10, 0.62, 0.07),
    (0.21, 0.15, 0.47, 0.06),
)


def _hand(head: Head, rng: np.random.Generator):
    """Four fingers, more or less spread, a palm and a thumb, that come from below."""
    spread = rng.uniform(0.0, 0.3)
    parts = [_finger(x, y, spread * x / 0.24, rng.uniform(0.75, 1.0) * length, half) for x, y, length, half in FINGERS]
    parts.append(np.array([(-0.24, 1.1), (-0.29, 0.35), (-0.28, 0.08), (-0.1, 0.02), (0.25, 0.06), (0.22, 1.1)]).T)
    parts.append(_finger(-0.2, 0.5, -0.5 - 2 * spread, 0.42, 0.085))
    mirror = np.array([[rng.choice([-1.0, 1.0])], [1.0]])
    return _held(
        [mirror * part for part in parts], rng.uniform(-0.8, 0.8), rng.uniform(-0.5, 0.5), rng.uniform(0.55, 1)
    )


def _finger(x: float, y: float, turn: float, length: float, half: float) -> np.ndarray:
    """The outline (2, n) of a finger from its root (x, y), thinner toward its round tip."""
    arc = np.linspace(0, np.pi, 9)
    across = np.concatenate([[-half], -0.85 * half * np.cos(arc), [half]])
    along = np.concatenate([[0.0], -length - half * np.sin(arc), [0.0]])
    cos, sin = np.cos(turn), np.sin(turn)
    return np.stack([x + across * cos - along * sin, y + across * sin + along * cos])


def _card(head: Head, rng: np.random.Generator):
    """A sheet of paper or a telephone, before one side of the face."""
    half = rng.uniform(0.3, 0.5, (2, 1))
    corners = half * np.array([(-1, 1, 1, -1), (-1, -1, 1, 1)])
    return _held([corners], rng.uniform(-0.5, 0.5), rng.choice([-1, 1]) * rng.uniform(0.2, 0.6), rng.uniform(0.3, 1.0))


def _held(parts, turn: float, x: float, y: float):
    """Flat outlines (2, n), turned and moved, held before the face."""
    matrix = np.array([(np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn))])
    return [(*(matrix @ part + [[x], [y]]), np.full(part.shape[1], 1.3)) for part in parts]


# How bright the inner parts of an outline are, from its rim inward.
_ROUND = ((1.0, 0.6), (0.93, 0.8), (0.82, 0.92), (0.65, 1.0), (0.4, 1.06))
_FLAT = ((1.0, 0.75), (0.95, 1.0))
SHADES = {"sunglasses": _FLAT, "mask": _FLAT, "hand": _ROUND, "card": _FLAT}
OCCLUDERS = {"sunglasses": _sunglasses, "mask": _mask, "hand": _hand, "card": _card}


def make_occluder(head: Head, rng: np.random.Generator) -> Occluder:
    """Sunglasses, a mask, a hand or a card before a head."""
    kind = list(OCCLUDERS)[rng.integers(len(OCCLUDERS))]
    return Occluder(kind, [project(head, *part) for part in OCCLUDERS[kind](head, rng)])


def paint_occluder(canvas: np.ndarray, occluder: Occluder, skin, light: Light, rng: np.random.Generator) -> None:
    """Fill the outlines, lighter toward their middle; a hand has the color of the face, or is another's."""
    dyed = rng.uniform(25, 225) + rng.normal(0, 35, 3)
    color = {
        "sunglasses": rng.uniform(8, 40, 3),
        "hand": skin if rng.random() < 0.8 else SKINS[rng.integers(len(SKINS))],
    }.get(occluder.kind, dyed)
    for outline in occluder.outlines:
        middle = outline.mean(0)
        for part, bright in SHADES[occluder.kind]:
            fill(canvas, middle + part * (outline - middle), bright * color * light.flat())


def paint_glasses(canvas: np.ndarray, head: Head, light: Light, rng: np.random.Generator) -> None:
    """Clear glasses: the rims, a bridge, the arms, and a reflection. They hide no landmark."""
    lenses = [np.stack(part) for part in _sunglasses(head, rng)]
    size = rng.uniform(0.8, 1.05), rng.uniform(0.6, 1.0)
    middle = np.array([head.eye_x, 0.02])
    for lens, side in zip(lenses[:2], (-1, 1), strict=True):
        lens[0] = side * middle[0] + size[0] * (lens[0] - side * middle[0])
        lens[1] = middle[1] + size[1] * (lens[1] - middle[1])
    outlines = [project(head, *lens) for lens in lenses]
    color = np.clip(rng.choice([20, 60, 160]) + rng.normal(0, 25, 3), 0, 255) * np.minimum(light.flat(), 1)
    thick = rng.choice([0.012, 0.03, 0.05]) * head.scale
    shine = rng.uniform(0, 0.25)
    if shine > 0.1:
        glass = canvas.copy()
        for outline in outlines[:2]:
            fill(glass, outline, (235, 240, 245) * light.flat())
        cv2.addWeighted(glass, shine, canvas, 1 - shine, 0, dst=canvas)
    lines = [*outlines[:2], outlines[2][:2]]
    for side in (-1, 1):
        if side * head.yaw < 0.15:  # the arm of the other side is behind the face
            x = side * np.array([head.eye_x + 0.21, head.half_width + 0.05])
            lines.append(project(head, x, np.array([-0.02, -0.02]), np.array([0.75, 0.05])))
    stroke(canvas, lines[:2], color, thick, closed=True)
    stroke(canvas, lines[2:], color, thick)
