"""Wing for coordinates, Adaptive Wing for heatmaps."""

from torch import Tensor

from wingmark.losses import functional
from wingmark.losses.loss import LandmarkLoss, Reduction, check_positive


class WingLoss(LandmarkLoss):
    """Wing loss (Feng et al., CVPR 2018), for coordinates in pixels of the crop.

    w: pixels of the crop; below it the loss is logarithmic, from there on linear.
    epsilon: pixels of the crop; the smaller, the more small errors pull.
    The paper's 10 and 2 belong to a crop of 64 pixels.
    """

    expects = frozenset({"coordinates"})

    def __init__(self, w: float = 10.0, epsilon: float = 2.0, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        check_positive(w=w, epsilon=epsilon)
        self.w, self.epsilon = w, epsilon

    def value(self, prediction: Tensor, target: Tensor) -> Tensor:
        return functional.wing(prediction, target, self.w, self.epsilon)


class AdaptiveWingLoss(LandmarkLoss):
    """Adaptive Wing loss (Wang et al., ICCV 2019, eq. 3), for heatmaps with targets in [0, 1].

    Near the target it is steep where the target is 1 (the peak) and flat where it is 0 (the background).
    alpha: above 2, so that the exponent alpha - target stays above 1 and the gradient is 0 at no error.
    omega: scale of the loss.
    epsilon: heatmap value; the smaller, the more small errors pull.
    theta: heatmap value; from this difference on the loss is linear.
    """

    expects = frozenset({"heatmap"})

    def __init__(
        self,
        alpha: float = 2.1,
        omega: float = 14.0,
        epsilon: float = 1.0,
        theta: float = 0.5,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(reduction)
        check_positive(omega=omega, epsilon=epsilon, theta=theta)
        if not alpha > 2:
            raise ValueError(f"alpha must be above 2, the exponent alpha - target above 1, got {alpha}")
        self.alpha, self.omega, self.epsilon, self.theta = alpha, omega, epsilon, theta

    def value(self, prediction: Tensor, target: Tensor) -> Tensor:
        return functional.adaptive_wing(prediction, target, self.alpha, self.omega, self.epsilon, self.theta)
