"""Pictures of `face_model` heads, with numpy and OpenCV.

The painted skin (`face_paint`) is shaded on a grid of the head's two angles and dropped point by point into a canvas
of twice the size of the picture, far points first. Simple outlines make what is behind and before (`face_scene`).
"""

import cv2
import numpy as np

from wingmark.data.sources.face_model import Head, half_width, height, place, relief, rotate
from wingmark.data.sources.face_paint import Paint, complexion, hairline, mix, paint_face
from wingmark.data.sources.face_scene import Light, Occluder, background, paint_behind, paint_occluder
from wingmark.geometry import fractions_to_pixels

SUPERSAMPLING = 2
GRID = (64, 96)  # cells around and along the head where it is shaded


def angles(count: int) -> np.ndarray:
    """Centers of `count` equal parts of the half circle from -90 to 90 degrees, in radians."""
    edges = np.linspace(-np.pi / 2, np.pi / 2, count + 1, dtype=np.float32)
    return (edges[1:] + edges[:-1]) / 2


def surface(head: Head, paint: Paint, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Camera positions (*GRID, 3) of the relief on a grid of angles, hair included, and the tint (*GRID, 3) there."""
    around, down = angles(GRID[0])[:, None], angles(GRID[1])[None]
    y = (height(head, down) * np.sin(down)).astype(np.float32)
    x = half_width(head, y) * np.sin(around)
    z = relief(head, x, y)
    lumps = cv2.resize(rng.normal(1, 0.15, (8, 8)).astype(np.float32), GRID[::-1], interpolation=cv2.INTER_LINEAR)
    grown = 1 + paint.volume * lumps * np.clip((hairline(np.sin(around), paint) - y) / 0.15, 0, 1)
    position = np.dstack(rotate(head, x * grown, y * grown, z * grown)).astype(np.float32)
    return position, complexion(head, paint, x, y)


def shade(position: np.ndarray, tint: np.ndarray, light: Light, rng: np.random.Generator) -> np.ndarray:
    """Brightness (*GRID, 4) uint8 of the surface, 128 for the bare color: diffuse, gloss, darker hollows."""
    ax, ay, az = cv2.split(cv2.Sobel(position, -1, 0, 1, ksize=1, borderType=cv2.BORDER_REPLICATE))
    bx, by, bz = cv2.split(cv2.Sobel(position, -1, 1, 0, ksize=1, borderType=cv2.BORDER_REPLICATE))
    normal = np.dstack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-9
    lit = np.maximum((normal @ light.direction + 0.15) / 1.15, 0)
    halfway = light.direction + (0, 0, 1)
    gloss = np.maximum(normal @ (halfway / np.linalg.norm(halfway)), 0) ** 24
    z = position[..., 2]
    hollow = 8 * np.clip(cv2.GaussianBlur(z, (0, 0), 2.5) - z, 0, 0.05)
    bright = (light.ambient + light.diffuse * lit) * (1 - hollow) + 0.15 * light.diffuse * gloss
    bright = bright * (1 + 0.012 * rng.standard_normal(GRID, np.float32))
    colored = 128 * tint * light.color * np.stack([bright**0.94, bright, bright**1.06], -1)
    return np.dstack([np.clip(colored, 0, 255), np.full(GRID, 128)]).astype(np.uint8)


def drop(canvas: np.ndarray, head: Head, position: np.ndarray, skin: np.ndarray) -> None:
    """Write the skin's texels into a canvas (S + 2, S + 2, 4) whose border takes what falls outside.

    A point can only be hidden by points whose angle around the head is nearer to the viewer's, and at the same angle
    by points at the end of the head that leans to the viewer: painting in that order needs no depth buffer.
    """
    size = canvas.shape[0] - 2
    placed = np.clip(fractions_to_pixels(place(head, *cv2.split(position)), size), -1, size) + 1
    x, y = (cv2.resize(placed[..., axis] + np.float32(0.5), skin.shape[1::-1]).astype(np.int32) for axis in (0, 1))
    index = y * (size + 2) + x
    colors = skin.view(np.uint32)[..., 0]
    nearest = int(np.searchsorted(angles(skin.shape[0]), np.arctan2(-np.sin(head.yaw) / 0.7, np.cos(head.yaw) / 0.9)))
    columns = slice(None, None, 1 if head.pitch < 0 else -1)
    flat = canvas.view(np.uint32).reshape(-1)
    for rows in (slice(0, nearest), slice(None, nearest - 1, -1)):
        flat[index[rows, columns].ravel()] = colors[rows, columns].ravel()


def mend(layer: np.ndarray) -> np.ndarray:
    """Fill the pinholes that dropping leaves where the skin is stretched, with the mean of what is around them."""
    layer = cv2.medianBlur(layer, 3)
    cover = layer[..., 3]
    holes = (cv2.morphologyEx(cover, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0) & (cover == 0)
    if holes.any():
        around = cv2.blur(layer, (5, 5))[holes].astype(np.float32)
        layer[holes] = np.minimum(255 * around / np.maximum(around[:, 3:], 1), 255)
    return layer


def render(
    head: Head,
    size: int,
    rng: np.random.Generator,
    *,
    hard_light: bool = False,
    makeup: bool = False,
    blurred: bool = False,
    occluder: Occluder | None = None,
) -> np.ndarray:
    """The picture (size, size, 3) uint8 RGB of a head."""
    paint, light, side = mix(rng, makeup), Light(rng, hard_light), SUPERSAMPLING * size
    canvas = cv2.cvtColor(background(side, rng), cv2.COLOR_RGB2RGBA)
    paint_behind(canvas, head, paint, light, rng)
    skin = paint_face(head, head.scale * side, paint, makeup, rng)
    position, tint = surface(head, paint, rng)
    brightness = cv2.resize(shade(position, tint, light, rng), skin.shape[1::-1])
    layer = np.zeros((side + 2, side + 2, 4), np.uint8)
    drop(layer, head, position, cv2.multiply(skin, brightness, scale=1 / 128))
    layer = mend(layer)[1:-1, 1:-1]
    cv2.copyTo(layer, cv2.extractChannel(layer, 3), canvas)
    if occluder:
        paint_occluder(canvas, occluder, light, rng)
    picture = cv2.cvtColor(cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA), cv2.COLOR_RGBA2RGB)
    picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(1.3, 2.4) if blurred else rng.uniform(0.3, 0.6))
    grain = np.frombuffer(rng.bytes(picture.size), np.uint8).reshape(picture.shape) & 7
    return cv2.subtract(cv2.add(picture, grain), np.full_like(picture, 3))
