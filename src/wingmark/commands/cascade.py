"""Join two trained stages into one model and test it on the test faces of the first.

The first stage finds where the face is and how upright, the second its landmarks, on a crop cut by that. The result is
a run of its own: both stages in one checkpoint, and the scores by the protocol of the first stage, comparable with it.
Expected errors are learned anew, from the first run's validation faces. Relative paths in its config count from the
current folder.
"""

import argparse
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import yaml
from pytorch_lightning import Trainer

import wingmark.run
from wingmark.callbacks import PredictionWriter
from wingmark.callbacks.progress_bar import Bar
from wingmark.cascade import Cascade
from wingmark.checkpoints import WholeCheckpoints
from wingmark.commands.calibrate import learn
from wingmark.data import LandmarkDataModule
from wingmark.evaluation.methods import OWN_KEYS
from wingmark.files import whole_file
from wingmark.foreign import read_checkpoint
from wingmark.model import LandmarkModule
from wingmark.training import quiet_libraries

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", type=Path, metavar="FIRST", help="run of the first stage")
    parser.add_argument("second", type=Path, metavar="SECOND", help="run of the second stage")
    parser.add_argument("--name", help="folder of the new run; default: both names")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs")


def run(arguments: argparse.Namespace) -> Cascade:
    """Write the run folder, test, print the table."""
    quiet_libraries()
    first, second = arguments.first, arguments.second
    if first.resolve() == second.resolve():
        raise ValueError(f"FIRST and SECOND are the same run {first}; give the runs of two stages")
    folder = arguments.runs / (arguments.name or f"{first.name}-{second.name}")
    if folder.exists():
        raise ValueError(f"{folder} already exists; choose another --name, or delete the folder")
    cascade = Cascade(_stage(first), _stage(second)).eval()
    config = _config(first, second, cascade)
    data = wingmark.run.build_data(config)
    seen = _seen(first, second)
    data.refuse_seen(seen, "test")
    if cascade.second.codec.kind == "heatmap":
        _calibrate(cascade, data, seen)
    checkpoint = folder / "checkpoints" / "best.ckpt"
    about = {
        "checkpoint": os.path.relpath(checkpoint),
        "source": config["data"]["source"],
        "codec": config["model"]["second"]["model"]["codec"],
    }
    writer = PredictionWriter(folder, about)
    try:
        _write(folder, cascade, config, seen)
        _trainer(config, writer).test(cascade, datamodule=data, verbose=False)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    writer.say()
    return cascade


def _stage(run: Path) -> LandmarkModule:
    stage = wingmark.run.load(run)
    if isinstance(stage, Cascade):
        raise ValueError(f"{run} is a cascade already; give the runs of two models made by `wingmark fit`")
    return stage


def _config(first: Path, second: Path, cascade: Cascade) -> dict[str, Any]:
    """Data and trainer of the first run, on wide crops; both models, and how the second was trained."""
    one, two = wingmark.run.settings_of(first), wingmark.run.settings_of(second)
    # Without what the seeds of a method differ in, such as the path of the first stage's predictions.
    two["data"]["source"]["init_args"].pop("predictions", None)
    training = {part: {k: v for k, v in two[part].items() if k not in OWN_KEYS[part]} for part in ("trainer", "data")}
    return {
        "seed_everything": two["seed_everything"],
        "trainer": one["trainer"],
        "model": {
            "context": cascade.context,
            "first": {"model": one["model"]},
            "second": {"model": two["model"], **training},
        },
        "data": {**one["data"], "crop_size": cascade.crop_size, "context": cascade.context},
    }


def _seen(first: Path, second: Path) -> dict[str, list[str]]:
    """The faces that either stage was trained on or chosen by."""
    paths = [run / "checkpoints" / "best.ckpt" for run in (first, second)]
    stages = [read_checkpoint(path)["LandmarkDataModule"] for path in paths]
    return {split: sorted({*stages[0][split], *stages[1][split]}) for split in ("train", "val")}


def _calibrate(cascade: Cascade, data: LandmarkDataModule, seen: dict[str, list[str]]) -> None:
    """By what both stages find together: the second alone was calibrated on crops by the true landmarks."""
    cascade.second.calibration = None
    try:
        data.refuse_seen(seen, "val")
        learn(cascade, data)
    except (ValueError, FileNotFoundError) as error:
        log.warning("expected errors are not calibrated: %s", error)


def _write(folder: Path, cascade: Cascade, config: dict[str, Any], seen: dict[str, list[str]]) -> None:
    checkpoint = {
        "pytorch-lightning_version": pl.__version__,
        "state_dict": cascade.state_dict(),
        "LandmarkDataModule": seen,
    }
    cascade.on_save_checkpoint(checkpoint)
    WholeCheckpoints().save_checkpoint(checkpoint, folder / "checkpoints" / "best.ckpt")
    with whole_file(folder / "config.yaml") as path:
        path.write_text(yaml.safe_dump(config, sort_keys=False))


def _trainer(config: dict[str, Any], writer: PredictionWriter) -> Trainer:
    """As `wingmark test --run FIRST` would: on the run's accelerator, with its precision."""
    settings = config["trainer"]
    bar = settings["enable_progress_bar"] is not False
    return Trainer(
        accelerator=settings["accelerator"],
        precision=settings["precision"],
        devices=1,
        logger=False,
        callbacks=[writer, Bar()] if bar else [writer],
        enable_checkpointing=False,
        enable_progress_bar=bar,
        enable_model_summary=False,
    )
