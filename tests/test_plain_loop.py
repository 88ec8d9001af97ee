"""`wingmark fit` with the Wing paper's recipe against a training loop in plain PyTorch that shares no line with it."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from wingmark.cli import main
from wingmark.data.sources import SyntheticFaces

RECIPE = Path(__file__).parents[1] / "configs" / "recipes" / "300w_wing_cnn6.yaml"
FACES, BATCH, STEPS, SIZE, SEED = 60, 8, 21, 64, 3  # three epochs, of which each drops four faces
RATE, DECAY = 2e-4, 0.5  # more than the paper's 3e-5 and 5e-4, which hardly show in so few steps


def train_with_wingmark(folder: Path) -> tuple[list[float], list[torch.Tensor]]:
    settings = {
        "seed_everything": SEED,
        "trainer.max_steps": STEPS,
        "model.optimizer.init_args.lr": RATE,
        "model.optimizer.init_args.weight_decay": DECAY,
        "trainer.log_every_n_steps": 1,
        "trainer.accelerator": "cpu",
        "trainer.enable_progress_bar": "false",
        "data.source": "wingmark.data.sources.SyntheticFaces",
        "data.source.init_args.train": FACES,
        "data.source.init_args.val": 4,
        "data.source.init_args.image_size": 96,
        "data.protocol": "synthetic/inter-ocular/v1",
        "data.holdout": "null",
        "data.geometry": "null",
        "data.photometric": "[]",
        "data.num_workers": 0,
        "data.cache": "null",
        "runs": folder,
        "name": "run",
    }
    main(["fit", "--config", str(RECIPE), *(f"--{key}={value}" for key, value in settings.items())])
    (log,) = (folder / "run" / "logs").rglob("metrics.csv")
    losses = [float(row["train/loss"]) for row in csv.DictReader(log.open()) if row["train/loss"]]
    state = torch.load(folder / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return losses, [value for name, value in state.items() if name.startswith("network.model.")]


def crop_of(source: SyntheticFaces, face) -> tuple[np.ndarray, np.ndarray]:
    """The square of 1.1 sides of the face's box, 64 pixels wide, and the landmarks in it."""
    box = face.boxes["dataset"]
    side = 1.1 * max(box.width, box.height)
    scale = SIZE / side
    # The middle of the box goes to the middle of the crop, which is pixel 31.5.
    middle = np.array([box.x, box.y])
    to_crop = np.column_stack([scale * np.eye(2), (SIZE - 1) / 2 - scale * middle])
    image = cv2.warpAffine(source.read_image(face), to_crop, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
    return image, face.landmarks_image * scale + to_crop[:, 2]


def train_plainly() -> tuple[list[float], list[torch.Tensor]]:
    source = SyntheticFaces(train=FACES, val=4, image_size=96)
    crops = [crop_of(source, face) for face in source.faces("train")]
    images = torch.tensor(np.stack([image for image, _ in crops])).permute(0, 3, 1, 2) / 255
    targets = torch.tensor(np.stack([landmarks for _, landmarks in crops])).float().flatten(1)

    torch.manual_seed(SEED)
    layers = []
    for channels in ((3, 32), (32, 64), (64, 128), (128, 256), (256, 512)):
        layers += [nn.Conv2d(*channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, 1024), nn.ReLU(), nn.Linear(1024, 136))
    for layer in network:
        if hasattr(layer, "weight"):
            fans = layer.weight[0].numel() + layer.weight[:, 0].numel()
            nn.init.normal_(layer.weight, std=(2 / fans) ** 0.5)
            nn.init.zeros_(layer.bias)
    nn.init.normal_(network[-1].weight, std=0.001)

    speeds = [torch.zeros_like(weight) for weight in network.parameters()]
    losses, epoch = [], 0
    while len(losses) < STEPS:
        order = np.random.default_rng([SEED, epoch]).permutation(FACES)
        for start in range(0, FACES - BATCH + 1, BATCH):
            batch = torch.tensor(order[start : start + BATCH])
            error = (network(images[batch]) + (SIZE - 1) / 2 - targets[batch]).abs()
            outer = error - 10 + 10 * np.log(1 + 10 / 2)
            loss = torch.where(error < 10, 10 * torch.log(1 + error / 2), outer).sum()
            network.zero_grad()
            loss.backward()
            rate = RATE * 0.01 ** (len(losses) / (STEPS - 1))
            with torch.no_grad():
                for weight, speed in zip(network.parameters(), speeds, strict=True):
                    speed.mul_(0.9).add_(weight.grad + DECAY * weight)
                    weight -= rate * speed
            losses.append(loss.item())
        epoch += 1
    return losses, [weight.detach() for weight in network.parameters()]


def test_losses_and_weights_are_those_of_a_plain_loop(tmp_path):
    losses, weights = train_with_wingmark(tmp_path)
    plain_losses, plain_weights = train_plainly()
    assert len(losses) == STEPS and losses == pytest.approx(plain_losses, rel=1e-5)
    for weight, plain in zip(weights, plain_weights, strict=True):
        torch.testing.assert_close(weight, plain, rtol=1e-4, atol=1e-5)
