"""last.ckpt: written in the middle of an epoch too, and before training ends on a signal."""

import shlex
import signal
import time
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_only

from wingmark.interruption import Interrupted, Signals, requeue


class LastCheckpoint(Callback):
    """Writes last.ckpt every few minutes between two steps, before each validation, and when training ends.

    A signal that any process received ends all of them between two steps, after writing it, or between two batches of
    a validation, which is done again when going on. This must be the first callback: others log at the start of a
    batch, and replace the weights by their average when training ends.
    """

    def __init__(self, folder: Path, minutes: float, signals: Signals) -> None:
        self.folder, self.seconds, self.signals = folder, 60 * minutes, signals
        self.step, self.time = 0, 0.0  # of the last writing
        self.common_batches = 0  # of a validation: those that every process has
        self.before: Literal["batch", "validation"] | None = None  # what comes after the state that is being written

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.step, self.time = trainer.global_step, time.monotonic()
        self.signals.waiting = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_index: int) -> None:
        if batch_index % trainer.accumulate_grad_batches:
            return  # gradients are under way, which no checkpoint holds
        due = time.monotonic() - self.time >= self.seconds
        number, due = _largest(trainer, self.signals.received, due)
        if (number or due) and trainer.global_step > self.step:
            self._write(trainer, before="batch")
        self._end_on(number, trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.signals.waiting:  # not in the check before training
            if trainer.fit_loop.epoch_loop._should_accumulate():
                raise ValueError(
                    "this validation comes between two steps, where training cannot go on from: make "
                    "trainer.val_check_interval a multiple of trainer.accumulate_grad_batches "
                    f"({trainer.accumulate_grad_batches})"
                )
            if trainer.global_step > self.step:
                self._write(trainer, before="validation")
            self.common_batches = -_largest(trainer, -sum(trainer.num_val_batches))[0]

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_index: int, loader_index: int = 0
    ) -> None:
        if self.signals.waiting and batch_index < self.common_batches:
            self._end_on(_largest(trainer, self.signals.received)[0], trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        fit = trainer.fit_loop
        if fit.epoch_loop.batch_progress.current.processed < trainer.num_training_batches:
            # An epoch that ended early, by `max_steps` or `max_time`, is not done, as Lightning has it.
            for counts in (fit.epoch_progress.total, fit.epoch_progress.current):
                counts.processed -= 1
                counts.completed -= 1
        self._write(trainer)
        self._end_on(_largest(trainer, self.signals.received)[0], trainer)
        self.signals.waiting = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        # Of a validation Lightning ends only its own loader processes, and Python would wait for the others.
        trainer.fit_loop.teardown()
        if isinstance(exception, Interrupted) and not exception.agreed:
            # The other processes that this one started wait for it, and would tell at length that it is gone.
            others = getattr(trainer.strategy.launcher, "procs", [])
            waiting = [*others]
            others.clear()  # or Lightning, which watches them, would kill this one too
            for process in waiting:
                process.kill()

    def _write(self, trainer: Trainer, before: Literal["batch", "validation"] | None = None) -> None:
        self.before = before
        trainer.save_checkpoint(self.folder / "checkpoints" / "last.ckpt", weights_only=False)
        self.before = None
        self.step, self.time = trainer.global_step, time.monotonic()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # Lightning goes on from the end of a batch and from the middle of a validation, not from the start of either.
        loops = checkpoint["loops"]["fit_loop"]
        if self.before == "batch":
            progress = loops["epoch_loop.batch_progress"]
            for counts in (progress["total"], progress["current"]):
                counts["ready"] -= 1
                counts["completed"] -= 1
            progress["is_last_batch"] = False
            loops["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1
        elif self.before == "validation":
            loops["epoch_loop.val_loop.batch_progress"]["total"].update(ready=1, started=1, processed=0, completed=0)

    def _end_on(self, number: int, trainer: Trainer) -> None:
        if number:
            if number == signal.SIGUSR1:
                rank_zero_only(requeue)()  # before the loggers are closed, which may take longer than the job has
            config = shlex.quote(str(self.folder / "config.yaml"))
            raise Interrupted(
                number,
                f"{self.folder}: ended by {signal.Signals(number).name} after {trainer.global_step} steps; go on with\n"
                f"  wingmark fit --config {config} --ckpt_path last",
                agreed=True,
            )


def _largest(trainer: Trainer, *numbers: int) -> list[int]:
    """The largest of each number over all processes."""
    if trainer.world_size == 1:
        return list(numbers)
    return trainer.strategy.reduce(torch.tensor(numbers, device=trainer.strategy.root_device), reduce_op="max").tolist()
