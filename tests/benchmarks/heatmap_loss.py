"""What a heatmap loss costs, from landmarks to the gradient, forward and backward, in float32.

    python tests/benchmarks/heatmap_loss.py                  on all cores
    python tests/benchmarks/heatmap_loss.py --device cuda

Adaptive Wing with the weighted loss map on 16 x 98 x 64 x 64 maps: written as in a textbook, through `Objective`
eagerly and compiled, and compiled with the boundary; beside a mean squared error on a target that lies ready. All cases
take turns, so that a busy machine slows all of them; ratios of medians. Memory is the peak above the prediction and its
gradient, in tensors of the prediction's size.
"""

import argparse
import ctypes
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from wingmark import geometry, heatmaps, schema
from wingmark.codecs import DilatedLossMap, Heatmap
from wingmark.losses import AdaptiveWingLoss
from wingmark.objective import Objective

FACES, MAP, CROP, ROUNDS = 16, 64, 256, 30
WFLW = schema.get("wflw98")


def textbook(prediction: Tensor, landmarks: Tensor) -> Tensor:
    """Equations 3 to 5 of the paper as they stand there."""
    cells = geometry.pixels_to_cells(landmarks, CROP / MAP).round()
    y = heatmaps.gaussian(cells, 1.75, MAP, MAP, radius=3)
    weight = 10 * (F.max_pool2d(y, 3, stride=1, padding=1) >= 0.2) + 1
    d, power = (y - prediction).abs(), 2.1 - y
    a = 14 / (1 + 0.5**power) * power * 0.5 ** (power - 1)
    c = 0.5 * a - 14 * torch.log(1 + 0.5**power)
    return (weight * torch.where(d < 0.5, 14 * torch.log(1 + d**power), a * d - c)).mean()


def through_objective(boundary: str | None, compiled: bool, device: str) -> Callable[[Tensor, Tensor], Tensor]:
    codec = Heatmap(1.75, "floored", loss_map=DilatedLossMap(), boundary=boundary, schema=WFLW)
    objective = Objective(codec, AdaptiveWingLoss()).to(device)
    if compiled:
        objective.compile()
    valid = torch.ones(FACES, WFLW.num_landmarks, dtype=torch.bool, device=device)
    return lambda prediction, landmarks: objective([prediction], landmarks, valid, CROP)[0]


def megabytes(field: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024 / 1e6


def peak_tensors(step: Callable[[], None], prediction: Tensor) -> float:
    """Peak memory of a step above the prediction and its gradient, in predictions."""
    size = prediction.numel() * prediction.element_size() / 1e6
    prediction.grad = None
    if prediction.is_cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 1e6
        step()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() / 1e6 - before) / size - 1
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before goes back to the system, and would count as unused
    Path("/proc/self/clear_refs").write_text("5")  # from here on VmHWM is the peak
    before = megabytes("VmRSS")
    step()
    return (megabytes("VmHWM") - before) / size - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    device = parser.parse_args().device
    torch.manual_seed(0)
    landmarks = torch.rand(FACES, WFLW.num_landmarks, 2, device=device) * (CROP - 1)
    ready = torch.rand(FACES, WFLW.num_landmarks, MAP, MAP, device=device)
    losses = {
        "MSE on a ready target": lambda prediction, landmarks: F.mse_loss(prediction, ready),
        "textbook, eager": textbook,
        "wingmark, eager": through_objective(None, False, device),
        "wingmark, compiled": through_objective(None, True, device),
        "and with the boundary": through_objective("paper", True, device),
    }
    cases = {}
    for name, loss in losses.items():
        maps = WFLW.num_landmarks + (name == "and with the boundary")
        prediction = torch.rand(FACES, maps, MAP, MAP, device=device).requires_grad_()

        def step(loss=loss, prediction=prediction) -> None:
            prediction.grad = None
            loss(prediction, landmarks).backward()
            if prediction.is_cuda:
                torch.cuda.synchronize()

        step(), step()  # compiles, warms up
        cases[name] = (step, peak_tensors(step, prediction), [])
    for _ in range(ROUNDS):
        for step, _, seconds in cases.values():
            start = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - start)
    milliseconds = {name: 1e3 * statistics.median(seconds) for name, (_, _, seconds) in cases.items()}
    mse, eager = milliseconds["MSE on a ready target"], milliseconds["textbook, eager"]
    print(f"{'':24}{'ms':>8}{'x MSE':>8}{'textbook /':>12}{'memory':>8}")
    for name, (_, memory, _) in cases.items():
        ms = milliseconds[name]
        print(f"{name:24}{ms:8.1f}{ms / mse:8.2f}{eager / ms:12.2f}{memory:8.2f}")


if __name__ == "__main__":
    main()
