import math
from itertools import pairwise

import pytest
import torch

from wingmark.schedules import CosineWarmup, Exponential, Steps


def rates(factory, total_steps: int, **settings) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = factory(**settings, optimizer=optimizer, total_steps=total_steps)
    seen = []
    for _ in range(total_steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def test_cosine_with_warmup():
    seen = rates(CosineWarmup, 100, warmup=0.1, final=0.2)
    assert seen[0] == pytest.approx(2 / 11) and seen[9] == pytest.approx(2 * 10 / 11) and seen[10] == 2.0
    assert seen[55] == pytest.approx(2 * (0.2 + 0.8 * (1 + math.cos(math.pi / 2)) / 2))
    assert seen[99] == pytest.approx(0.4, abs=1e-3)
    assert all(a >= b for a, b in pairwise(seen[10:]))


def test_steps():
    assert rates(Steps, 10, at=(0.3, 0.6), factor=0.1) == pytest.approx([2.0] * 3 + [0.2] * 3 + [0.02] * 4)


def test_exponential():
    assert rates(Exponential, 5, final=1e-4) == pytest.approx([2.0, 0.2, 0.02, 0.002, 0.0002])
    assert rates(Exponential, 1) == [2.0]


@pytest.mark.parametrize(
    ("factory", "settings"),
    [(CosineWarmup, {"warmup": 1.0}), (Steps, {"at": ()}), (Steps, {"at": (1.5,)}), (Exponential, {"final": 0.0})],
)
def test_refusals(factory, settings):
    with pytest.raises(ValueError, match=r"model\.schedule"):
        rates(factory, 10, **settings)
