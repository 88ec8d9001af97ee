"""Learn from the validation faces of a run what error each of its scores stands for, and store that in best.ckpt.

`wingmark fit` does so at every validation: this is for heatmap models that an earlier version trained, or after the
validation faces were mended. A cascade is calibrated as a whole, by what both stages find together. Then `wingmark
test` draws pictures/reliability.png, and `annotate`, `export` and `Landmarker` give an expected error for each
landmark. Relative paths in the run's config count from the current folder.
"""

import argparse
from pathlib import Path

import torch

import wingmark.run
from wingmark.cascade import Cascade
from wingmark.checkpoints import WholeCheckpoints
from wingmark.confidence import Calibration
from wingmark.data import LandmarkDataModule
from wingmark.foreign import read_checkpoint
from wingmark.model import LandmarkModule
from wingmark.progress import progress
from wingmark.training import quiet_libraries


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="folder made by `wingmark fit`")


def run(arguments: argparse.Namespace) -> Calibration:
    """Write the calibration and print what it ranges over."""
    quiet_libraries()
    folder = arguments.run
    model = wingmark.run.load(folder)
    if scoring(model).codec.kind != "heatmap":
        raise ValueError(f"{folder} regresses coordinates, which have no score; only heatmap models are calibrated")
    path = folder / "checkpoints" / "best.ckpt"
    checkpoint = read_checkpoint(path)
    data = wingmark.run.load_data(folder)
    if "LandmarkDataModule" in checkpoint:
        data.refuse_seen(checkpoint["LandmarkDataModule"], "val")
    calibration, faces = learn(model, data), len(data.faces("val"))
    if calibration is None:
        raise ValueError(f"{folder}: {faces} validation faces are too few to learn from")
    model.on_save_checkpoint(checkpoint)
    WholeCheckpoints().save_checkpoint(checkpoint, path)
    errors = calibration.errors
    print(f"{path}: expected errors from {errors[-1]:.1f} to {errors[0]:.1f} px of the crop, of {faces} faces")
    return calibration


def scoring(model: LandmarkModule | Cascade) -> LandmarkModule:
    """What gives the scores of a model: of a cascade its second stage."""
    return model.second if isinstance(model, Cascade) else model


def learn(model: LandmarkModule | Cascade, data: LandmarkDataModule) -> Calibration | None:
    """Calibrate a model on validation faces; None where they are too few."""
    scored = scoring(model)
    scored.calibration = Calibration((0.0, 1.0), (1.0, 1.0))  # of one pixel of its crop, to hear how large that is
    batches = data.val_dataloader()
    with torch.inference_mode():
        for batch in progress(batches, "calibrating", len(batches)):
            found = model.predict_step(batch, 0)
            error_image = torch.linalg.vector_norm(found.landmarks_image - batch.landmarks_image, dim=2)
            scored.scored_errors.update(batch.index, found.score, error_image / found.expected_error, batch.valid)
    scored.calibrate()
    return scored.calibration
