"""L1, L2, smooth L1 and mean squared error, for coordinates and heatmaps alike."""

from torch import Tensor

from wingmark.losses import functional
from wingmark.losses.loss import LandmarkLoss


class L1Loss(LandmarkLoss):
    """Absolute difference."""

    expects = frozenset({"coordinates", "heatmap"})

    def value(self, prediction: Tensor, target: Tensor) -> Tensor:
        return functional.l1(prediction, target)


class L2Loss(LandmarkLoss):
    """Half the squared difference, as the Wing paper writes it; `MSELoss` is twice that."""

    expects = frozenset({"coordinates", "heatmap"})

    def value(self, prediction: Tensor, target: Tensor) -> Tensor:
        return functional.l2(prediction, target)


class MSELoss(LandmarkLoss):
    """Squared difference, the common heatmap loss."""

    expects = frozenset({"coordinates", "heatmap"})

    def value(self, prediction: Tensor, target: Tensor) -> Tensor:
        return functional.mse(prediction, target)


class SmoothL1Loss(LandmarkLoss):
    """Quadratic below a difference of 1, linear above: 1 pixel of the crop for coordinates.

    Values of a heatmap hardly ever differ by more than 1, so that there it is `L2Loss`.
    """

    expects = frozenset({"coordinates", "heatmap"})

    def value(self, prediction: Tensor, target: Tensor) -> Tensor:
        return functional.smooth_l1(prediction, target)
