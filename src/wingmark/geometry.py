"""Frames and the maps between them: the only module that converts coordinates.

Points are (x, y) in pixels with the pixel center at the integer. A map is a 2x3 matrix [A | t] that takes a
point p of its source frame to A p + t; `apply`, `compose`, `invert` and `warp` work on numpy arrays and torch tensors
alike.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from wingmark.types import Box

MAX_HALVINGS = 5  # of images as tensors before a crop is cut out: enough for faces 60 times as large as the crop


def tight_box(landmarks: np.ndarray) -> Box:
    """The smallest upright box around points (N, 2). It is made from the answer: name it where it is used."""
    return Box.from_corners(*landmarks.min(0).tolist(), *landmarks.max(0).tolist())


def outwards(box: Box) -> Box:
    """The upright box with its corners moved outwards to whole pixels. ValueError for a box with roll."""
    if box.roll:
        raise ValueError(f"only upright boxes have corners to move outwards, got {box}")
    half = np.array([box.width, box.height]) / 2
    low, high = np.floor([box.x, box.y] - half), np.ceil([box.x, box.y] + half)
    return Box.from_corners(*low.tolist(), *high.tolist())


def containing(box: Box, landmarks: np.ndarray) -> Box:
    """The crop of the published code of Adaptive Wing, which looks at the true landmarks (N, 2), if there are any.

    A square of 200 (width + height) / 250 of the box enlarged by 5 % is cut, 450 px wide; 250 shrinks in steps of 10
    until all landmarks lie within 10 to 440 px. The crop is its middle, 360 px wide, or all of it where a landmark
    lies outside 5 to 250 of the 256 px that the middle is resized to.
    """

    def places(side: float, size: int) -> np.ndarray:
        return apply(invert(crop_to_image(Box(box.x, box.y, side, side), size)), landmarks)

    for divisor in range(250, 0, -10):
        side = 200 * 1.05 * (box.width + box.height) / divisor
        seen = places(side, 450)
        if seen.min(initial=225) >= 10 and seen.max(initial=225) <= 440:
            break
    middle = places(0.8 * side, 256)
    side *= 0.8 if middle.min(initial=128) >= 5 and middle.max(initial=128) <= 250 else 1.0
    return Box(box.x, box.y, side, side)


def crop_to_image(
    box: Box,
    size: int,
    margin: float = 1.0,
    *,
    stretched: bool = False,
    rotation: float = 0.0,
    scale: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
    flip: bool = False,
) -> np.ndarray:
    """The map (2, 3) from pixels of a square crop of `size` pixels to pixels of the image.

    The crop is the square around the box whose side is its longer side times `margin` times `scale`; with `stretched`
    it is the box itself, so enlarged and resized to a square. It is turned by the box's roll plus `rotation` degrees
    (clockwise on screen), and moved by `shift`, a fraction of its sides along image x and y. With `flip` the
    crop shows the mirrored face; renaming landmarks is the caller's part. Raises ValueError where the box has no area.
    """
    if not (box.width > 0 and box.height > 0 and np.isfinite([box.x, box.y, box.width, box.height, box.roll]).all()):
        raise ValueError(f"a face box needs finite numbers and positive sides, got {box}")
    longer = max(box.width, box.height)
    sides = np.array([box.width, box.height] if stretched else [longer, longer]) * margin * scale
    angle = np.deg2rad(box.roll + rotation)
    a = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * sides / size
    if flip:
        a = a @ np.diag([-1.0, 1.0])
    crop_center = np.full(2, (size - 1) / 2)
    image_center = np.array([box.x, box.y]) + sides * np.asarray(shift)
    return np.column_stack([a, image_center - a @ crop_center])


def eye_level_boxes(landmarks: Tensor, eyes: Sequence[Sequence[int]]) -> Tensor:
    """The smallest boxes (..., 5) around landmarks (..., K, 2) that have the line between the eyes level.

    A box is its center, width, height and roll, as in `Box`. eyes: for each eye, image-left first, the landmarks whose
    mean it is. This is what a first stage of Wing (CVPR 2018) hands to its second: the box without in-plane rotation.
    """
    left, right = (landmarks[..., list(eye), :].mean(-2) for eye in eyes)
    between = right - left
    if torch.compiler.is_exporting():
        between = between.float()  # runtimes of exported models have no atan2 of float64
    roll = torch.atan2(between[..., 1], between[..., 0]).to(landmarks.dtype)
    level = apply(_turn(-roll), landmarks)
    low, high = level.amin(-2), level.amax(-2)
    center = apply(_turn(roll), (low + high)[..., None, :] / 2)[..., 0, :]
    return torch.cat([center, high - low, torch.rad2deg(roll)[..., None]], -1)


def crops_to_image(boxes: Tensor, size: int, margin: float) -> Tensor:
    """`crop_to_image` for boxes (..., 5) of `eye_level_boxes`: maps (..., 2, 3)."""
    side = boxes[..., 2:4].amax(-1) * margin
    turn = _turn(torch.deg2rad(boxes[..., 4]))[..., :2] * (side / size)[..., None, None]
    crop_center = boxes.new_full((2, 1), (size - 1) / 2)
    return torch.cat([turn, boxes[..., :2, None] - turn @ crop_center], -1)


def sixteenths(lengths):
    """Lengths or angles (...) rounded to 1/16, for boxes made of landmarks that a network found.

    Batches, threads and runtimes differ in the last bits of these: without, gray levels of the crop would change too.
    """
    return (lengths * 16).round() / 16


def _turn(angle: Tensor) -> Tensor:
    """The maps (..., 2, 3) that turn by angles (...) in radians, clockwise on screen, around the origin."""
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return torch.stack([cos, -sin, zero, sin, cos, zero], -1).unflatten(-1, (2, 3))


def apply(matrix, points):
    """Map points (..., N, 2) by matrices (..., 2, 3); numpy with numpy, torch with torch (batched alike).

    Written without `@`, which mixed precision would compute in half floats: half a pixel off.
    """
    return (matrix[..., None, :, :2] * points[..., None, :]).sum(-1) + matrix[..., None, :, 2]


def pixel_sides(maps):
    """How long the side of a pixel becomes by maps (..., 2, 3): (...). Where they stretch, the geometric mean."""
    return abs(maps[..., 0, 0] * maps[..., 1, 1] - maps[..., 0, 1] * maps[..., 1, 0]) ** 0.5


def map_lengths(maps: Tensor, lengths: Tensor | None) -> Tensor | None:
    """Lengths (B, K) in pixels, if there are any, in the pixels that maps (B, 2, 3) lead to, as float32."""
    return None if lengths is None else (pixel_sides(maps)[:, None] * lengths).float()


def compose(outer, inner):
    """The maps (..., 2, 3) that apply `inner` first and `outer` second. float64: mixed precision leaves it alone."""
    join = np.concatenate if isinstance(outer, np.ndarray) else torch.cat
    a = outer[..., :2]
    return join([a @ inner[..., :2], a @ inner[..., 2:] + outer[..., 2:]], -1)


def invert(matrix):
    """The maps (..., 2, 3) back, float64. Raises LinAlgError of numpy or torch where a matrix flattens the plane."""
    library = np if isinstance(matrix, np.ndarray) else torch
    a = library.linalg.inv(matrix[..., :2])
    return library.concatenate([a, -a @ matrix[..., 2:]], -1)


def procrustes(shapes: np.ndarray, reference: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The maps (N, 2, 3) by turn, scale and shift, never by a mirror, that bring each shape closest to a reference.

    shapes (N, K, 2) and reference (K, 2) are compared at the landmarks of `valid` (N, K), by least squares. Raises
    ValueError for a shape without two valid landmarks in different places.
    """
    # As complex numbers, a turn and a scale are one factor.
    weight = valid / np.maximum(valid.sum(1, keepdims=True), 1)
    points, goal = (np.where(valid, p[..., 0] + 1j * p[..., 1], 0) for p in (shapes, reference))
    center, goal_center = ((weight * p).sum(1, keepdims=True) for p in (points, goal))
    spread = (weight * abs(points - center) ** 2).sum(1)
    if not (spread > 0).all():
        row = np.flatnonzero(~(spread > 0))[0]
        raise ValueError(f"shape {row}, counted from 0, has no two valid landmarks in different places to align it by")
    factor = (weight * (points - center).conj() * (goal - goal_center)).sum(1) / spread
    shift = goal_center[:, 0] - factor * center[:, 0]
    rows = [factor.real, -factor.imag, shift.real, factor.imag, factor.real, shift.imag]
    return np.stack(rows, axis=1).reshape(-1, 2, 3)


def shrink(image: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Average `factor` x `factor` blocks of an image (H, W, C): the shrunk image and its map to the original.

    Rows and columns that do not fill a block are repeated from the border first, so nothing is cut off.
    """
    if factor > 1:
        height, width = image.shape[:2]
        image = cv2.copyMakeBorder(image, 0, -height % factor, 0, -width % factor, cv2.BORDER_REPLICATE)
        size = (image.shape[1] // factor, image.shape[0] // factor)
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    offset = (factor - 1) / 2
    return image, np.array([[factor, 0.0, offset], [0.0, factor, offset]])


def reduction(step: float) -> int:
    """How many pixels to average, in x and in y, before sampling every `step` pixels: a power of two, at most `step`.

    Bilinear sampling alone would skip pixels and alias.
    """
    return 2 ** int(np.log2(max(step, 1)))


def warp(image, crop_to_source, size: int):
    """Cut a square crop (size, size, C) out of an image by its map, bilinear, black outside.

    With tensors, crops (B, C, size, size) uint8 out of images (B, C, H, W) uint8 by maps (B, 2, 3) float64, on their
    device; this one can be exported. Both agree within one gray level.

    The image is averaged in blocks first, see `reduction`.
    """
    if isinstance(image, Tensor):
        return _warp_batch(image, crop_to_source, size)
    factor = reduction(pixel_sides(crop_to_source))
    if factor > 1:
        image, shrunk_to_source = shrink(image, factor)
        crop_to_source = compose(invert(shrunk_to_source), crop_to_source)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, crop_to_source, (size, size), flags=flags, borderMode=cv2.BORDER_CONSTANT)


def _warp_batch(images: Tensor, crop_to_source: Tensor, size: int) -> Tensor:
    """`warp` for tensors. Each crop is cut by its own factor: it does not depend on the others of the batch.

    In float64 throughout, so that it is the same wherever it runs: one gray level in one pixel can move a landmark by
    a few hundredths of a pixel.
    """
    halvings = torch.arange(1, MAX_HALVINGS + 1, device=images.device)
    level = (pixel_sides(crop_to_source)[:, None] >= 2**halvings).sum(1)
    # What is exported cannot know which levels will be asked for.
    highest = MAX_HALVINGS if torch.compiler.is_exporting() else int(level.max())
    pyramid = [_averaged(images, 2**n) for n in range(highest + 1)]
    pixels = torch.cat([picture.flatten(2) for picture in pyramid], 2)  # (B, C, N)
    whole = {"dtype": torch.int64, "device": images.device}
    height, width = (
        torch.cat([torch.full((1,), picture.shape[axis], **whole) for picture in pyramid]) for axis in (2, 3)
    )
    start = (height * width).cumsum(0) - height * width
    height, width, start = (of_level[level][:, None] for of_level in (height, width, start))
    place = torch.arange(size, dtype=torch.float64, device=images.device)
    grid = torch.stack(torch.meshgrid(place, place, indexing="xy"), -1).flatten(0, 1)
    x, y = pixels_to_cells(apply(crop_to_source, grid), 2.0 ** level[:, None, None]).unbind(-1)
    left, above = x.floor(), y.floor()
    crops = pixels.new_zeros(*images.shape[:2], size**2, dtype=torch.float64)
    for column, beside in ((left, left + 1 - x), (left + 1, x - left)):
        for row, over in ((above, above + 1 - y), (above + 1, y - above)):
            known = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            index = start + (row * width + column).where(known, 0).long()
            weight = (beside * over).where(known, 0)
            crops += weight[:, None] * pixels.gather(2, index[:, None].expand(-1, pixels.shape[1], -1))
    return crops.round().to(torch.uint8).unflatten(2, (size, size))


def _averaged(images: Tensor, factor: int) -> Tensor:
    """`shrink` for images (B, C, H, W) uint8."""
    if factor == 1:
        return images
    height, width = images.shape[2:]
    with torch.autocast(images.device.type, enabled=False):
        padded = F.pad(images.float(), (0, -width % factor, 0, -height % factor), mode="replicate")
        return (F.avg_pool2d(padded, factor) + 0.5).floor().to(torch.uint8)  # rounded where OpenCV rounds


def cells_to_pixels(cells, stride: float):
    """Coordinates on a map whose cells are `stride` pixels wide, as pixels of the crop."""
    return (cells + 0.5) * stride - 0.5


def pixels_to_cells(pixels, stride: float):
    """Pixels of the crop as coordinates on a map whose cells are `stride` pixels wide."""
    return (pixels + 0.5) / stride - 0.5


def fractions_to_pixels(fractions, size: int):
    """Positions counted from the middle of the crop in crop sides (-0.5 to 0.5 inside), as pixels of the crop."""
    return (fractions + 0.5) * size - 0.5


def inside(points, width: int, height: int):
    """Which points (..., 2) lie on the picture, [-0.5, width - 0.5] x [-0.5, height - 0.5]."""
    x, y = points[..., 0], points[..., 1]
    return (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
