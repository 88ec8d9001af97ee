"""What is around a `face_model` head: background, neck, shoulders, ears."""

import cv2
import numpy as np

from wingmark.data.sources.face_canvas import fill
from wingmark.data.sources.face_hair import paint_hair_behind
from wingmark.data.sources.face_light import Light
from wingmark.data.sources.face_model import Curve, Head, project, relief
from wingmark.data.sources.face_noise import noise
from wingmark.data.sources.face_person import SKINS, Paint


def background(size: int, rng: np.random.Generator) -> np.ndarray:
    """A wall, a blurred room or a crowded place (size, size, 3)."""
    count, crowd = rng.integers(1, 8), rng.integers(0, 11) * (rng.random() < 0.7)
    base = rng.choice([rng.uniform(0, 60), rng.uniform(30, 225), rng.uniform(190, 255)], p=[0.25, 0.6, 0.15])
    base = base + rng.normal(0, 12, 3)
    coarse = base + rng.normal(0, rng.uniform(5, 40), (count, count, 1)) + rng.normal(0, 7, (count, count, 3))
    image = cv2.resize(np.clip(coarse, 0, 255).astype(np.uint8), (size, size), interpolation=cv2.INTER_LINEAR)
    for _ in range(crowd):
        _paint_thing(image, base, rng)
    blurred = 2 * rng.integers(0, 7) + 1
    image = cv2.blur(image, (blurred, blurred))
    zoom = rng.uniform(1, 6, 2)
    rough = cv2.cvtColor(noise(rng, (size, size), (zoom[0], zoom[1]), rng.uniform(0, 0.18)), cv2.COLOR_GRAY2RGB)
    return cv2.multiply(image, rough, scale=1 / 128)


def _paint_thing(image: np.ndarray, base: np.ndarray, rng: np.random.Generator) -> None:
    """Furniture, a pole, a lamp, a leaf, or a part of another person."""
    size = image.shape[0]
    near = rng.random() < 0.5
    color = np.clip((base if near else rng.uniform(0, 255)) + rng.normal(0, 45) + rng.normal(0, 22, 3), 0, 255)
    (x, y), (width, height) = rng.integers(0, size, 2).tolist(), (size * rng.random(2) ** 1.5).astype(int).tolist()
    kind, turn = rng.integers(5), int(rng.integers(180))
    if kind == 0:
        cv2.rectangle(image, (x - width // 3, y - height // 2), (x + width // 3, y + height // 2), color, -1)
    elif kind == 1:
        cv2.ellipse(image, (x, y), (width // 4 + 1, height // 4 + 1), turn, 0, 360, color, -1)
    elif kind == 2:
        end = rng.integers(0, size, 2).tolist()
        cv2.line(image, (x, y), end, color, 1 + width // 12, cv2.LINE_AA)
    elif kind == 3:
        corners = (x, y) + rng.normal(0, 0.2 * size, (4, 2))
        cv2.fillPoly(image, [corners.astype(np.int32)], color)
    else:
        skin = SKINS[rng.integers(len(SKINS))] * rng.uniform(0.4, 1.0)
        cv2.ellipse(image, (x, y), (width // 6 + 4, width // 5 + 5), turn // 9 - 10, 0, 360, skin, -1)
        top = (x, y - width // 8)
        cv2.ellipse(image, top, (width // 6 + 5, width // 6 + 3), turn // 9 - 10, 170, 370, 0.4 * color, -1)


def paint_behind(canvas, head: Head, jaw: Curve, paint: Paint, light: Light, rng: np.random.Generator) -> None:
    """What the face hides a part of, far things first."""
    skin = paint.skin * light.flat()
    paint_hair_behind(canvas, head, paint, light, rng)
    _paint_body(canvas, head, jaw, skin, light, rng)
    if not paint.style.down:
        _paint_ears(canvas, head, skin)


def _paint_body(canvas, head: Head, jaw: Curve, skin, light: Light, rng: np.random.Generator) -> None:
    """Neck, the shadow of the jaw on it, and shoulders, which follow the head's turn but little."""
    body = head._replace(yaw=0.3 * head.yaw, pitch=0.0, roll=0.3 * head.roll)
    cloth, collar = (np.clip(rng.uniform(5, 230) + rng.normal(0, 30, 3), 0, 255) * light.flat() for _ in range(2))
    wide, low, neckline = rng.uniform(0.36, 0.48), rng.uniform(1.6, 1.9), rng.uniform(-0.15, 0.35)

    def both_sides(x, y, z, color):
        x, y = np.array(x), np.array(y)
        fill(canvas, project(body, np.concatenate([-x, x[::-1]]), np.concatenate([y, y[::-1]]), z), color)

    both_sides([wide, wide + 0.02, 0.62], [0.4, 1.3, 1.75], 0.0, rng.uniform(0.55, 1.05) * skin)
    fill(canvas, project(head, 0.75 * jaw[0], jaw[1] + 0.1, relief(head, *jaw) - 0.2), rng.uniform(0.4, 0.95) * skin)
    shoulders = [4.0, low + 0.15, low - 0.05, low - 0.3, low + neckline]
    both_sides([2.1, 1.8, 1.3, wide + 0.05, 0.05], shoulders, 0.05, cloth)
    if rng.random() < 0.4:  # the collar of a shirt
        both_sides([wide + 0.06, wide + 0.14, 0.3, 0.0], [low - 0.4, low - 0.15, low + 0.25, low + 0.1], 0.1, collar)


def _paint_ears(canvas, head: Head, skin) -> None:
    turn = np.linspace(0, 2 * np.pi, 20)
    for side in (-1, 1):
        for size, dark in ((1.0, 0.85), (0.6, 0.6)):
            out, y = 0.06 + 0.1 * size * np.cos(turn), 0.17 + 0.2 * size * np.sin(turn)
            fill(canvas, project(head, side * (head.half_width - 0.03 + 0.8 * out), y, 0.02 - 0.8 * out), dark * skin)
