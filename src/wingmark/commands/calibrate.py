"""Learn from the validation faces of a run what error each of its scores stands for, and store that in best.ckpt.

`wingmark fit` does so at every validation: this is for heatmap models that an earlier version trained, or after the
validation faces were mended. Then `wingmark test` draws pictures/reliability.png, and `annotate`, `export` and
`Landmarker` give an expected error for each landmark. Relative paths in the run's config count from the current folder.
"""

import argparse
from pathlib import Path

import torch

import wingmark.run
from wingmark.checkpoints import WholeCheckpoints
from wingmark.confidence import Calibration
from wingmark.foreign import read_checkpoint
from wingmark.model import LandmarkModule
from wingmark.progress import progress
from wingmark.training import quiet_libraries


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("run", type=Path, metavar="RUN", help="folder made by `wingmark fit`")


def run(arguments: argparse.Namespace) -> Calibration:
    """Write the calibration and print what it ranges over."""
    quiet_libraries()
    folder = arguments.run
    model = wingmark.run.load(folder)
    if not isinstance(model, LandmarkModule):
        raise ValueError(f"{folder} is a cascade: calibrate the run of its second stage, and join both again")
    if model.codec.kind != "heatmap":
        raise ValueError(f"{folder} regresses coordinates, which have no score; only heatmap models are calibrated")
    path = folder / "checkpoints" / "best.ckpt"
    checkpoint = read_checkpoint(path)
    data = wingmark.run.load_data(folder)
    if "LandmarkDataModule" in checkpoint:
        data.refuse_seen(checkpoint["LandmarkDataModule"], "val")
    batches = data.val_dataloader()
    with torch.inference_mode():
        for batch in progress(batches, "calibrating", len(batches)):
            model.note_errors(model.predict_step(batch, 0), batch)
    model.calibrate()
    faces = len(data.faces("val"))
    if model.calibration is None:
        raise ValueError(f"{folder}: {faces} validation faces are too few to learn from")
    checkpoint["wingmark"]["confidence"] = model.calibration.to_dict()
    WholeCheckpoints().save_checkpoint(checkpoint, path)
    errors = model.calibration.errors
    print(f"{path}: expected errors from {errors[-1]:.1f} to {errors[0]:.1f} px of the crop, of {faces} faces")
    return model.calibration
