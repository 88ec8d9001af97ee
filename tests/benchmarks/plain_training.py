"""How fast `wingmark fit` trains CNN-6 of the Wing paper, against a loop in plain PyTorch, from the loader to the step.

Both train on the same rendered faces, augmented in the same way by two loader processes, in batches of 8 with the
paper's settings; one after the other, several times, the order swapped each time. Prints faces per second and their
ratio, which the project wants to be 0.95 at least.

    python tests/benchmarks/plain_training.py [--steps 150] [--rounds 3]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import timm
import torch
from torch.utils.data import DataLoader

import wingmark.networks  # noqa: F401, registers wing_cnn6
from wingmark.cli import main as wingmark_main
from wingmark.model import LandmarkModule
from wingmark.run import load_data

RECIPE = Path(__file__).parents[2] / "configs" / "recipes" / "300w_wing_cnn6.yaml"
BATCH, WARM_UP = 8, 20


def fit(folder: Path, steps: int) -> list[float]:
    """When each training step began."""
    started, training_step = [], LandmarkModule.training_step

    def timed(self, batch, batch_index):
        started.append(time.perf_counter())
        return training_step(self, batch, batch_index)

    LandmarkModule.training_step = timed
    settings = {
        "trainer.max_steps": steps,
        "trainer.accelerator": "cpu",
        "data.source": "wingmark.data.sources.SyntheticFaces",
        "data.source.init_args.train": BATCH * steps,
        "data.source.init_args.val": 10,
        "data.protocol": "synthetic/inter-ocular/v1",
        "data.holdout": "null",
        "data.cache": folder / "cache",
        "runs": folder,
        "name": f"run{time.time_ns()}",
    }
    wingmark_main(["fit", "--config", str(RECIPE), *(f"--{key}={value}" for key, value in settings.items())])
    LandmarkModule.training_step = training_step
    return started


def plain(folder: Path) -> list[float]:
    """Likewise, in a plain loop over the faces of the runs in the folder."""
    data = load_data(next(folder.glob("run*")))
    dataset = data.dataset("train")
    loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=data.num_workers)
    network = timm.create_model("wing_cnn6", num_classes=136).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=3e-5, momentum=0.9, weight_decay=5e-4)
    started = []
    for batch in loader:
        started.append(time.perf_counter())
        image = (batch.image / 255).contiguous(memory_format=torch.channels_last)
        error = (network(image) + 31.5 - batch.landmarks_crop.flatten(1)).abs()
        loss = torch.where(error < 10, 10 * torch.log1p(error / 2), error + 7.917595).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return started


def faces_per_second(started: list[float]) -> float:
    """Without the first steps, in which loaders and memory warm up."""
    return BATCH * (len(started) - 1 - WARM_UP) / (started[-1] - started[WARM_UP])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    found = {"wingmark": [], "plain": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fit(folder, arguments.steps)  # renders the faces
        for number in range(arguments.rounds):
            ways = [("wingmark", lambda: fit(folder, arguments.steps)), ("plain", lambda: plain(folder))]
            for way, train in reversed(ways) if number % 2 else ways:
                found[way].append(faces_per_second(train()))
    for way, speeds in found.items():
        print(f"{way:<9} {statistics.median(speeds):6.1f} faces/s  ({', '.join(f'{s:.1f}' for s in speeds)})")
    ratios = [ours / plain for ours, plain in zip(*found.values(), strict=True)]
    print(f"ratio     {statistics.median(ratios):6.3f}          ({', '.join(f'{r:.3f}' for r in ratios)})")


if __name__ == "__main__":
    main()
