"""Steps whose loss or gradient is not finite never reach the weights."""

import json
import logging
import math
import shlex
from collections import deque
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor
from torch.optim import Optimizer

from wingmark.callbacks.moving_average import MovingAverage
from wingmark.checkpoints import WholeCheckpoints
from wingmark.types import Batch

log = logging.getLogger(__name__)

SHOWN = 10  # faces of such a step; the file that is kept has all
MOST_SKIPS, STEPS = 10, 100  # more skipped of so many in a row, and training ends
HALF_TYPES = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


class Part(NamedTuple):
    """A batch of the running step, of which there are several where gradients are accumulated."""

    batch: Batch
    random: dict[str, Tensor]  # states of what draws dropout, before it


class FiniteSteps(Callback):
    """Looks at every step between its gradients and the change of the weights.

    Where a loss or a gradient of any process is not finite, all of them end (`raise`) or leave out the step (`skip`):
    gradients of all its batches are dropped, and weights, the optimizer's state, buffers such as BatchNorm's statistics
    and the average of the weights stay as they were; random numbers, the schedule and the count of steps go on.
    `nonfinite/` then holds the batches with the weights, for `wingmark.run.repeat_step`; of skipped steps the first.
    At most MOST_SKIPS of any STEPS steps in a row are skipped.

    With 16-mixed the scaler leaves out steps whose gradients it made too large, which is no fault; they are one where
    its scale has fallen below 1.

    On CUDA this waits once per step for the gradients, as the scaler does.
    """

    def __init__(self, folder: Path, on_nonfinite: Literal["raise", "skip"]) -> None:
        self.folder, self.on_nonfinite = folder, on_nonfinite
        self.skipped, self.latest = 0, deque[int](maxlen=MOST_SKIPS + 1)  # steps that were skipped
        self.parts: list[Part] = []
        self.losses: list[Tensor] = []
        self.buffers: list[Tensor] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for callback in trainer.callbacks:
            if isinstance(callback, WeightAveraging) and not isinstance(callback, MovingAverage):
                raise ValueError(
                    f"{type(callback).__name__} averages skipped steps too, and checkpoints of weights alone hold no "
                    "average; take wingmark.callbacks.MovingAverage, as configs/overlays/ema.yaml does"
                )

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped, "latest": list(self.latest)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.skipped = state["skipped"]
        self.latest.extend(state["latest"])

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_index: int
    ) -> None:
        if batch_index % trainer.accumulate_grad_batches == 0:
            self.parts, self.losses = [], []
            if self.on_nonfinite == "skip":
                self.buffers = [buffer.clone() for buffer in pl_module.buffers()]
        self.parts.append(Part(batch, _random_state(batch.image.device)))

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        self.losses.append(loss.detach())

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        loss_fault, norm_fault = self._faults(trainer, pl_module)
        # The squares in a norm may overflow where no gradient does; to look for the largest takes ten times as long.
        gradients = [parameter.grad for parameter in pl_module.parameters()] if norm_fault else []
        if loss_fault or not (largest(gradients).isfinite() or _scaled_up(trainer)):
            self._treat(trainer, pl_module)
            optimizer.zero_grad()  # optimizers leave alone what has no gradient
        if self.on_nonfinite == "skip" and (trainer.global_step + 1) % trainer.log_every_n_steps == 0:
            pl_module.log("train/skipped_steps", float(self.skipped))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.skipped:
            log.warning("%d of %d steps were skipped: not finite", self.skipped, trainer.global_step)

    def _faults(self, trainer: Trainer, pl_module: LightningModule) -> list[float]:
        """Whether the loss of any process is not finite, and whether the norm of the gradients is not."""
        gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        finite = torch.stack([torch.stack(self.losses).isfinite().all(), norm.isfinite()])
        # One waiting for the device, and one exchange between processes.
        return trainer.strategy.reduce(1 - finite.float(), reduce_op="max").tolist()

    def _treat(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step = trainer.global_step
        self.latest.append(step)
        too_many = len(self.latest) > MOST_SKIPS and step - self.latest[0] < STEPS
        ends = self.on_nonfinite == "raise" or too_many
        told = self._examine(trainer, pl_module, keep=ends or not self.skipped)
        if ends:
            reason = f"more than {MOST_SKIPS} of {STEPS} steps would be skipped: lower the rate, or mend the data"
            config = shlex.quote(str(self.folder / "config.yaml"))
            way_out = f"leave out such steps: wingmark fit --config {config} --ckpt_path last --on_nonfinite skip"
            raise ValueError(f"{told}; {reason if too_many else way_out}")
        log.warning("%s; the step is skipped", told)
        self.skipped += 1
        with torch.no_grad():
            for buffer, before in zip(pl_module.buffers(), self.buffers, strict=True):
                buffer.copy_(before)
        for callback in trainer.callbacks:
            if isinstance(callback, MovingAverage):
                callback.leave_out(step)

    def _examine(self, trainer: Trainer, pl_module: LightningModule, keep: bool) -> str:
        """Find the batches at fault, keep them, and tell of those of all processes."""
        found = [loss_and_gradient(pl_module, part, trainer.precision) for part in self.parts]
        faulty = [number for number, values in enumerate(found) if not all(map(math.isfinite, values))]
        anywhere = trainer.strategy.reduce(
            torch.tensor(float(bool(faulty)), device=pl_module.device), reduce_op="max"
        ).item()
        if not anywhere:  # a sum over batches, or what does not come out twice alike
            faulty = list(range(len(found)))
        told = ""
        if faulty:
            faces = trainer.datamodule.dataset("train").faces
            ids = [[faces[index].id for index in self.parts[number].batch.index.tolist()] for number in faulty]
            loss, gradient = found[faulty[0]]
            every = [name for batch in ids for name in batch]
            names = ", ".join(every[:SHOWN]) + (f" and {len(every) - SHOWN} more" if len(every) > SHOWN else "")
            told = f"loss {loss:g}, largest gradient {gradient:g} for the faces {names}"
            if keep:
                told += f"; repeat it: {self._keep(trainer, pl_module, faulty, ids)}"
        return f"step {trainer.global_step} is not finite: {' | '.join(filter(None, _gathered(told, trainer)))}"

    def _keep(self, trainer: Trainer, pl_module: LightningModule, faulty: list[int], ids: list[list[str]]) -> str:
        """Write the batches with the weights; the command that computes them again."""
        parts = [self.parts[number] for number in faulty]
        content = {
            "state_dict": pl_module.state_dict(),
            "batches": [part.batch._asdict() for part in parts],
            "random": [part.random for part in parts],
            "ids": ids,
            "precision": trainer.precision,
        }
        pl_module.on_save_checkpoint(content)  # how the model is built
        process = f"_process{trainer.global_rank}" if trainer.world_size > 1 else ""
        path = self.folder / "nonfinite" / f"step_{trainer.global_step:06d}{process}.pt"
        WholeCheckpoints().save_checkpoint(content, path)
        lines = f"import wingmark.run; print(wingmark.run.repeat_step({json.dumps(str(path))}))"
        return f"python -c {shlex.quote(lines)}"


def loss_and_gradient(model: LightningModule, part: Part, precision: str) -> tuple[float, float]:
    """The loss of a batch and its largest gradient, as in training without a scaler."""
    device = part.batch.image.device
    half = HALF_TYPES.get(precision)
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.enable_grad():
        torch.set_rng_state(part.random["cpu"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(part.random["cuda"], device)
        with torch.autocast(device.type, half, enabled=half is not None):
            loss = torch.stack(model.losses(part.batch)).mean()
        # Not `backward`, on which other processes would wait.
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return loss.item(), largest(gradients).item()


def largest(gradients: list[Tensor | None]) -> Tensor:
    """The largest absolute value, NaN where there is one."""
    return torch.nn.utils.get_total_norm([gradient for gradient in gradients if gradient is not None], math.inf)


def _random_state(device: torch.device) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _scaled_up(trainer: Trainer) -> bool:
    """Whether a scaler may have made gradients too large; it leaves out the step by itself."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    return scaler is not None and scaler.get_scale() >= 1


def _gathered(told: str, trainer: Trainer) -> list[str]:
    """What every process has to tell."""
    if trainer.world_size == 1:
        return [told]
    all_told: list[str] = [""] * trainer.world_size
    torch.distributed.all_gather_object(all_told, told)
    return all_told
