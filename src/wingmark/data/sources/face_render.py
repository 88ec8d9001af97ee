"""Pictures of `face_model` heads, with numpy and OpenCV.

The painted skin (`face_paint`) is shaded on a grid of the head's two angles and dropped point by point into a canvas
larger than the picture, far points first. Simple outlines make what is behind and before the face (`face_scene`).
"""

import cv2
import numpy as np

from wingmark.data.sources.face_camera import photograph
from wingmark.data.sources.face_cover import Occluder, paint_glasses, paint_occluder
from wingmark.data.sources.face_hair import hairline, paint_locks
from wingmark.data.sources.face_light import Light
from wingmark.data.sources.face_model import Head, curves, half_width, height, place, relief, rotate
from wingmark.data.sources.face_paint import AROUND, GRID, complexion, paint_face
from wingmark.data.sources.face_person import Paint
from wingmark.data.sources.face_scene import background, paint_behind
from wingmark.geometry import fractions_to_pixels

SUPERSAMPLING = 1.3


def surface(head: Head, paint: Paint, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Camera positions (*GRID, 3) of the relief on a grid of angles, hair included, and the tint (*GRID, 3) there."""
    around = np.linspace(-np.pi / 2, np.pi / 2, GRID[0], dtype=np.float32)[:, None]
    down = np.pi * (np.arange(GRID[1], dtype=np.float32)[None] + 0.5) / GRID[1] - np.pi / 2
    y = (height(head, down) * np.sin(down)).astype(np.float32)
    x = half_width(head, y) * np.sin(around)
    right = x[: GRID[0] // 2]  # the bare head is the same on both sides
    z, tint = relief(head, right, y), complexion(head, paint, right, y)
    z, tint = np.concatenate([z, z[::-1]]), np.concatenate([tint, tint[::-1]])
    lumps = cv2.resize(rng.normal(1, 0.15, (8, 8)).astype(np.float32), GRID[::-1], interpolation=cv2.INTER_LINEAR)
    grown = 1 + paint.volume * lumps * np.clip((hairline(np.sin(around), paint) - y) / 0.15, 0, 1)
    position = np.dstack(rotate(head, x * grown, y * grown, z * grown)).astype(np.float32)
    return position, tint


def shade(position: np.ndarray, tint: np.ndarray, light: Light, rng: np.random.Generator) -> np.ndarray:
    """Brightness (*GRID, 4) uint8 of the surface, 128 for the bare color: diffuse, gloss, darker hollows."""
    ax, ay, az = cv2.split(cv2.Sobel(position, -1, 0, 1, ksize=1, borderType=cv2.BORDER_REPLICATE))
    bx, by, bz = cv2.split(cv2.Sobel(position, -1, 1, 0, ksize=1, borderType=cv2.BORDER_REPLICATE))
    nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx  # across both directions of the grid
    length = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9

    def facing(direction):
        return (nx * direction[0] + ny * direction[1] + nz * direction[2]) / length

    lit = np.maximum((facing(light.direction) + 0.15) / 1.15, 0)
    lit = lit * (1 - light.shadow * cast_shadow(position, light.direction))
    halfway = light.direction + (0, 0, 1)
    gloss = np.maximum(facing((halfway / np.linalg.norm(halfway)).astype(np.float32)), 0) ** 24
    z = position[..., 2]
    hollow = 8 * np.clip(cv2.GaussianBlur(z, (0, 0), 2.5) - z, 0, 0.05)
    ambient = light.ambient * (1 - light.below * ny / length)
    bright = (ambient + light.diffuse * lit + light.fill * np.maximum(facing(light.back), 0)) * (1 - hollow)
    bright = bright + light.gloss * light.diffuse * gloss
    bright = bright * (1 + 0.012 * rng.standard_normal(GRID, np.float32))
    colored = 128 * tint * light.color * np.stack([bright**0.94, bright, bright**1.06], -1)
    return np.dstack([np.clip(colored, 0, 255), np.full(GRID, 128)]).astype(np.uint8)


def cast_shadow(position: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """How much (*GRID,), 0 to 1, each point is in the shadow of others: a depth map seen from the light decides."""
    across = np.cross(direction, (0, 1, 0)).astype(np.float32)
    across /= np.linalg.norm(across)
    axes = np.stack([across, np.cross(direction, across).astype(np.float32), direction])
    u, v, near = (position.reshape(-1, 3) @ axes.T).T
    cells = np.clip((48 + 24 * u).astype(np.int32), 0, 95) * 96 + np.clip((48 + 24 * v).astype(np.int32), 0, 95)
    nearest = np.full(96 * 96, -9, np.float32)
    np.maximum.at(nearest, cells, near)
    hidden = (nearest[cells] - near > 0.12).astype(np.float32).reshape(GRID)
    return cv2.blur(hidden, (5, 5))


def drop(canvas: np.ndarray, head: Head, position: np.ndarray, skin: np.ndarray) -> None:
    """Write the skin's texels into a canvas (S + 2, S + 2, 4) whose border takes what falls outside.

    A point can only be hidden by points whose angle around the head is nearer to the viewer's, and at the same angle
    by points at the end of the head that leans to the viewer: painting in that order needs no depth buffer.
    """
    size = canvas.shape[0] - 2
    placed = np.clip(fractions_to_pixels(place(head, *cv2.split(position)), size), -1, size) + 1
    x, y = (cv2.resize(placed[..., axis] + np.float32(0.5), skin.shape[1::-1]).astype(np.int32) for axis in (0, 1))
    index = y.astype(np.intp) * (size + 2) + x
    colors = skin.view(np.uint32)[..., 0]
    viewer = np.arctan2(-np.sin(head.yaw) / 0.7, np.cos(head.yaw) / 0.9)
    nearest = round(fractions_to_pixels(viewer / AROUND, skin.shape[0]))
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


def lay_over(canvas: np.ndarray, layer: np.ndarray) -> None:
    """Put a layer over the canvas. Dropping widened it by half a pixel, so its rim is made half transparent."""
    cover = cv2.extractChannel(layer, 3)
    near = cv2.blur(cover, (3, 3))
    rim = (cover > 0) & (near < 255)
    behind = canvas[rim].astype(np.float32)
    weight = np.maximum(near[rim, None] / np.float32(170) - 0.5, 0)  # 1 inside, half beside a straight edge
    cv2.copyTo(layer, cover, canvas)
    canvas[rim] = behind + weight * (layer[rim] - behind)


def render(
    head: Head,
    size: int,
    paint: Paint,
    rng: np.random.Generator,
    *,
    hard_light: bool = False,
    blurred: bool = False,
    occluder: Occluder | None = None,
) -> np.ndarray:
    """The picture (size, size, 3) uint8 RGB of a head."""
    light, side = Light(rng, hard_light, paint.skin), round(SUPERSAMPLING * size)
    canvas = cv2.cvtColor(background(side, rng), cv2.COLOR_RGB2RGBA)
    drawn = curves(head)
    paint_behind(canvas, head, drawn["jaw"], paint, light, rng)
    skin = paint_face(head, drawn, head.scale * side, paint, rng)
    position, tint = surface(head, paint, rng)
    brightness = cv2.resize(shade(position, tint, light, rng), skin.shape[1::-1])
    layer = np.zeros((side + 2, side + 2, 4), np.uint8)
    drop(layer, head, position, cv2.multiply(skin, brightness, scale=1 / 128))
    lay_over(canvas, mend(layer)[1:-1, 1:-1])
    if paint.glasses and not (occluder and occluder.kind == "sunglasses"):
        paint_glasses(canvas, head, light, rng)
    if paint.style.front:
        paint_locks(canvas, head, paint, light, rng)
    if occluder:
        paint_occluder(canvas, occluder, paint.skin, light, rng)
    picture = cv2.cvtColor(cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA), cv2.COLOR_RGBA2RGB)
    return photograph(picture, rng, blurred)
