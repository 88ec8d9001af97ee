"""The skin of a `face_model` head, painted flat: eyes, brows, nose, mouth, hair, drawn along the head's own curves."""

import cv2
import numpy as np

from wingmark.data.sources.face_hair import hairline, strands
from wingmark.data.sources.face_model import Curve, Head, half_width, height
from wingmark.data.sources.face_noise import noise
from wingmark.data.sources.face_person import Paint
from wingmark.geometry import fractions_to_pixels

GRID = (56, 84)  # cells around and down the head
AROUND = np.pi * GRID[0] / (GRID[0] - 1)  # the angle that a texture spans


class Texture:
    """The skin as an image: a row for each angle around the head, a column for each angle from crown to chin.

    Columns divide the half circle. Rows reach a little further, so that the grid on which the head's shape is known
    (`GRID`, enlarged to the image) has its first and last cell at the very rim of the face.

    `fill` and `stroke` note what to paint along curves of the frontal plane; `image` paints it, in that order.
    """

    def __init__(self, head: Head, unit: float):
        """`unit` is the length of one unit of the head in the picture's pixels."""
        self.head, self.unit = head, unit
        self._curves, self._colors, self._widths, self._lines = [], [], [], []

    def fill(self, x, y, color) -> None:
        """The area of a closed curve."""
        self.stroke(x, y, color, 0.0)

    def band(self, x, high, low, color) -> None:
        """The area between two lines over the same x."""
        self.fill(np.concatenate([x, x[::-1]]), np.concatenate([high, low[::-1]]), color)

    def stroke(self, x, y, color, width: float) -> None:
        """A line along an open curve, or lines (lines, n) of one color, `width` units wide."""
        self._curves.append((x.ravel(), y.ravel()))
        self._lines.append(x.shape[0] if x.ndim == 2 else 1)
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
        parts = np.split(texels, ends[:-1])
        for points, color, width, lines in zip(parts, self._colors, self._widths, self._lines, strict=True):
            if width:
                cv2.polylines(
                    image, points.reshape(lines, -1, 2), False, color, max(1, round(width * self.unit)), cv2.LINE_AA, 4
                )
            else:
                cv2.fillPoly(image, [points], color, cv2.LINE_AA, 4)
        return image


_TURN = np.linspace(0, 2 * np.pi, 20, endpoint=False)
_CIRCLE = np.cos(_TURN), np.sin(_TURN)


def _ellipse(x: float, y: float, radius_x: float, radius_y: float):
    return x + radius_x * _CIRCLE[0], y + radius_y * _CIRCLE[1]


def paint_eye(texture: Texture, ring: Curve, pupil, openness: float, paint: Paint) -> None:
    """The eyeball, then the lids over it."""
    x, y = pupil
    upper, lower = (ring[0][:13], ring[1][:13]), (ring[0][[*range(12, 24), 0]], ring[1][[*range(12, 24), 0]])
    texture.fill(*ring, paint.white)
    texture.fill(*_ellipse(x, y, 0.063, 0.063), 0.45 * paint.iris)
    texture.fill(*_ellipse(x, y, 0.052, 0.052), paint.iris)
    texture.fill(*_ellipse(x, y, 0.026, 0.026), (10, 8, 8))
    texture.fill(*_ellipse(x + 0.02, y - 0.022, 0.012, 0.012), (255, 255, 255))
    for lid_x, lid_y, away in ((*upper, -0.09), (*lower, 0.09)):
        texture.band(lid_x, lid_y, lid_y + away, paint.skin)
    texture.stroke(upper[0], upper[1] - 0.02 - 0.025 * openness, 0.72 * paint.skin, 0.014)
    texture.stroke(lower[0], lower[1] + 0.006, 0.7 * paint.skin, 0.012)
    if paint.age > 0.4:
        texture.stroke(lower[0], lower[1] + 0.05, (1 - 0.3 * paint.age) * paint.skin, 0.02)
    texture.stroke(upper[0], upper[1] - 0.004, 0.2 * paint.hair + 0.1 * paint.skin, paint.liner)


def paint_mouth(texture: Texture, outer: Curve, inner: Curve, gap: float, paint: Paint) -> None:
    """Lips, and between them a line or, where they are apart, tongue and teeth."""
    texture.fill(*outer, paint.lips)
    upper_lip = (np.concatenate([there[:13], back[8::-1]]) for there, back in zip(outer, inner, strict=True))
    texture.fill(*upper_lip, 0.85 * paint.lips)
    x, high, low = inner[0][:9], inner[1][:9], inner[1][[0, *range(15, 7, -1)]]
    if gap < 0.02:
        texture.stroke(x, (high + low) / 2, 0.45 * paint.lips, 0.014)
        return
    bite = high + np.minimum(0.075, 0.75 * (low - high))
    tongue = np.maximum(high + 0.6 * (low - high), bite)
    texture.fill(*inner, (58, 18, 22))
    texture.band(x, tongue, low, (130, 50, 56))
    texture.band(x, high, bite, (226, 220, 206))


def paint_nose(texture: Texture, base: Curve, paint: Paint) -> None:
    """What is dark at the nose: its base, wings and nostrils; light makes the rest."""
    width, length = texture.head.nose_half_width, texture.head.nose_length
    wing_x, wing_y = width * np.array([0.85, 1.05, 1.02, 0.8]), length - np.array([0.13, 0.08, 0.02, 0.0])
    texture.stroke(base[0], base[1] + 0.012, 0.72 * paint.skin, 0.018)
    for side in (-1, 1):
        texture.stroke(side * wing_x, wing_y, 0.82 * paint.skin, 0.014)
        texture.fill(*_ellipse(0.48 * side * width, length - 0.012, 0.036, 0.015), 0.3 * paint.skin)


def paint_hair(texture: Texture, paint: Paint, rng: np.random.Generator) -> None:
    """Everything above a frayed hairline, with lighter and darker strands."""
    across = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 96))
    border = hairline(across, paint) + paint.style.fray * np.abs(rng.standard_normal(96)) * (1 - across**2)
    border = np.minimum(border, 0.9 * texture.head.chin)
    y = np.concatenate([border, np.full(96, -0.99999 * texture.head.skull)])
    x = np.concatenate([across, across[::-1]]) * half_width(texture.head, y)
    texture.fill(x, y, np.clip(paint.crown, 0, 255))
    count = 12 if paint.style.hat else 48
    start = rng.uniform(-0.97, 0.97, (count, 1))
    slope = start + paint.style.curl * rng.standard_normal((count, 4)) + rng.normal(0, 0.1) * np.linspace(0, 1, 4)
    y = np.maximum(hairline(start, paint) + np.linspace(0.8 * paint.style.fray, -0.5, 4), -0.97 * texture.head.skull)
    x = np.clip(slope, -1, 1) * half_width(texture.head, y)
    for bundle, color in enumerate(strands(paint.crown, 6, rng)):
        texture.stroke(x[bundle::6], y[bundle::6], color, 0.012)


def complexion(head: Head, paint: Paint, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What soft stains multiply the painted colors by, at points (...) of the frontal plane: (..., 3)."""
    red, crease = (1.0, 0.8, 0.78), (0.6, 0.55, 0.55)
    creased = 0.08 + 0.35 * paint.age + 0.1 * (head.smile_right + head.smile_left)
    nose, mouth = head.nose_length, head.mouth_y
    stains = [  # color, strength, place (on both sides) and size
        (red, paint.blush, 0.38, 0.33, 0.16, 0.13),  # cheeks
        (red, 0.4, 0.0, nose - 0.08, 0.10, 0.09),  # tip of the nose
        (paint.lids / paint.skin, 0.6, head.eye_x, -0.05, 0.17, 0.06),  # lids
        (crease, 0.2 + 0.4 * paint.age, head.eye_x - 0.03, 0.085, 0.12, 0.035),  # bags
        (crease, 0.25, 0.15, -0.02, 0.05, 0.08),  # beside the root of the nose
        (crease, creased, 0.22, nose - 0.02, 0.03, 0.07),  # folds from nose to mouth
        (crease, creased, 0.28, nose + 0.08, 0.03, 0.07),
        (crease, creased, 0.32, mouth - 0.03, 0.03, 0.07),
        (crease, 0.3, 0.0, mouth + head.mouth_gap + head.lower_lip + 0.05, 0.13, 0.03),  # below the lips
    ]
    side = np.abs(x)
    spots = [s * np.exp(-(((side - a) / w) ** 2) - ((y - b) / h) ** 2) for _, s, a, b, w, h in stains]
    colors = [color for color, *_ in stains]
    if paint.beard or paint.mustache:
        colors.append(np.minimum(paint.hair / paint.skin, 0.9))
        spots.append(_beard(head, paint, side, y))
    if paint.style.hairline > -1:
        colors.append(crease)  # the shadow of the hair
        edge = (y - hairline(side / np.maximum(half_width(head, y), 1e-6), paint)) / 0.1
        spots.append(0.5 * np.exp(-(edge**2)) * (edge > 0))
    return np.exp(np.stack(spots, -1) @ np.log(np.array(colors, np.float32)))


def _beard(head: Head, paint: Paint, side: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Strength of the beard at points."""
    cheek = np.clip((y - head.mouth_y - 0.05 + 0.5 * (side / 0.62) ** 3) / 0.12, 0, 1)
    under_lip = np.clip((y - head.mouth_y - head.mouth_gap - 0.12) / 0.05 + 8 * np.maximum(side - 0.25, 0), 0, 1)
    here = np.clip((side - paint.beard_from) / 0.1 + 1, 0, 1) * np.clip((paint.beard_to - side) / 0.12, 0, 1)
    middle = head.mouth_y - 0.105
    mustache = np.exp(-((side / 0.24) ** 4) - ((y - middle - 0.4 * side**2) / 0.04) ** 2)
    return np.maximum(paint.beard * cheek * under_lip * here, paint.mustache * mustache)


def paint_face(head: Head, drawn: dict[str, Curve], unit: float, paint: Paint, rng: np.random.Generator) -> np.ndarray:
    """The front of a head with its `curves`, unshaded, as the image of a `Texture`."""
    texture = Texture(head, unit)
    paint_nose(texture, drawn["base"], paint)
    for index, (side, openness) in enumerate((("right", head.lid_right), ("left", head.lid_left))):
        pupil = [axis[index] for axis in drawn["pupils"]]
        paint_eye(texture, drawn[f"{side}_eye"], pupil, openness, paint)
        texture.fill(*drawn[f"{side}_brow"], paint.brow)
    paint_mouth(texture, drawn["outer_lip"], drawn["inner_lip"], head.mouth_gap, paint)
    if paint.style.volume:
        paint_hair(texture, paint, rng)
    image = texture.image(paint.skin)
    spots = cv2.cvtColor(noise(rng, image.shape[:2], (1, 1), paint.rough), cv2.COLOR_GRAY2RGBA)
    return cv2.multiply(image, spots, scale=1 / 128)
