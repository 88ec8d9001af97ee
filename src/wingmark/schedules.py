"""Learning-rate schedules in fractions of training, stepped once per optimizer step."""

import math
from typing import Protocol

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler


class ScheduleFactory(Protocol):
    """Builds a schedule once the optimizer and the number of its steps are known."""

    def __call__(self, *, optimizer: Optimizer, total_steps: int) -> LRScheduler: ...


class CosineWarmup(LambdaLR):
    """Linear rise over the first `warmup` of training, then a half cosine down to `final` times the learning rate."""

    def __init__(self, warmup: float = 0.05, final: float = 0.0, *, optimizer: Optimizer, total_steps: int) -> None:
        if not (0 <= warmup < 1 and 0 <= final <= 1):
            raise ValueError(f"model.schedule: warmup must lie in [0, 1) and final in [0, 1], got {warmup} and {final}")
        rise = warmup * total_steps

        def factor(step: int) -> float:
            if step < rise:
                return (step + 1) / (rise + 1)
            done = min(1.0, (step - rise) / max(1.0, total_steps - rise))
            return final + (1 - final) * (1 + math.cos(math.pi * done)) / 2

        super().__init__(optimizer, factor)


class Exponential(LambdaLR):
    """The learning rate falls by the same factor at every step, down to `final` times what it was at the last one."""

    def __init__(self, final: float = 0.01, *, optimizer: Optimizer, total_steps: int) -> None:
        if not 0 < final <= 1:
            raise ValueError(f"model.schedule: final must lie in (0, 1], got {final}")
        super().__init__(optimizer, lambda step: final ** min(1.0, step / max(1, total_steps - 1)))


class Steps(LambdaLR):
    """The learning rate times `factor` after each of the given fractions of training."""

    def __init__(self, at: tuple[float, ...], factor: float = 0.1, *, optimizer: Optimizer, total_steps: int) -> None:
        if not at or any(not 0 < fraction < 1 for fraction in at):
            raise ValueError(f"model.schedule: at must hold fractions of training between 0 and 1, got {at}")
        super().__init__(optimizer, lambda step: factor ** sum(step >= fraction * total_steps for fraction in at))
