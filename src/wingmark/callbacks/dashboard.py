"""Shows on dashboards what lies in the run folder: on W&B tables and charts, on TensorBoard numbers and pictures."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger, WandbLogger

from wingmark.callbacks.augmentations import draw_augmentations
from wingmark.evaluation import Report, Scores
from wingmark.loggers import forgiving
from wingmark.metrics.functional import ced

PICTURES = ("ced.png", "landmarks.png", "faces.jpg")
CURVE_STEPS = 500  # W&B draws 10,000 points of a chart at most


class Dashboard(Callback):
    """Draws `pictures/augmentations.jpg` when training starts, and shows it with what was trained and how it ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            path = self.folder / "pictures" / "augmentations.jpg"
            draw_augmentations(path, trainer.datamodule.dataset("train"))
            show_pictures(trainer.loggers, {"augmentations": path})
            _summarize(trainer.loggers, {"protocol": pl_module.protocol.label, "schema": pl_module.schema.name})

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        best = best_checkpoint(trainer)
        if trainer.is_global_zero and best is not None:
            values = {"nme": best.best_model_score.item(), "checkpoint": best.best_model_path}
            _summarize(trainer.loggers, {f"best/{key}": value for key, value in values.items()})


def best_checkpoint(trainer: Trainer) -> ModelCheckpoint | None:
    """What keeps the weights of the lowest validation NME, if there were any; a config may bring others besides."""
    for callback in trainer.checkpoint_callbacks:
        if getattr(callback, "monitor", None) == "val/nme" and callback.best_model_score is not None:
            return callback
    return None


def show_pictures(loggers: Sequence[Logger], pictures: dict[str, Path]) -> None:
    """Show picture files on every logger that can, by name. Other loggers go without: the files are there."""
    for logger in loggers:
        with forgiving(logger):
            for name, path in pictures.items():
                if isinstance(logger, WandbLogger):
                    logger.log_image(name, [str(path)])
                elif hasattr(getattr(logger, "experiment", None), "add_image"):
                    logger.experiment.add_image(name, cv2.imread(str(path))[..., ::-1], dataformats="HWC")


def _summarize(loggers: Sequence[Logger], values: dict[str, Any]) -> None:
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            with forgiving(logger):
                logger.experiment.summary.update(values)


def show_report(loggers: Sequence[Logger], report: Report, folder: Path, name: str) -> None:
    """Show a test, written to `folder`, on all loggers under `name`, and close them."""
    full, files = _flat(report.scores["full"]), PICTURES
    if report.confidence is not None:
        full, files = full | report.confidence.numbers(), (*PICTURES, "reliability.png")
    numbers = {f"{name}/{key}": value for key, value in full.items() if value is not None}
    for logger in loggers:
        with forgiving(logger):
            if isinstance(logger, WandbLogger):
                _show_on_wandb(logger.experiment, report, folder, name)
            else:
                logger.log_metrics(numbers, step=0)
    _summarize(loggers, {**numbers, f"{name}/protocol": report.predictions.protocol.label})
    show_pictures(loggers, {f"{name}/pictures/{Path(file).stem}": folder / "pictures" / file for file in files})
    for logger in loggers:
        with forgiving(logger):
            logger.finalize("success")


def _flat(scores: Scores) -> dict[str, float]:
    """Each interval as two numbers: columns and charts show nothing else."""
    flat = asdict(scores)
    for key in ("nme", "fr", "auc"):
        flat[f"{key}_low"], flat[f"{key}_high"] = flat.pop(f"{key}_interval") or (None, None)
    return flat


def _show_on_wandb(run: Any, report: Report, folder: Path, name: str) -> None:
    import wandb  # only now: other loggers do without

    label = report.predictions.protocol.label
    subsets = [{"subset": subset, **_flat(scores), "protocol": label} for subset, scores in report.scores.items()]
    found, worst_first = report.predictions, np.argsort(-report.nme, kind="stable")
    faces = [[str(found.id[i]), str(found.tags[i]), float(report.nme[i])] for i in worst_first]
    run.log(
        {
            f"{name}/subsets": wandb.Table(list(subsets[0]), [list(row.values()) for row in subsets]),
            f"{name}/face_nme": wandb.Table(["id", "tags", "nme"], faces),
            f"{name}/ced": _ced_chart(report),
        }
    )
    artifact = wandb.Artifact(re.sub(r"[^A-Za-z0-9_.-]", "-", f"{name}-{run.id}"), type="test")
    for file in ("metrics.json", "faces.csv"):
        artifact.add_file(str(folder / file))
    run.log_artifact(artifact)


def _ced_chart(report: Report) -> Any:
    import wandb

    protocol = report.predictions.protocol
    members = report.predictions.subsets()
    curves = [ced_corners(report.nme[chosen], protocol.threshold) for chosen in members.values()]
    return wandb.plot.line_series(
        xs=[x.tolist() for x, _ in curves],
        ys=[y.tolist() for _, y in curves],
        keys=[f"{subset} ({chosen.sum()} faces)" for subset, chosen in members.items()],
        title=f"CED, {protocol.label}: share of faces up to an NME",
        xname="NME",
    )


def ced_corners(nme: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Corners (P,), (P,) of the CED's steps from 0 to the threshold, for programs that join points by straight lines.

    Every step of the metric is there up to CURVE_STEPS faces; of more, as many evenly spread ones, each of them exact.
    """
    errors, shares = (column.numpy() for column in ced(torch.from_numpy(nme)))
    count = np.searchsorted(errors, threshold, side="right")
    kept = np.unique(np.linspace(0, count - 1, min(count, CURVE_STEPS)).round().astype(int))
    x, after = errors[kept], shares[kept]
    levels = np.repeat([0.0, *after], 2)
    return np.concatenate([[0.0], np.repeat(x, 2), [threshold]]), levels
