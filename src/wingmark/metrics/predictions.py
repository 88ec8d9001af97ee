"""Predicted landmarks of a whole split, and how sure the model was of them, gathered like errors."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from wingmark.metrics.face_metric import FaceMetric


class FacePredictions(FaceMetric):
    """The fields of `types.Prediction` for all faces, sorted by index, each face once."""

    columns: ClassVar = {
        "index": (torch.int64, 1),
        "landmarks_image": (torch.float64, 3),
        "score": (torch.float32, 2),
        "expected_error": (torch.float32, 2),
    }

    def update(
        self,
        index: Tensor,
        landmarks_image: Tensor,
        score: Tensor | None = None,
        expected_error: Tensor | None = None,
    ) -> None:
        """Add faces, the fields of `types.Prediction`: (B,), (B,K,2), and (B,K) twice where the model has them."""
        if landmarks_image.ndim != 3 or landmarks_image.shape[2] != 2:
            raise ValueError(f"landmarks_image must be (B,K,2), got {tuple(landmarks_image.shape)}")
        shape = landmarks_image.shape[:2]
        columns = {"score": score, "expected_error": expected_error}
        for name, column in columns.items():
            if column is None:
                columns[name] = landmarks_image.new_full(shape, torch.nan)
            elif column.shape != shape:
                raise ValueError(f"{name} must be {tuple(shape)} like the landmarks, got {tuple(column.shape)}")
        self._append(index, landmarks_image=landmarks_image, **columns)

    def compute(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Arrays, since torchmetrics makes scalars of tensors with one element; None for what no face has."""
        rows, first = self._rows()
        index, landmarks_image, *columns = (column[first].cpu().numpy() for column in rows.values())
        score, expected_error = (None if np.isnan(column).all() else column for column in columns)
        return index, landmarks_image, score, expected_error


class ScoredErrors(FaceMetric):
    """Scores and errors of all valid landmarks, those of each face once: what a model is calibrated on."""

    # error is NaN where the landmark is not valid.
    columns: ClassVar = {"index": (torch.int64, 1), "score": (torch.float32, 2), "error": (torch.float64, 2)}

    def update(self, index: Tensor, score: Tensor, error: Tensor, valid: Tensor) -> None:
        """Add faces: (B,), and (B,K) three times; errors in any unit."""
        self._append(index, score=score, error=error.masked_fill(~valid, torch.nan))

    def compute(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores (V,) and errors (V,), float64, face by face."""
        rows, first = self._rows()
        score, error = (rows[name][first].double().cpu().numpy() for name in ("score", "error"))
        valid = ~np.isnan(error)
        return score[valid], error[valid]
