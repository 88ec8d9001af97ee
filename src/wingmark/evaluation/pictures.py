"""Pictures of a test: the CED curve and a sheet of predicted against true landmarks."""

from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from wingmark.data.dataset import FaceDataset
from wingmark.evaluation.predictions import Predictions
from wingmark.files import whole_file
from wingmark.geometry import apply, compose, crop_to_image, invert, warp
from wingmark.protocol import Protocol
from wingmark.schema import LandmarkSchema

TILE = 192
TRUE_COLOR, PREDICTED_COLOR = (90, 230, 90), (255, 110, 40)


def draw_ced(path: Path, nme_by_name: dict[str, np.ndarray], protocol: Protocol) -> None:
    """Cumulative error distributions: the share of faces (y) with an NME up to x, one curve per name."""
    figure = Figure(figsize=(6, 4.2), dpi=120, layout="constrained")
    axes = figure.subplots()
    limit = 100 * protocol.threshold
    for name, nme in nme_by_name.items():
        x = np.concatenate([[0.0], np.sort(nme) * 100, [np.inf]])
        y = np.concatenate([[0.0], np.arange(1, len(nme) + 1) / len(nme), [1.0]])
        axes.step(np.minimum(x, 10 * limit), 100 * y, where="post", label=f"{name} ({len(nme)} faces)")
    axes.set(xlim=(0, limit), ylim=(0, 100), xlabel="NME [%]", ylabel="faces [%]", title=protocol.name)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    with whole_file(path) as temporary:
        figure.savefig(temporary)


def draw_sheet(
    path: Path, dataset: FaceDataset, index: np.ndarray, predictions: Predictions, nme: np.ndarray, rows: int = 4
) -> None:
    """The worst faces in the upper half, faces evenly spread over the split below; true landmarks green.

    Predictions and NMEs belong to the faces of the data set at `index` (N,).
    """
    columns = 6
    worst = np.argsort(-nme)[: rows // 2 * columns]
    others = np.setdiff1d(np.arange(len(nme)), worst)
    spread = others[:: max(1, -(-len(others) // (rows * columns - len(worst))))]
    shown = [*worst, *spread]
    tiles = [_tile(dataset, index[i], predictions, i, f"{100 * nme[i]:.2f} %") for i in shown]
    blank = np.full((TILE, TILE, 3), 255, np.uint8)
    tiles += [blank] * (-len(tiles) % columns)
    sheet = np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])
    legend = np.full((28, sheet.shape[1], 3), 255, np.uint8)
    text = f"worst faces first, then faces spread over the split | NME in percent | {dataset.protocol.name}"
    _write(legend, text, (8, 19), (40, 40, 40), 0.45)
    _write(legend, "true", (sheet.shape[1] - 150, 19), (30, 150, 30), 0.45)
    _write(legend, "predicted", (sheet.shape[1] - 100, 19), PREDICTED_COLOR, 0.45)
    with whole_file(path) as temporary:
        cv2.imwrite(str(temporary), np.vstack([legend, sheet])[..., ::-1])


def _tile(dataset: FaceDataset, index: int, predictions: Predictions, row: int, caption: str) -> np.ndarray:
    face, region = dataset.faces[index], dataset.regions[index]
    to_image = crop_to_image(dataset.protocol.crop_box(face), TILE, dataset.protocol.margin)
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
    image: np.ndarray, landmarks: np.ndarray, valid: np.ndarray, schema: LandmarkSchema, color: tuple[int, int, int]
) -> None:
    """Draw landmarks (K, 2) in pixels of `image` and their contours, in place."""
    bits = 4  # OpenCV takes fractions of a pixel as integers shifted by this many bits
    fixed = np.rint(np.nan_to_num(landmarks) * 2**bits).astype(np.int32)
    for contour in schema.contours.values():
        if valid[list(contour.indices)].all():
            line = fixed[list(contour.indices)].reshape(-1, 1, 2)
            cv2.polylines(image, [line], contour.closed, color, 1, cv2.LINE_AA, bits)
    for point in fixed[valid]:
        cv2.circle(image, point.tolist(), round(1.3 * 2**bits), color, -1, cv2.LINE_AA, bits)


def _write(image: np.ndarray, text: str, at: tuple[int, int], color: tuple[int, int, int], size: float) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, color, 1, cv2.LINE_AA)
