"""Predicted landmarks of a whole split, gathered like errors."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from wingmark.metrics.face_metric import FaceMetric


class FacePredictions(FaceMetric):
    """Index (N,), landmarks (N,K,2) in pixels of the image and scores (N,K) of all faces, sorted, each face once."""

    columns: ClassVar = {"index": (torch.int64, 1), "landmarks_image": (torch.float64, 3), "score": (torch.float32, 2)}

    def update(self, index: Tensor, landmarks_image: Tensor, score: Tensor | None = None) -> None:
        """Add faces, the fields of `types.Prediction`: (B,), (B,K,2), and (B,K) where the codec defines scores."""
        if landmarks_image.ndim != 3 or landmarks_image.shape[2] != 2:
            raise ValueError(f"landmarks_image must be (B,K,2), got {tuple(landmarks_image.shape)}")
        shape = landmarks_image.shape[:2]
        if score is None:
            score = landmarks_image.new_full(shape, torch.nan)
        elif score.shape != shape:
            raise ValueError(f"score must be {tuple(shape)} like the landmarks, got {tuple(score.shape)}")
        self._append(index, landmarks_image=landmarks_image, score=score)

    def compute(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Arrays, since torchmetrics makes scalars of tensors with one element; None for scores that no face has."""
        rows, first = self._rows()
        index, landmarks_image, score = (column[first].cpu().numpy() for column in rows.values())
        return index, landmarks_image, None if np.isnan(score).all() else score
