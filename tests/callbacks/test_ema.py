"""Lightning's average of the weights in a run of ours: what is validated, kept, resumed, tested and loaded."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

import wingmark.run
from wingmark.cli import main
from wingmark.landmark_cli import LandmarkCLI

ROOT = Path(__file__).parents[2]
DECAY = 0.7  # forgets within the few steps of these runs


class OwnAverage(Callback):
    """The same average in float64, by the textbook: the weights after the first step, then a moving average."""

    def __init__(self) -> None:
        self.average: dict[str, torch.Tensor] = {}
        self.epochs: list[dict[str, torch.Tensor]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_) -> None:
        # Counters of batches are whole numbers and not averaged.
        now = {key: value.double() for key, value in pl_module.state_dict().items() if value.is_floating_point()}
        before = self.average or now
        self.average = {key: DECAY * before[key] + (1 - DECAY) * value for key, value in now.items()}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epochs.append(self.average)


def fit(*arguments: str) -> OwnAverage:
    """Train with the overlay and our own average beside it."""
    own = OwnAverage()

    class Watched(LandmarkCLI):
        def before_instantiate_classes(self) -> None:
            super().before_instantiate_classes()
            self.trainer_defaults["callbacks"].append(own)

    configs = [f"--config={ROOT / path}" for path in ("tests/tiny.yaml", "configs/overlays/ema.yaml")]
    constant = "--model.schedule=null"  # the cosine depends on the length of the training, which resuming changes
    Watched(["fit", *configs, constant, f"--trainer.callbacks.init_args.decay={DECAY}", *arguments])
    return own


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, OwnAverage]:
    """A run of three epochs, and our own average of it."""
    folder = tmp_path_factory.mktemp("ema")
    own = fit(f"--runs={folder}", "--name=whole", "--trainer.max_epochs=3")
    return folder / "whole", own


def load(run: Path, name: str) -> dict:
    return torch.load(run / "checkpoints" / name, weights_only=True)


def landmarks_image(run: Path, split: str) -> np.ndarray:
    """What the loaded model finds on the faces of a split, (N, K, 2)."""
    samples = list(wingmark.run.load_data(run).dataset(split))
    with torch.no_grad():
        crop = wingmark.run.load(run)(torch.stack([sample.image for sample in samples]))[0].double().numpy()
    to_image = np.stack([sample.crop_to_image for sample in samples])
    return np.einsum("nij,nkj->nki", to_image[:, :, :2], crop) + to_image[:, None, :, 2]


def test_the_average_is_kept_and_loaded(trained):
    run, own = trained
    checkpoint = load(run, "best.ckpt")
    expected = own.epochs[checkpoint["epoch"]]
    assert any("running_var" in key for key in expected)  # BatchNorm's statistics go along
    for key, value in expected.items():
        torch.testing.assert_close(checkpoint["state_dict"][key].double(), value, rtol=1e-5, atol=1e-6)
    current = checkpoint["current_model_state"]
    assert max((current[key] - value).abs().max() for key, value in expected.items()) > 1e-3  # far from the average
    loaded = wingmark.run.load(run).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in checkpoint["state_dict"].items())


def test_the_average_is_validated(trained):
    run, _ = trained
    samples = wingmark.run.load_data(run).dataset("val")
    found = landmarks_image(run, "val")
    nme = [
        np.linalg.norm(points - sample.landmarks_image.numpy(), axis=1).mean() / sample.normalizer.item()
        for points, sample in zip(found, samples, strict=True)
    ]
    states = load(run, "best.ckpt")["callbacks"]
    (keeper,) = (state for name, state in states.items() if name.startswith("ModelCheckpoint"))
    assert np.mean(nme) == pytest.approx(keeper["best_model_score"].item(), rel=1e-5)


def test_the_average_is_tested(trained):
    run, _ = trained
    main(["test", "--run", str(run)])
    tested = np.load(run / "predictions.npz")["landmarks_image"]
    assert tested == pytest.approx(landmarks_image(run, "test"), abs=1e-4)


def test_resuming_goes_on_with_weights_and_average(trained):
    run, _ = trained
    place = (f"--runs={run.parent}", "--name=parts")
    fit(*place, "--trainer.max_epochs=2")
    fit(*place, "--trainer.max_epochs=3", f"--ckpt_path={run.parent}/parts/checkpoints/last.ckpt")
    whole, parts = load(run, "last.ckpt"), load(run.parent / "parts", "last.ckpt")
    assert whole["global_step"] == parts["global_step"] == 9
    for key in ("state_dict", "current_model_state", "averaging_state"):
        assert whole[key].keys() == parts[key].keys()
        assert all(torch.equal(whole[key][name], parts[key][name]) for name in whole[key]), key
