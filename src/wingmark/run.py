"""Loading what was trained, for notebooks, export and inference."""

import contextlib
import io
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentParser

from wingmark import training
from wingmark.callbacks.finite_steps import Part, loss_and_gradient
from wingmark.cascade import Cascade
from wingmark.checkpoints import best_of
from wingmark.data import LandmarkDataModule
from wingmark.foreign import read_checkpoint, read_yaml
from wingmark.model import CHECKPOINT_FORMAT, LandmarkModule
from wingmark.protocol import Protocol
from wingmark.schema import LandmarkSchema
from wingmark.trust import build_arguments, refuse_endless
from wingmark.types import Batch

LARGEST_CROP = 2048  # pixels


def load(path: str | Path) -> LandmarkModule | Cascade:
    """The trained model of a run folder (its best checkpoint) or of a single `.ckpt`, on the CPU, in eval mode.

    Needs neither the data nor the run's config: the checkpoint holds both by value. The file may come from anybody:
    nothing in it is run, and of the classes that it names only those are built that `wingmark.trust` lets pass.

    Raises FileNotFoundError where there is no checkpoint, ValueError where it is not one of ours, of a newer format, or
    names other classes.
    """
    path = Path(path)
    file = best_of(path) if path.is_dir() else path
    checkpoint = read_checkpoint(file)
    about = checkpoint.get("wingmark")
    if not isinstance(about, dict) or not isinstance(about.get("model"), dict):
        raise ValueError(f"{file} does not say how its model was built; only `wingmark fit` writes that down")
    if about.get("format") not in range(1, CHECKPOINT_FORMAT + 1):
        raise ValueError(
            f"{file} has format {about.get('format')!r:.20}, this wingmark reads up to {CHECKPOINT_FORMAT}; update it"
        )
    try:
        model = build_model(about)
        load_weights(model, checkpoint["state_dict"])
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    return model.eval()


def repeat_step(path: str | Path) -> list[tuple[float, float]]:
    """The loss and the largest gradient of each batch that training kept in `nonfinite/`, computed again on the CPU.

    For looking into a step that was not finite, `torch.load(path, weights_only=True)` has its `ids` and `batches`.
    """
    step, model = read_checkpoint(path), load(path).train()
    parts = zip(step["batches"], step["random"], strict=True)
    return [loss_and_gradient(model, Part(Batch(**batch), random), step["precision"]) for batch, random in parts]


def build_model(about: dict[str, Any]) -> LandmarkModule | Cascade:
    """The model that the `wingmark` block of a checkpoint tells about, without its weights.

    Raises ValueError where it tells of none, or of classes that `wingmark.trust` does not let pass.
    """
    refuse_endless(about)
    try:
        stages = about["model"]
        if "first" in stages:
            return Cascade(_module(stages["first"]), _module(stages["second"]), stages["context"])
        return _module(about)
    except ValueError:
        raise
    except Exception as error:  # whatever settings that nobody checked make a class do
        reason = " ".join(str(error).split())
        raise ValueError(f"no model can be built as it says ({type(error).__name__}: {reason:.200})") from error


def _module(about: dict[str, Any]) -> LandmarkModule:
    linked = {"schema", "protocol", "crop_size"}
    config = {key: value for key, value in about["model"].items() if key not in linked}
    config["network"] = _without_pretraining(config["network"])
    if not 0 < about["crop_size"] <= LARGEST_CROP:  # a model is tried on two when it is built
        raise ValueError(f"crop_size must be 1 to {LARGEST_CROP}, got {about['crop_size']}")
    model = LandmarkModule(
        **build_arguments(LandmarkModule, config, "model"),
        schema=LandmarkSchema.from_dict(about["schema"]),
        protocol=Protocol.from_dict(about["protocol"]),
        crop_size=about["crop_size"],
    )
    model.config = about["model"]
    model.load_calibration(about)
    return model


def load_weights(model: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Put weights into a model. ValueError for those of another one, also of another type."""
    for name, own in model.state_dict().items():
        if name in weights and weights[name].dtype != own.dtype:
            raise ValueError(f"the weights {name} are {weights[name].dtype}, those of this model {own.dtype}")
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(" ".join(str(error).split())) from error


def load_data(run: str | Path) -> LandmarkDataModule:
    """The faces of a run, as its config.yaml says: `load_data(run).dataset("test")` are its test samples.

    Relative paths in the config count from the current folder, as for `wingmark test --run`. Both trust the config.yaml
    of a run like a recipe: it may name any class. Of a run that somebody else made, read that file first.
    """
    return build_data(settings_of(run))


def settings_of(run: str | Path) -> dict[str, Any]:
    """What config.yaml of a run says; nothing of it is built."""
    path = Path(run) / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give the folder of a run made by `wingmark fit`")
    return read_yaml(path)


def build_data(settings: dict[str, Any]) -> LandmarkDataModule:
    """The faces that settings speak of: the content of a config.yaml, or what `resolve` gives."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(LandmarkDataModule, "data")
    parsed = parser.parse_object({"data": settings["data"]})
    return parser.instantiate_classes(parsed).data


def resolve(arguments: list[str]) -> dict[str, Any]:
    """Every setting of `wingmark ARGUMENTS`, as --print_config tells them; ends there where one is wrong."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            training.run([*arguments, "--print_config"])
    except SystemExit as end:
        if end.code:
            raise
    return yaml.safe_load(printed.getvalue())


def _without_pretraining(config: dict) -> dict:
    """The config of a network without starting weights, which the checkpoint replaces and which may be out of reach."""
    start = {"pretrained": False, "weights": None, "checkpoint_path": None}
    return {
        key: _without_pretraining(value) if isinstance(value, dict) else start.get(key, value)
        for key, value in config.items()
    }
