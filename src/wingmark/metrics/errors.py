"""NME, failure rate, AUC and CED. They hold the same rows, so that a MetricCollection may keep one copy for all."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
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
        index, faces are numbered by arrival and each counts, which torchmetrics' BootStrapper needs; under more than
        one process that is refused. Raises ValueError like `functional.face_errors`.
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

    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def __init__(self, threshold: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not threshold > 0:
            raise ValueError(f"threshold must be positive, a fraction of the normalizer such as 0.08, got {threshold}")
        self.threshold = threshold

    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Axes | None = None) -> tuple[Figure, Axes]:
        """Draw a value, or a series of them, or what `compute` gives."""
        return self._plot(val, ax)


class NormalizedMeanError(ErrorMetric):
    """NME: the mean over faces of the mean error over valid landmarks, a fraction of the normalizer."""

    higher_is_better = False
    plot_lower_bound = 0.0

    def compute(self) -> Tensor:
        return functional.nme(self._face_nmes())

    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Axes | None = None) -> tuple[Figure, Axes]:
        """Draw a value, or a series of them, or what `compute` gives."""
        return self._plot(val, ax)


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

    def plot(self, val: tuple[np.ndarray, np.ndarray] | None = None, ax: Axes | None = None) -> tuple[Figure, Axes]:
        """Draw the CED, `val` or what `compute` gives, as steps: the share of faces (y) with an NME up to x, in %."""
        from matplotlib import pyplot  # only now: whoever draws nothing does without its windows

        errors, shares = self.compute() if val is None else val
        figure, axes = pyplot.subplots() if ax is None else (ax.figure, ax)
        # The line begins at the origin and ends a little after the last step, which would hide in the frame.
        x, y = [0, *errors, 1.05 * errors[-1]], [0, *shares, 1]
        axes.step(100 * np.array(x), 100 * np.array(y), where="post")
        axes.set(xlabel="NME [%]", ylabel="faces [%]", ylim=(0, 102))
        axes.margins(x=0)
        axes.grid(alpha=0.3)
        return figure, axes


class FaceErrors(ErrorMetric):
    """The table behind the other metrics: index (N,) and errors (N,K), NaN where a landmark is not valid."""

    def compute(self) -> tuple[np.ndarray, np.ndarray]:
        """Arrays, since torchmetrics makes scalars of tensors with one element, which one face gives."""
        index, errors = self._errors()
        return index.cpu().numpy(), errors.cpu().numpy()
