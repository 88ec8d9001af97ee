"""A sheet of training crops as the network gets them: it shows augmentation that goes too far, or landmarks astray."""

from pathlib import Path

import cv2
import numpy as np

from wingmark.data.dataset import FaceDataset
from wingmark.evaluation.pictures import draw_landmarks, write_picture
from wingmark.geometry import cells_to_pixels
from wingmark.types import Sample

TILE = 160
FACES, EPOCHS = 4, 6
# Of two landmarks that a mirror swaps, the first one in the schema and the second; and those that it leaves.
COLORS = {"first of a pair": (90, 230, 90), "second": (255, 110, 40), "middle": (235, 200, 40)}


def draw_augmentations(path: Path, dataset: FaceDataset) -> None:
    """A few training faces, one per row: first the plain crop, then the crops of the first epochs.

    The two sides have their own colors, which must stay on their side of the picture when a face is mirrored: a
    schema with a wrong mirror shows up here.
    """
    plain = FaceDataset(dataset.regions, dataset.schema)
    rows = []
    for index in np.unique(np.linspace(0, len(dataset) - 1, FACES).round().astype(int)).tolist():
        samples = [plain[index], *(dataset[index, epoch] for epoch in range(EPOCHS))]
        rows.append(np.hstack([_tile(sample, dataset) for sample in samples]))
    sheet = np.vstack(rows)
    write_picture(path, np.vstack([_legend(sheet.shape[1]), sheet]))


def _tile(sample: Sample, dataset: FaceDataset) -> np.ndarray:
    tile = cv2.resize(sample.image.numpy().transpose(1, 2, 0), (TILE, TILE), interpolation=cv2.INTER_AREA)
    landmarks = cells_to_pixels(sample.landmarks_crop.numpy(), TILE / dataset.crop_size)
    own, mirrored = np.arange(dataset.schema.num_landmarks), dataset.schema.flip
    for group, color in zip((own < mirrored, own > mirrored, own == mirrored), COLORS.values(), strict=True):
        draw_landmarks(tile, landmarks, sample.valid.numpy() & group, dataset.schema, color)
    return cv2.copyMakeBorder(tile, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(255, 255, 255))


def _legend(width: int) -> np.ndarray:
    legend = np.full((28, width, 3), 255, np.uint8)
    texts = {f"training crops: not augmented, then as in epochs 0 to {EPOCHS - 1}": (40, 40, 40), **COLORS}
    x = 8
    for text, color in texts.items():
        cv2.putText(legend, text, (x, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.45, color, 1, cv2.LINE_AA)
        x += cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)[0][0] + 24
    return legend
