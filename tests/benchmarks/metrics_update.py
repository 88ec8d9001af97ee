"""What the metrics add to a validation epoch: timm's resnet18 at 128 px, 98 landmarks, batches of 32, no loader.

    OMP_NUM_THREADS=1 python tests/benchmarks/metrics_update.py

Prints what share of the time of network and decoding the metrics take, those of `validate` and those of `test`. All
take turns batch by batch; each part of an epoch is its median over the epochs.
"""

import functools
import time
from collections import defaultdict
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from wingmark import protocol, schema
from wingmark.codecs import Coordinates
from wingmark.losses import WingLoss
from wingmark.model import LandmarkModule
from wingmark.networks import TimmNetwork
from wingmark.types import Batch

SIZE, LANDMARKS, BATCH_SIZE, FACES, EPOCHS = 128, 98, 32, 1000, 3
STARTS = range(0, FACES, BATCH_SIZE)


def timed(call: Callable, *arguments) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call(*arguments)
    return time.perf_counter() - start, result


def random_batch(start: int) -> Batch:
    count = min(BATCH_SIZE, FACES - start)
    landmarks = torch.rand(count, LANDMARKS, 2) * SIZE
    return Batch(
        image=torch.randint(0, 256, (count, 3, SIZE, SIZE), dtype=torch.uint8),
        landmarks_crop=landmarks,
        landmarks_image=landmarks.double(),
        valid=torch.rand(count, LANDMARKS) > 0.1,
        crop_to_image=torch.eye(2, 3, dtype=torch.float64).repeat(count, 1, 1),
        normalizer=torch.full((count,), 40.0, dtype=torch.float64),
        index=torch.arange(start, start + count),
    )


@torch.inference_mode()
def epoch(module: LandmarkModule) -> dict[tuple[str, int], float]:
    """Seconds by part and batch; the values at the end are computed once, batch 0."""
    metrics = {"validate": module.val_nme, "test": module.test_scores}
    seconds = {}
    for number, start in enumerate(STARTS):
        batch = random_batch(start)
        seconds["network", number], prediction = timed(module.predict_step, batch, number)
        for name, metric in metrics.items():
            seconds[f"{name} update", number], _ = timed(module._update, metric, batch, prediction)
    for name, metric in metrics.items():
        seconds[f"{name} compute", 0], _ = timed(metric.compute)
        metric.reset()
    return seconds


def main() -> None:
    torch.manual_seed(0)
    network = functools.partial(TimmNetwork, "resnet18")
    wflw = schema.get("wflw98"), protocol.get("wflw/inter-ocular/v1")
    module = LandmarkModule(network, Coordinates, WingLoss(), *wflw, crop_size=SIZE).eval()
    epochs = [epoch(module) for _ in range(EPOCHS)]
    total = defaultdict(float)
    for part, number in epochs[0]:
        total[part] += median(seconds[part, number] for seconds in epochs)
    print(f"{FACES} faces in {len(STARTS)} batches, {torch.get_num_threads()} threads, seconds per epoch")
    print(f"network and decoding {total['network']:.3f}")
    for name in ("validate", "test"):
        update, compute = total[f"{name} update"], total[f"{name} compute"]
        print(f"{name}: update {update:.4f} + compute {compute:.4f} = {(update + compute) / total['network']:.2%}")


if __name__ == "__main__":
    main()
