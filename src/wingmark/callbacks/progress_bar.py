"""The line of progress of a training or a test."""

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import TQDMProgressBar


class Bar(TQDMProgressBar):
    """One line of progress, drawn at most four times a second, without the version of the log."""

    drawn = 0.0  # when, in seconds

    def _should_update(self, current: int, total: int) -> bool:
        now = time.monotonic()
        due = self.is_enabled and (current == total or now - self.drawn > 0.25)
        if due:
            self.drawn = now
        return due

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics
