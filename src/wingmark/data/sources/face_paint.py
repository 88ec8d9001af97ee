"""The skin of a `face_model` head, painted flat: eyes, brows, nose, mouth, hair, drawn along the head's own curves."""

from typing import NamedTuple

import cv2
import numpy as np

from wingmark.data.sources.face_model import Curve, Head, half_width, height
from wingmark.geometry import fractions_to_pixels

GRID = (56, 84)  # cells around and down the head
AROUND = np.pi * GRID[0] / (GRID[0] - 1)  # the angle that a texture spans

SKINS = np.array(
    [(242, 210, 186), (234, 194, 164), (220, 174, 138), (194, 140, 104), (152, 104, 76), (112, 76, 58), (84, 58, 48)],
    float,
)
HAIRS = np.array(
    [(28, 22, 20), (44, 30, 24), (74, 48, 32), (110, 74, 44), (176, 136, 86), (140, 66, 36), (160, 156, 150)], float
)
IRISES = np.array([(70, 44, 26), (96, 62, 34), (96, 110, 66), (84, 124, 156), (110, 130, 140)], float)
LIPSTICKS = np.array([(170, 20, 44), (196, 40, 84), (130, 20, 60), (214, 84, 92)], float)
SHADOWS = np.array([(90, 60, 110), (60, 80, 120), (110, 60, 50), (60, 60, 66)], float)
STYLES = (  # of hair, with the y of the hairline above the nose
    ("short", -0.60),
    ("short", -0.56),
    ("parted", -0.55),
    ("long", -0.62),
    ("long", -0.58),
    ("fringe", -0.38),
    ("full", -0.58),
    ("bald", -2.0),
)


class Paint(NamedTuple):
    """Colors (RGB, 0 to 255) and hair of one face."""

    skin: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    lips: np.ndarray
    lids: np.ndarray
    blush: float  # strength of the red of the cheeks
    beard: float  # its strength, 0 without
    style: str
    hairline: float  # its y above the nose
    part: float  # its slope
    volume: float  # thickness of the hair, in head sizes


def _between(colors: np.ndarray, position: float) -> np.ndarray:
    """A color on the way through a list of colors, position from 0 to 1."""
    at = position * (len(colors) - 1)
    low = min(int(at), len(colors) - 2)
    return colors[low] + (at - low) * (colors[low + 1] - colors[low])


def mix(rng: np.random.Generator, makeup: bool) -> Paint:
    """The colors of one face, and its hair."""
    tone = rng.random() ** 1.25
    skin = _between(SKINS, tone) * rng.uniform(0.95, 1.03, 3)
    dark = tone > 0.45  # dark hair and brown eyes go with dark skin
    hair = HAIRS[rng.integers(2 if dark else len(HAIRS))] * rng.uniform(0.85, 1.15)
    iris = IRISES[rng.integers(2 if dark else len(IRISES))] * rng.uniform(0.85, 1.15)
    lips = 0.55 * skin + 0.45 * np.array([176, 70, 76]) * (1 - 0.45 * tone)
    style, forehead = STYLES[rng.integers(len(STYLES))]
    bearded = rng.random() < 0.25 and style != "long" and not makeup
    return Paint(
        skin=skin,
        hair=hair,
        iris=iris,
        lips=LIPSTICKS[rng.integers(len(LIPSTICKS))] if makeup else lips,
        lids=SHADOWS[rng.integers(len(SHADOWS))] if makeup else 0.72 * skin,
        blush=0.7 if makeup else 0.4,
        beard=rng.uniform(0.25, 0.9) if bearded else 0.0,
        style=style,
        hairline=forehead + float(rng.normal(0, 0.03)),
        part=float(rng.choice([-0.3, 0.3])) if style == "parted" else float(rng.normal(0, 0.04)),
        volume={"full": 0.22, "bald": 0.0}.get(style, rng.uniform(0.09, 0.14)),
    )


class Texture:
    """The skin as an image: a row for each angle around the head, a column for each angle from crown to chin.

    Columns divide the half circle. Rows reach a little further, so that the grid on which the head's shape is known
    (`GRID`, enlarged to the image) has its first and last cell at the very rim of the face.

    `fill` and `stroke` note what to paint along curves of the frontal plane; `image` paints it, in that order.
    """

    def __init__(self, head: Head, unit: float):
        """`unit` is the length of one unit of the head in the picture's pixels."""
        self.head, self.unit = head, unit
        self._curves, self._colors, self._widths = [], [], []

    def fill(self, x, y, color) -> None:
        """The area of a closed curve."""
        self.stroke(x, y, color, 0.0)

    def stroke(self, x, y, color, width: float) -> None:
        """A line along an open curve, `width` units wide."""
        self._curves.append((x, y))
        self._colors.append((*color, 255))
        self._widths.append(width)

    def image(self, base) -> np.ndarray:
        """The painted skin (rows, columns, 4) uint8 on a base color; the last channel is 255."""
        shape = round(2.5 * self.unit), round(3.8 * self.unit)
        pixel = np.array([*base, 255], np.uint8).view(np.uint32)
        image = np.full(shape, pixel, np.uint32).view(np.uint8).reshape(*shape, 4)
        x, y = (np.concatenate(axis) for axis in zip(*self._curves, strict=True))
        down = np.arcsin(np.clip(y / height(self.head, y), -1, 1))
        around = np.arcsin(np.clip(x / np.maximum(half_width(self.head, y), 1e-6), -1, 1))
        parts = np.stack([down / np.pi, around / AROUND], -1)
        texels = fractions_to_pixels(parts, np.array(image.shape[1::-1]))
        texels = np.rint(16 * texels).astype(np.int32)  # OpenCV's fixed point numbers
        ends = np.cumsum([len(x) for x, _ in self._curves])
        for points, color, width in zip(np.split(texels, ends[:-1]), self._colors, self._widths, strict=True):
            if width:
                cv2.polylines(image, [points], False, color, max(1, round(width * self.unit)), cv2.LINE_AA, 4)
            else:
                cv2.fillPoly(image, [points], color, cv2.LINE_AA, 4)
        return image


_TURN = np.linspace(0, 2 * np.pi, 20, endpoint=False)
_CIRCLE = np.cos(_TURN), np.sin(_TURN)


def _ellipse(x: float, y: float, radius_x: float, radius_y: float):
    return x + radius_x * _CIRCLE[0], y + radius_y * _CIRCLE[1]


def paint_eye(texture: Texture, ring: Curve, pupil, openness: float, paint: Paint, makeup: bool) -> None:
    """The eyeball, then the lids over it."""
    x, y = pupil
    upper, lower = (ring[0][:13], ring[1][:13]), (ring[0][[*range(12, 24), 0]], ring[1][[*range(12, 24), 0]])
    texture.fill(*ring, (228, 222, 218))
    texture.fill(*_ellipse(x, y, 0.063, 0.063), 0.45 * paint.iris)
    texture.fill(*_ellipse(x, y, 0.052, 0.052), paint.iris)
    texture.fill(*_ellipse(x, y, 0.026, 0.026), (10, 8, 8))
    texture.fill(*_ellipse(x + 0.02, y - 0.022, 0.012, 0.012), (255, 255, 255))
    for lid_x, lid_y, away in ((*upper, -0.09), (*lower, 0.09)):
        texture.fill(np.r_[lid_x, lid_x[::-1]], np.r_[lid_y, lid_y[::-1] + away], paint.skin)
    texture.stroke(upper[0], upper[1] - 0.02 - 0.025 * openness, 0.72 * paint.skin, 0.014)
    texture.stroke(lower[0], lower[1] + 0.006, 0.75 * paint.skin, 0.012)
    texture.stroke(upper[0], upper[1] - 0.004, 0.2 * paint.hair + 0.1 * paint.skin, 0.028 if makeup else 0.018)


def paint_mouth(texture: Texture, outer: Curve, inner: Curve, gap: float, paint: Paint) -> None:
    """Lips, and between them a line or, where they are apart, tongue and teeth."""
    texture.fill(*outer, paint.lips)
    upper_lip = np.r_[outer[0][:13], inner[0][8::-1]], np.r_[outer[1][:13], inner[1][8::-1]]
    texture.fill(*upper_lip, 0.85 * paint.lips)
    x, high, low = inner[0][:9], inner[1][:9], inner[1][[0, *range(15, 7, -1)]]
    if gap < 0.02:
        texture.stroke(x, (high + low) / 2, 0.45 * paint.lips, 0.014)
        return
    there_and_back = np.r_[x, x[::-1]]
    bite = high + np.minimum(0.075, 0.75 * (low - high))
    tongue = np.maximum(high + 0.6 * (low - high), bite)
    texture.fill(*inner, (58, 18, 22))
    texture.fill(there_and_back, np.r_[tongue, low[::-1]], (130, 50, 56))
    texture.fill(there_and_back, np.r_[high, bite[::-1]], (226, 220, 206))


def paint_nose(texture: Texture, base: Curve, paint: Paint) -> None:
    """What is dark at the nose: its base, wings and nostrils; light makes the rest."""
    width, length = texture.head.nose_half_width, texture.head.nose_length
    wing_x, wing_y = width * np.array([0.85, 1.05, 1.02, 0.8]), length - np.array([0.13, 0.08, 0.02, 0.0])
    texture.stroke(base[0], base[1] + 0.012, 0.72 * paint.skin, 0.018)
    for side in (-1, 1):
        texture.stroke(side * wing_x, wing_y, 0.82 * paint.skin, 0.014)
        texture.fill(*_ellipse(0.48 * side * width, length - 0.012, 0.036, 0.015), 0.3 * paint.skin)


def hairline(across, paint: Paint):
    """y of the border of the hair, for x / half width from -1 to 1."""
    return paint.hairline + paint.part * across + (0.2 - paint.hairline) * np.abs(across) ** 7


def paint_hair(texture: Texture, paint: Paint, rng: np.random.Generator) -> None:
    """Everything above a frayed hairline, with lighter and darker strands."""
    across = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 64))
    border = hairline(across, paint) + rng.normal(0, 0.012, 64)
    y = np.r_[border, np.full(64, -0.99999 * texture.head.skull)]
    texture.fill(np.r_[across, across[::-1]] * half_width(texture.head, y), y, paint.hair)
    start = rng.uniform(-0.95, 0.95, (30, 1)) + rng.normal(0, 0.05) * np.linspace(0, 1, 4)
    y = np.maximum(hairline(start, paint) + np.linspace(-0.02, -0.5, 4), -0.97 * texture.head.skull)
    x = start * half_width(texture.head, y)
    for strand_x, strand_y, bright in zip(x, y, rng.uniform(0.7, 1.35, 30), strict=True):
        texture.stroke(strand_x, strand_y, np.minimum(bright * paint.hair, 255), 0.01)


def complexion(head: Head, paint: Paint, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What soft stains multiply the painted colors by, at points (...) of the frontal plane: (..., 3)."""
    red, crease, creased = (1.0, 0.8, 0.78), (0.6, 0.55, 0.55), 0.15 + 0.1 * (head.smile_right + head.smile_left)
    stains = [  # color, strength, place (on both sides) and size
        (red, paint.blush, 0.38, 0.33, 0.16, 0.13),  # cheeks
        (red, 0.4, 0.0, head.nose_length - 0.08, 0.10, 0.09),  # tip of the nose
        (paint.lids / paint.skin, 0.5, head.eye_x, -0.05, 0.17, 0.075),  # lids
        (crease, creased, 0.22, 0.47, 0.03, 0.07),  # folds from nose to mouth
        (crease, creased, 0.28, 0.57, 0.03, 0.07),
        (crease, creased, 0.32, 0.68, 0.03, 0.07),
    ]
    side = np.abs(x)
    spots = [s * np.exp(-(((side - a) / w) ** 2) - ((y - b) / h) ** 2) for _, s, a, b, w, h in stains]
    colors = [color for color, *_ in stains]
    if paint.beard:
        colors.append(paint.hair / paint.skin)
        cheek = np.clip((y - head.mouth_y - 0.05 + 0.5 * (side / 0.62) ** 3) / 0.12, 0, 1)
        under_lip = np.clip((y - head.mouth_y - head.mouth_gap - 0.12) / 0.05 + 8 * np.maximum(side - 0.25, 0), 0, 1)
        mustache = np.exp(-((side / 0.26) ** 4) - ((y - head.mouth_y + 0.12) / 0.04) ** 2)
        spots.append(paint.beard * np.maximum(cheek * under_lip, mustache))
    return np.exp(np.stack(spots, -1) @ np.log(np.array(colors, np.float32)))


def paint_face(
    head: Head, drawn: dict[str, Curve], unit: float, paint: Paint, makeup: bool, rng: np.random.Generator
) -> np.ndarray:
    """The front of a head with its `curves`, unshaded, as the image of a `Texture`."""
    texture = Texture(head, unit)
    paint_nose(texture, drawn["base"], paint)
    for index, (side, openness) in enumerate((("right", head.lid_right), ("left", head.lid_left))):
        pupil = [axis[index] for axis in drawn["pupils"]]
        paint_eye(texture, drawn[f"{side}_eye"], pupil, openness, paint, makeup)
        texture.fill(*drawn[f"{side}_brow"], 0.7 * paint.hair + 0.2 * paint.skin)
    paint_mouth(texture, drawn["outer_lip"], drawn["inner_lip"], head.mouth_gap, paint)
    if paint.style != "bald":
        paint_hair(texture, paint, rng)
    return texture.image(paint.skin)
