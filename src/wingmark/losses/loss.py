"""What all losses share: precision, weights, reduction."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

Reduction = Literal["mean", "sum", "none"]


class LandmarkLoss(nn.Module, ABC):
    """Compares prediction and target, (B,K,2) coordinates in pixels of the crop or (B,M,H,W) heatmaps in [0, 1].

    A subclass gives the formula (`value`) and says what it is made for (`expects`). reduction: "mean" is
    sum(weight * value) / number of elements with weight > 0, and 0 where there are none; "sum" is
    sum(weight * value); "none" is weight * value.
    """

    expects: ClassVar[frozenset[Literal["coordinates", "heatmap"]]]

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__()
        if reduction not in get_args(Reduction):
            raise ValueError(f"reduction must be one of {', '.join(get_args(Reduction))}, got {reduction!r}")
        self.reduction = reduction

    @abstractmethod
    def value(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One number per coordinate or cell, in the shape of the inputs, 0 where they are equal."""

    def forward(self, prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss: a scalar, or the inputs' shape with reduction "none".

        weight, not negative: the inputs' shape with any axis 1, such as (B,K,1) and (B,K,1,1), or dense. Inputs with
        weight 0 may be anything, NaN included: they change neither value nor gradient. Computed in float32, or in
        float64 where an input is float64, also under autocast. Raises ValueError for shapes that do not fit.
        """
        self._check_shapes(prediction, target, weight)
        dtype = torch.promote_types(torch.promote_types(prediction.dtype, target.dtype), torch.float32)
        with torch.autocast(prediction.device.type, enabled=False):
            prediction, target = prediction.to(dtype), target.to(dtype)
            weight = prediction.new_ones(()) if weight is None else weight.to(dtype)
            # On the inputs: NaN times 0 is NaN, and behind a mask on the values it would still reach the gradient.
            unused = weight == 0
            value = weight * self.value(prediction.masked_fill(unused, 0), target.masked_fill(unused, 0))
            if self.reduction == "none":
                return value
            if self.reduction == "sum":
                return value.sum()
            return value.sum() / (weight > 0).expand_as(value).sum().clamp(min=1)

    @staticmethod
    def _check_shapes(prediction: Tensor, target: Tensor, weight: Tensor | None) -> None:
        if prediction.shape != target.shape:
            raise ValueError(
                f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} must have one shape; "
                "give the loss what the codec encodes"
            )
        if weight is None:
            return
        if weight.ndim != target.ndim or any(n not in (1, m) for n, m in zip(weight.shape, target.shape, strict=True)):
            raise ValueError(
                f"weight {tuple(weight.shape)} must have the axes of prediction and target {tuple(target.shape)}, "
                "each of the same length or 1; a mask (B,K) becomes (B,K,1) for coordinates, (B,K,1,1) for heatmaps"
            )


def check_positive(**settings: float) -> None:
    """Refuse settings of a loss that are not above 0."""
    for name, setting in settings.items():
        if not setting > 0:
            raise ValueError(f"{name} must be positive, got {setting}")
