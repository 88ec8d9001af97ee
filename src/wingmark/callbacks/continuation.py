"""What Lightning leaves out of a checkpoint, and resuming exactly needs."""

import logging
import random
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.loops.loop import _Loop as Loop

from wingmark.loggers import CurveLogger, SafeWandbLogger

log = logging.getLogger(__name__)


class Continuation(Callback):
    """Keeps the states of all random numbers, and how many rows the curves have.

    Every process starts from the same seed and draws as often, so the states of the first one are those of all.
    """

    def __init__(self) -> None:
        self.loaded: dict[str, Any] = {}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        rows = sum(logger.rows for logger in _of(trainer, CurveLogger))
        checkpoint["continuation"] = {"random": _random_states(), "rows": rows}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.loaded = checkpoint.get("continuation", {})
        epochs, most = checkpoint["epoch"], trainer.max_epochs
        if most is not None and 0 <= most < epochs:
            raise ValueError(
                f"the checkpoint has been trained for {epochs} epochs, trainer.max_epochs is {most}: raise it"
            )
        if epochs == most:
            log.info("all %d epochs are done; to train for longer, raise trainer.max_epochs", epochs)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.loaded:
            _set_random_states(self.loaded["random"])
        epochs = trainer.fit_loop.epoch_progress.current
        if epochs.ready == epochs.completed:
            # With `max_steps` Lightning's own setter keeps it as it is, and an epoch without batches would follow.
            Loop.restarting.fset(trainer.fit_loop, False)
        # Also without a checkpoint: a training may have been killed before its first one.
        for curves in _of(trainer, CurveLogger):
            curves.cut(self.loaded.get("rows", 0))
            for logger in _of(trainer, SafeWandbLogger):
                logger.catch_up(curves)


def _of(trainer: Trainer, kind: type[Logger]) -> list[Any]:
    return [logger for logger in trainer.loggers if isinstance(logger, kind)]


def _random_states() -> dict[str, Any]:
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002, of the generator that libraries share
    key = numpy_state["state"]["key"].tolist()  # arrays are not loaded from checkpoints
    states = {
        "python": random.getstate(),
        "numpy": {**numpy_state, "state": {**numpy_state["state"], "key": key}},
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _set_random_states(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002, the same generator
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(states["cuda"])
