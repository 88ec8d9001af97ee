"""NME, failure rate, AUC and CED. They hold the same rows, so that a MetricCollection may keep one copy for all."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from wingmark.metrics import functional
from wingmark.metrics.face_metric import FaceMetric


class ErrorMetric(FaceMetric):
    """Collects the errors of faces; a subclass computes from them."""

    # error (N,K) is NaN where the landmark is not valid.
    columns: ClassVar = {"index": (torch.int64, 1), "error": (torch.float64, 2), "normalizer": (torch.float64, 1)}

    def update(
        self,
        prediction: Tensor,
        target: Tensor,
        normalizer: Tensor,
        index: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> None:
        """Add faces: prediction and target (B,K,2) and normalizer (B,) in pixels of the image, valid (B,K) bool.

        index (B,): the position of each face in its split. A repeated face counts once, its first time. Without
        index, faces are numbered by arrival; under more than one process that is refused. Raises ValueError like
        `functional.face_errors`.
        """
        error = functional.face_errors(prediction, target, normalizer, valid, index)
        self._append(index, error=error, normalizer=normalizer)

    def _errors(self) -> tuple[Tensor, Tensor]:
        """Index (N,) and errors (N,K) of all faces, sorted, each face once.

        A face that is evaluated again gets slightly other predictions where the batch is another, but its normalizer
        comes from the annotation: two normalizers under one index are two faces.
        """
        rows, first = self._rows()
        index, normalizer = rows["index"], rows["normalizer"]
        differs = ~first[1:] & ~torch.isclose(normalizer[1:], normalizer[:-1], rtol=1e-6, atol=0)
        if differs.any():
            raise ValueError(
                f"index {index[1:][differs].unique().tolist()} came with more than one normalizer, so it stands for "
                "more than one face; an index must be the position of the face in the whole split"
            )
        return index[first], rows["error"][first]

    def _face_nmes(self) -> Tensor:
        return functional.face_nme(self._errors()[1])


class ThresholdMetric(ErrorMetric):
    """An error metric with a threshold, a fraction of the normalizer such as 0.08."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        if not threshold > 0:
            raise ValueError(f"threshold must be positive, a fraction of the normalizer such as 0.08, got {threshold}")
        self.threshold = threshold


class NormalizedMeanError(ErrorMetric):
    """NME: the mean over faces of the mean error over valid landmarks, a fraction of the normalizer."""

    higher_is_better = False

    def compute(self) -> Tensor:
        return functional.nme(self._face_nmes())


class FailureRate(ThresholdMetric):
    """FR@t: the share of faces with NME strictly above the threshold."""

    higher_is_better = False

    def compute(self) -> Tensor:
        return functional.failure_rate(self._face_nmes(), self.threshold)


class CEDAUC(ThresholdMetric):
    """AUC@t: the area under the CED up to the threshold, over the threshold, exact."""

    higher_is_better = True

    def compute(self) -> Tensor:
        return functional.auc(self._face_nmes(), self.threshold)


class CumulativeErrorDistribution(ErrorMetric):
    """CED: sorted NMEs (N,) and the share of faces up to each (N,), for plots and tables."""

    def compute(self) -> tuple[np.ndarray, np.ndarray]:
        """Arrays, since torchmetrics makes scalars of tensors with one element, which one face gives."""
        errors, shares = functional.ced(self._face_nmes())
        return errors.cpu().numpy(), shares.cpu().numpy()


class FaceErrors(ErrorMetric):
    """The table behind the other metrics: index (N,) and errors (N,K), NaN where a landmark is not valid."""

    def compute(self) -> tuple[np.ndarray, np.ndarray]:
        """Arrays, since torchmetrics makes scalars of tensors with one element, which one face gives."""
        index, errors = self._errors()
        return index.cpu().numpy(), errors.cpu().numpy()
