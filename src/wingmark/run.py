"""Loading what was trained, for notebooks, export and inference."""

import contextlib
import io
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentParser

from wingmark import training
from wingmark.cascade import Cascade
from wingmark.data import LandmarkDataModule
from wingmark.model import CHECKPOINT_FORMAT, LandmarkModule
from wingmark.protocol import Protocol
from wingmark.schema import LandmarkSchema


def load(path: str | Path) -> LandmarkModule | Cascade:
    """The trained model of a run folder (its best checkpoint) or of a single `.ckpt`, on the CPU, in eval mode.

    Needs neither the data nor the run's config: the checkpoint holds both by value. Raises FileNotFoundError where
    there is no checkpoint, ValueError where it is not one of ours or of a newer format.
    """
    path = Path(path)
    file = path / "checkpoints" / "best.ckpt" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; give a run folder or a .ckpt file written by `wingmark fit`")
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is no checkpoint can fail in any way
        # torch's own words advise to run what is in it.
        raise ValueError(f"{file} is damaged or no checkpoint of `wingmark fit` ({type(error).__name__})") from error
    about = checkpoint.get("wingmark") if isinstance(checkpoint, dict) else None
    if about is None or about["model"] is None:
        raise ValueError(f"{file} does not say how its model was built; only `wingmark fit` writes that down")
    if about["format"] > CHECKPOINT_FORMAT:
        raise ValueError(
            f"{file} has format {about['format']}, this wingmark reads up to {CHECKPOINT_FORMAT}; update it"
        )
    model = build_model(about)
    model.load_state_dict(checkpoint["state_dict"])
    return model.eval()


def build_model(about: dict[str, Any]) -> LandmarkModule | Cascade:
    """The model that the `wingmark` block of a checkpoint tells about, without its weights."""
    stages = about["model"]
    if "first" in stages:
        return Cascade(_module(stages["first"]), _module(stages["second"]), stages["context"])
    return _module(about)


def _module(about: dict[str, Any]) -> LandmarkModule:
    parser = ArgumentParser(exit_on_error=False)
    linked = {"schema", "protocol", "crop_size"}
    parser.add_class_arguments(LandmarkModule, "model", skip=linked)
    config = {key: value for key, value in about["model"].items() if key not in linked}
    config["network"] = _without_pretraining(config["network"])
    parsed = parser.parse_object({"model": config})
    parts = parser.instantiate_classes(parsed, instantiate_groups=False).model
    model = LandmarkModule(
        **vars(parts),
        schema=LandmarkSchema.from_dict(about["schema"]),
        protocol=Protocol.from_dict(about["protocol"]),
        crop_size=about["crop_size"],
    )
    model.config = about["model"]
    model.load_calibration(about)
    return model


def load_data(run: str | Path) -> LandmarkDataModule:
    """The faces of a run, as its config.yaml says: `load_data(run).dataset("test")` are its test samples.

    Relative paths in the config count from the current folder, as for `wingmark test --run`.
    """
    return build_data(settings_of(run))


def settings_of(run: str | Path) -> dict[str, Any]:
    """What config.yaml of a run says."""
    path = Path(run) / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give the folder of a run made by `wingmark fit`")
    return yaml.safe_load(path.read_text())


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
    start = {"pretrained": False, "weights": None}
    return {
        key: _without_pretraining(value) if isinstance(value, dict) else start.get(key, value)
        for key, value in config.items()
    }
