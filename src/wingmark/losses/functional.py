"""Loss formulas: prediction and target of one shape to one number per coordinate or heatmap cell.

They compute in the dtype they are given. The classes of this package add float32, weights and reduction.
Throughout, d is the absolute difference of prediction and target.
"""

import math

import torch
from torch import Tensor


def l1(prediction: Tensor, target: Tensor) -> Tensor:
    """d."""
    return (prediction - target).abs()


def l2(prediction: Tensor, target: Tensor) -> Tensor:
    """d^2 / 2, the L2 loss of the Wing paper (Feng et al., CVPR 2018)."""
    return (prediction - target).square() / 2


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """d^2."""
    return (prediction - target).square()


def smooth_l1(prediction: Tensor, target: Tensor) -> Tensor:
    """d^2 / 2 below d = 1, d - 1/2 from there on (Girshick, Fast R-CNN, ICCV 2015, eq. 3)."""
    d = (prediction - target).abs()
    return torch.where(d < 1, d.square() / 2, d - 0.5)


def wing(prediction: Tensor, target: Tensor, w: float = 10.0, epsilon: float = 2.0) -> Tensor:
    """w ln(1 + d / epsilon) below d = w, d - C from there on (Feng et al., CVPR 2018).

    For coordinates in pixels of the crop; `w` and `epsilon` are pixels of the crop too. Scaling coordinates, `w`
    and `epsilon` by s scales the loss by s.
    """
    d = (prediction - target).abs()
    c = w - w * math.log1p(w / epsilon)  # joins the two branches at d = w
    return torch.where(d < w, w * torch.log1p(d / epsilon), d - c)


def adaptive_wing(
    prediction: Tensor,
    target: Tensor,
    alpha: float = 2.1,
    omega: float = 14.0,
    epsilon: float = 1.0,
    theta: float = 0.5,
) -> Tensor:
    """omega ln(1 + (d / epsilon)^(alpha - y)) below d = theta, A d - C from there on (Wang et al., ICCV 2019, eq. 3).

    y is the target, a heatmap value; it is clamped to [0, 1], beyond which the gradient is not defined. A and C
    depend on y and make value and slope continuous at d = theta. The gradient is that in the prediction; the target is
    taken for a constant, and so is the gradient if it is differentiated again.
    """
    y = target.detach().clamp(0, 1)
    d = (prediction - y).abs()
    with torch.no_grad():
        power = alpha - y
        # Up to theta d itself; from there on theta, where the curve and its slope A stay as they are: one power serves
        # both branches. tiny keeps the logarithm finite at d = 0.
        curved = d.clamp(torch.finfo(d.dtype).tiny, theta)
        q = torch.exp(power * torch.log(curved / epsilon))
        slope = omega * power * q / ((1 + q) * curved)
        value = omega * torch.log1p(q) + slope * (d - theta).clamp(min=0)
    # The slope is the derivative on both branches: add a 0 that has it, instead of following the chain rule.
    return value + slope * (d - d.detach())
