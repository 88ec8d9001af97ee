"""Frames and the maps between them: the only module that converts coordinates.

Points are (x, y) in pixels with the pixel center at the integer. A map is a 2x3 matrix [A | t] that takes a
point p of its source frame to A p + t; `apply` works on numpy arrays and torch tensors alike.
"""

import cv2
import numpy as np

from wingmark.types import Box


def tight_box(landmarks: np.ndarray) -> Box:
    """The smallest upright box around points (N, 2). It is made from the answer: name it where it is used."""
    return Box.from_corners(*landmarks.min(0).tolist(), *landmarks.max(0).tolist())


def crop_to_image(
    box: Box,
    size: int,
    margin: float = 1.0,
    *,
    rotation: float = 0.0,
    scale: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
    flip: bool = False,
) -> np.ndarray:
    """The map (2, 3) from pixels of a square crop of `size` pixels to pixels of the image.

    The crop is the square around the box whose side is its longer side times `margin` times `scale`, turned by
    the box's roll plus `rotation` degrees (clockwise on screen), and moved by `shift`, a fraction of its side
    along image x and y. With `flip` the crop shows the mirrored face; renaming landmarks is the caller's part.
    Raises ValueError where the box has no area.
    """
    if not (box.width > 0 and box.height > 0 and np.isfinite([box.x, box.y, box.width, box.height, box.roll]).all()):
        raise ValueError(f"a face box needs finite numbers and positive sides, got {box}")
    side = max(box.width, box.height) * margin * scale
    angle = np.deg2rad(box.roll + rotation)
    step = side / size
    a = step * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if flip:
        a = a @ np.diag([-1.0, 1.0])
    crop_center = np.full(2, (size - 1) / 2)
    image_center = np.array([box.x, box.y]) + side * np.asarray(shift)
    return np.column_stack([a, image_center - a @ crop_center])


def apply(matrix, points):
    """Map points (..., N, 2) by matrices (..., 2, 3); numpy with numpy, torch with torch (batched alike).

    Written without `@`, which mixed precision would compute in half floats: half a pixel off.
    """
    return (matrix[..., None, :, :2] * points[..., None, :]).sum(-1) + matrix[..., None, :, 2]


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The map that applies `inner` first and `outer` second."""
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]])


def invert(matrix: np.ndarray) -> np.ndarray:
    """The map back. Raises numpy.linalg.LinAlgError where the matrix flattens the plane."""
    a = np.linalg.inv(matrix[:, :2])
    return np.column_stack([a, -a @ matrix[:, 2]])


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


def warp(image: np.ndarray, crop_to_source: np.ndarray, size: int) -> np.ndarray:
    """Cut a square crop (size, size, C) out of an image by its map, bilinear, black outside.

    Where the map steps more than two pixels the image is averaged in blocks first: bilinear sampling alone would
    skip pixels and alias.
    """
    step = np.sqrt(abs(np.linalg.det(crop_to_source[:, :2])))
    factor = int(np.ceil(step / 2))
    if factor > 1:
        image, shrunk_to_source = shrink(image, factor)
        crop_to_source = compose(invert(shrunk_to_source), crop_to_source)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, crop_to_source, (size, size), flags=flags, borderMode=cv2.BORDER_CONSTANT)


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
