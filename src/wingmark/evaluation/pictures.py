"""Pictures of faces: landmarks drawn on them, and a sheet of predicted against true ones."""

from pathlib import Path

import cv2
import numpy as np

from wingmark.data.dataset import FaceDataset
from wingmark.evaluation.predictions import Predictions
from wingmark.files import whole_file
from wingmark.geometry import apply, compose, invert, warp
from wingmark.schema import LandmarkSchema

TILE = 192
TRUE_COLOR, PREDICTED_COLOR = (90, 230, 90), (255, 110, 40)


def draw_sheet(path: Path, dataset: FaceDataset, index: np.ndarray, predictions: Predictions, nme: np.ndarray) -> None:
    """The worst faces in the upper half, random ones below; true landmarks green, predicted ones orange.

    Predictions and NMEs belong to the faces of the data set at `index` (N,).
    """
    columns, rows = 6, 4
    half = rows // 2 * columns
    worst = np.argsort(-nme, kind="stable")[:half]
    others = np.setdiff1d(np.arange(len(nme)), worst)
    drawn = np.sort(np.random.default_rng(0).permutation(others)[:half])
    tiles = [_tile(dataset, index[i], predictions, i, f"{100 * nme[i]:.2f} %") for i in (*worst, *drawn)]
    blank = np.full((TILE, TILE, 3), 255, np.uint8)
    tiles += [blank] * (-len(tiles) % columns)
    sheet = np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])
    legend = np.full((28, sheet.shape[1], 3), 255, np.uint8)
    text = f"the {len(worst)} worst faces, then {len(drawn)} random ones | NME in percent | {dataset.protocol.label}"
    _write(legend, text, (8, 19), (40, 40, 40), 0.45)
    _write(legend, "true", (sheet.shape[1] - 150, 19), (30, 150, 30), 0.45)
    _write(legend, "predicted", (sheet.shape[1] - 100, 19), PREDICTED_COLOR, 0.45)
    write_picture(path, np.vstack([legend, sheet]))


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Write a picture (H, W, 3) uint8 RGB in the format of its suffix. OSError where it cannot be written."""
    with whole_file(path) as temporary:
        temporary.write_bytes(cv2.imencode(path.suffix, pixels[..., ::-1])[1])  # OpenCV's writer tells no full disk


def _tile(dataset: FaceDataset, index: int, predictions: Predictions, row: int, caption: str) -> np.ndarray:
    face, region = dataset.faces[index], dataset.regions[index]
    to_image = dataset.protocol.crop_to_image(face, TILE)
    tile = warp(region.pixels, compose(invert(region.to_image), to_image), TILE)
    for points, color in (
        (predictions.target[row], TRUE_COLOR),
        (predictions.landmarks_image[row], PREDICTED_COLOR),
    ):
        draw_landmarks(tile, apply(invert(to_image), points), face.valid, dataset.schema, color)
    cv2.rectangle(tile, (0, TILE - 20), (62, TILE), (0, 0, 0), -1)
    _write(tile, caption, (6, TILE - 6), (255, 255, 255), 0.45)
    return tile


def draw_landmarks(
    image: np.ndarray,
    landmarks: np.ndarray,
    valid: np.ndarray,
    schema: LandmarkSchema,
    color: tuple[int, int, int],
    scale: float = 1.0,
) -> None:
    """Draw landmarks (K, 2) in pixels of `image` and their contours, in place; points and lines `scale` as large."""
    bits = 4  # OpenCV takes fractions of a pixel as integers shifted by this many bits
    fixed = np.rint(np.nan_to_num(landmarks) * 2**bits).astype(np.int32)
    for contour in schema.contours.values():
        if valid[list(contour.indices)].all():
            line = fixed[list(contour.indices)].reshape(-1, 1, 2)
            cv2.polylines(image, [line], contour.closed, color, max(1, round(scale)), cv2.LINE_AA, bits)
    for point in fixed[valid]:
        cv2.circle(image, point.tolist(), round(1.3 * scale * 2**bits), color, -1, cv2.LINE_AA, bits)


def _write(image: np.ndarray, text: str, at: tuple[int, int], color: tuple[int, int, int], size: float) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, color, 1, cv2.LINE_AA)
