"""What all losses share: precision, weights, reduction."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

Reduction = Literal["mean", "sum", "none"]


class LandmarkLoss(nn.Module, ABC):
    """Compares prediction and target, (B,K,2) coordinates in pixels of the crop or (B,M,H,W) heatmaps in [0, 1].

    A subclass gives the formula (`value`) and says what it is made for (`expects`). reduction: "mean" is
    sum(weight * value) / number of elements that count, and 0 where there are none; "sum" is sum(weight * value);
    "none" is weight * value.
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

    def forward(
        self, prediction: Tensor, target: Tensor, weight: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """The loss: a scalar, or the inputs' shape with reduction "none".

        weight, not negative: the inputs' shape with any axis 1, such as (B,K,1) and (B,K,1,1), or dense. mask, bool,
        likewise: what counts, by default where the weight is above 0. Inputs that do not count may be anything, NaN
        included: they change neither value nor gradient. Computed in float32, or in float64 where an input is float64,
        also under autocast. Raises ValueError for shapes that do not fit.
        """
        self._check_shapes(prediction, target, weight=weight, mask=mask)
        if mask is None:
            mask = prediction.new_ones([1] * prediction.ndim, dtype=torch.bool) if weight is None else weight > 0
        value = self.weighted(prediction, target, weight, mask)
        return value if self.reduction == "none" else self.reduce(value.sum(), self.count(mask, value))

    def weighted(self, prediction: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor) -> Tensor:
        """weight * value for each element, 0 where it does not count."""
        dtype = torch.promote_types(torch.promote_types(prediction.dtype, target.dtype), torch.float32)
        with torch.autocast(prediction.device.type, enabled=False):
            # On the inputs: NaN times 0 is NaN, and behind a mask on the values it would still reach the gradient.
            value = self.value(prediction.to(dtype).where(mask, 0), target.to(dtype).where(mask, 0))
            return value if weight is None else value * weight.to(dtype)

    @staticmethod
    def count(mask: Tensor, value: Tensor) -> Tensor:
        """How many elements of the value the mask lets count."""
        return mask.sum() * (value.numel() // max(mask.numel(), 1))

    def reduce(self, total: Tensor, count: Tensor) -> Tensor:
        """The scalar for a sum over elements of which so many count."""
        return total if self.reduction == "sum" else total / count.clamp(min=1)

    @staticmethod
    def _check_shapes(prediction: Tensor, target: Tensor, **factors: Tensor | None) -> None:
        if prediction.shape != target.shape:
            raise ValueError(
                f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} must have one shape; "
                "give the loss what the codec encodes"
            )
        for name, factor in factors.items():
            if factor is None:
                continue
            pairs = zip(factor.shape, target.shape, strict=False)
            if factor.ndim != target.ndim or any(n not in (1, m) for n, m in pairs):
                raise ValueError(
                    f"{name} {tuple(factor.shape)} must have the axes of prediction and target {tuple(target.shape)}, "
                    "each of the same length or 1; (B,K) becomes (B,K,1) for coordinates, (B,K,1,1) for heatmaps"
                )


def check_positive(**settings: float) -> None:
    """Refuse settings of a loss that are not above 0."""
    for name, setting in settings.items():
        if not setting > 0:
            raise ValueError(f"{name} must be positive, got {setting}")
