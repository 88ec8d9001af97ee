"""The average of the weights: what is validated, kept, resumed, tested, loaded and exported."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

import wingmark.run
from wingmark.callbacks import MovingAverage
from wingmark.cli import main
from wingmark.export import load_safetensors
from wingmark.landmark_cli import LandmarkCLI
from wingmark.model import LandmarkModule

ROOT = Path(__file__).parents[2]
DECAY = 0.7  # forgets within the few steps of these runs


class OwnAverage(Callback):
    """The same average in float64, by the textbook: the weights after the first step, then a moving average."""

    def __init__(self) -> None:
        self.average: dict[str, torch.Tensor] = {}
        self.steps: list[dict[str, torch.Tensor]] = []
        self.epochs: list[dict[str, torch.Tensor]] = []
        self.validated: list[dict[str, torch.Tensor]] = []  # what the model holds in a validation batch

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_) -> None:
        if not trainer.sanity_checking:
            self.validated.append({key: value.clone() for key, value in pl_module.state_dict().items()})

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_) -> None:
        # Counters of batches are whole numbers and not averaged.
        now = {key: value.double() for key, value in pl_module.state_dict().items() if value.is_floating_point()}
        before = self.average or now
        self.average = {key: DECAY * before[key] + (1 - DECAY) * value for key, value in now.items()}
        self.steps.append(self.average)

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
    (keeper,) = (state for name, state in states.items() if name.startswith("BestCheckpoint"))
    assert np.mean(nme) == pytest.approx(keeper["best_model_score"].item(), rel=1e-5)


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [key for key in one if not torch.equal(one[key], other[key])] == []


def test_what_is_validated_is_kept_loaded_and_exported_to_the_bit(trained):
    run, own = trained
    best = load(run, "best.ckpt")
    weights = own.validated[best["epoch"]]
    assert_same(best["state_dict"], weights)
    assert_same(wingmark.run.load(run).state_dict(), weights)
    main(["export", str(run), "--format", "safetensors", "--output", str(run / "one.safetensors")])
    assert_same(load_safetensors(run / "one.safetensors").state_dict(), weights)
    last = load(run, "last.ckpt")
    assert_same(last["state_dict"], own.validated[-1])  # no step came after the last validation
    assert_same(wingmark.run.load(run / "checkpoints" / "last.ckpt").state_dict(), own.validated[-1])


KEEPER = "--trainer.callbacks+=pytorch_lightning.callbacks.ModelCheckpoint"


EVERY = "--trainer.callbacks.every_n"


@pytest.mark.parametrize("moment", [f"{EVERY}_train_steps=1", f"{EVERY}_epochs=1"])
def test_checkpoints_of_weights_alone_hold_the_average(tmp_path, moment):
    alone = [KEEPER, "--trainer.callbacks.save_weights_only=true", f"--trainer.callbacks.dirpath={tmp_path}/kept"]
    own = fit(f"--runs={tmp_path}", "--name=a", *alone, moment, "--trainer.callbacks.save_top_k=-1")
    checkpoints = [torch.load(path, weights_only=True) for path in (tmp_path / "kept").iterdir()]
    checkpoints.sort(key=lambda checkpoint: checkpoint["global_step"])
    assert len(checkpoints) == (6 if "steps" in moment else 2) and "callbacks" not in checkpoints[0]
    for checkpoint in checkpoints:
        for key, value in own.steps[checkpoint["global_step"] - 1].items():
            torch.testing.assert_close(checkpoint["state_dict"][key].double(), value, rtol=1e-5, atol=1e-6)
    last = load(tmp_path / "a", "last.ckpt")
    assert_same(checkpoints[-1]["state_dict"], last["state_dict"])
    assert any(not torch.equal(last["state_dict"][k], v) for k, v in last["current_model_state"].items())


@pytest.mark.parametrize("within", [pytest.param("training_step", marks=pytest.mark.long), "validation_step"])
def test_an_error_does_not_mix_up_weights_and_average(tmp_path, monkeypatch, within):
    usual, states = getattr(LandmarkModule, within), {}

    def failing(self: LandmarkModule, *batch) -> torch.Tensor:
        if self.trainer.global_step == 3 and not self.trainer.sanity_checking:
            (average,) = (part for part in self.trainer.callbacks if isinstance(part, MovingAverage))
            pair = [self, average._average_model.module]
            states["weights"], states["average"] = pair if within == "training_step" else pair[::-1]
            states.update({key: {k: v.clone() for k, v in part.state_dict().items()} for key, part in states.items()})
            raise RuntimeError("no more")
        return usual(self, *batch)

    monkeypatch.setattr(LandmarkModule, within, failing)
    folder = f"--trainer.callbacks.dirpath={tmp_path}/kept"
    with pytest.raises(RuntimeError, match="no more"):
        fit(f"--runs={tmp_path}", "--name=a", KEEPER, folder, "--trainer.callbacks.save_on_exception=true")
    kept = max((tmp_path / "kept").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    checkpoint = torch.load(kept, weights_only=True)
    assert checkpoint["global_step"] == 3
    assert_same(checkpoint["state_dict"], states["average"])
    assert_same(checkpoint["current_model_state"], states["weights"])


def test_no_checkpoint_within_a_validation(tmp_path, monkeypatch):
    usual = LandmarkModule.validation_step

    def saving(self: LandmarkModule, *batch) -> torch.Tensor:
        if not self.trainer.sanity_checking:
            self.trainer.save_checkpoint(tmp_path / "x.ckpt")
        return usual(self, *batch)

    monkeypatch.setattr(LandmarkModule, "validation_step", saving)
    with pytest.raises(ValueError, match="no checkpoint can be written within a validation"):
        fit(f"--runs={tmp_path}", "--name=a")


def test_an_average_that_keeps_less_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"take wingmark\.callbacks\.MovingAverage"):
        LandmarkCLI(
            ["fit", f"--config={ROOT}/tests/tiny.yaml", f"--runs={tmp_path}", "--name=a"]
            + ["--trainer.callbacks=pytorch_lightning.callbacks.EMAWeightAveraging"]
        )


@pytest.mark.parametrize("decay", [0.0, 1.0, 99.9])
def test_a_decay_that_is_none_is_refused(decay):
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        MovingAverage(decay)


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
