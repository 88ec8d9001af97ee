"""Loss maps: how much more the cells around a landmark or boundary count than the background."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LossMap(ABC):
    """Weights for the cells of a target, from 1 (background) to 1 + `weight`; 10 is the paper's (ICCV 2019, eq. 5)."""

    weight: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"{type(self).__name__}: weight must be a number from 0 on, got {self.weight}")

    @abstractmethod
    def __call__(self, target: Tensor, dilated: Tensor) -> Tensor:
        """Weights in the shape of the target; `dilated` is its 3x3 gray dilation: each cell the highest of nine."""


@dataclass(frozen=True)
class DilatedLossMap(LossMap):
    """1 + `weight` where the dilated target reaches `threshold`, 1 elsewhere.

    The weighted loss map of Wang et al., Adaptive Wing Loss (ICCV 2019), eq. 4 and 5.
    """

    threshold: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.threshold <= 1:
            raise ValueError(f"DilatedLossMap: threshold must lie in (0, 1], as targets do, got {self.threshold}")

    def __call__(self, target: Tensor, dilated: Tensor) -> Tensor:
        return 1 + self.weight * (dilated >= self.threshold).to(target.dtype)


@dataclass(frozen=True)
class TargetLossMap(LossMap):
    """1 + `weight` times the target: the baseline mask of the same paper's ablation (section 7.6.2)."""

    def __call__(self, target: Tensor, dilated: Tensor) -> Tensor:
        return 1 + self.weight * target
