"""The LightningModule: a network, a codec and a loss, trained and evaluated."""

import logging
from collections.abc import Callable
from typing import Any, Literal

import torch
from pytorch_lightning.cli import OptimizerCallable
from torch import nn

from wingmark.codecs import CodecFactory
from wingmark.confidence import Calibration
from wingmark.finder import LandmarkFinder
from wingmark.geometry import pixel_sides
from wingmark.losses import LandmarkLoss
from wingmark.metrics import ScoredErrors
from wingmark.networks import NetworkFactory
from wingmark.objective import Objective, compiler_fault
from wingmark.protocol import Protocol
from wingmark.schedules import ScheduleFactory
from wingmark.schema import LandmarkSchema
from wingmark.types import Batch, Found, Prediction

log = logging.getLogger(__name__)

CHECKPOINT_FORMAT = 1


class LandmarkModule(LandmarkFinder):
    """Finds landmarks in crops.

    Args:
        network: makes a list of outputs from crops (B, 3, H, W) uint8; all are trained, the last is evaluated.
        codec: turns landmarks into what the network is trained on, and its output back into landmarks.
        loss: compares the two.
        schema: the markup; the command line takes it from the data.
        protocol: how errors are counted; the command line takes it from the data.
        crop_size: side of the crops in pixels; the command line takes it from the data.
        optimizer: from parameters to an optimizer.
        schedule: from the optimizer and the number of its steps to a schedule stepped after each; None keeps the rate.
        compile: fuse target and loss with torch.compile; `auto` does so for heatmaps where a compiler works.

    With heatmaps every validation while training also calibrates: what error a score stands for. `calibration` belongs
    to the weights that were validated, and is stored with them; None before a validation, and for coordinates.
    """

    config: dict[str, Any] | None = None  # of the `model` section, set by the command line; stored with the weights
    calibration: Calibration | None = None
    kept_weights: Callable[[], dict[str, torch.Tensor]] | None = None  # what is kept instead of those of the last step

    def __init__(
        self,
        network: NetworkFactory,
        codec: CodecFactory,
        loss: LandmarkLoss,
        schema: LandmarkSchema,
        protocol: Protocol,
        crop_size: int,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=1e-3),
        schedule: ScheduleFactory | None = None,
        compile: bool | Literal["auto"] = "auto",
    ) -> None:
        super().__init__(schema, protocol, crop_size)
        self.codec = codec(schema=schema)
        # Convolutions read channels last fastest, on the CPU as on the GPU, most of all in bfloat16.
        self.network: nn.Module = network(outputs=self.codec.outputs, crop_size=crop_size).to(
            memory_format=torch.channels_last
        )
        self.objective = Objective(self.codec, loss)
        self.optimizer, self.schedule, self.compile_objective = optimizer, schedule, compile
        self.scored_errors = ScoredErrors()
        self._check_parts()

    @torch.no_grad()
    def _check_parts(self) -> None:
        """Try network, codec and loss together on two fake faces: parts that do not fit fail here, by name."""
        reads_boundary = any(getattr(module, "reads_boundary", False) for module in self.network.modules())
        if reads_boundary and getattr(self.codec, "boundary", None) is None:
            raise ValueError(
                "model.network takes the last map of each stack for the boundary (boundary_coordinates: true), but "
                "model.codec draws none: set model.codec.init_args.boundary to paper or full, or the other to false"
            )
        training = self.network.training
        image = torch.zeros(2, 3, self.crop_size, self.crop_size, dtype=torch.uint8)
        outputs = self.network.eval()(image)
        self.network.train(training)
        middle = torch.full((2, self.schema.num_landmarks, 2), (self.crop_size - 1) / 2)
        valid = torch.ones(2, self.schema.num_landmarks, dtype=torch.bool)
        self.objective(outputs, middle, valid, self.crop_size)
        self.codec.decode(outputs[-1], self.crop_size)

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit":
            millions = sum(parameter.numel() for parameter in self.parameters()) / 1e6
            parts = (type(part).__name__ for part in (self.network, self.codec, self.objective.loss))
            log.info("%.1f million parameters; %s", millions, ", ".join(parts))
        self._compile_objective(stage)

    def load_state_dict(self, state_dict: dict[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As in torch, but weights of another model are refused in one sentence."""
        try:
            return super().load_state_dict(state_dict, strict=strict, assign=assign)
        except RuntimeError as error:
            first = str(error).strip().splitlines()[1].strip().split('", ')[0].replace('"', "")
            raise ValueError(
                f"the checkpoint holds the weights of another model ({first}); take the model settings of its "
                "training, which config.yaml of its run has"
            ) from error

    def _compile_objective(self, stage: str) -> None:
        wanted = self.compile_objective
        if stage != "fit" or wanted is False or (wanted == "auto" and self.codec.kind != "heatmap"):
            return
        fault = compiler_fault(self.trainer.strategy.root_device)
        if fault is None:
            self.objective.compile()
            log.info("model.compile: codec and loss are compiled; the first step takes longer")
        elif wanted is True:
            raise ValueError(f"model.compile is true, but torch.compile fails here: {fault}; set it to false or auto")
        else:
            log.info("model.compile: running without, since torch.compile fails here: %s", fault)

    def network_outputs(self, image: torch.Tensor) -> list[torch.Tensor]:
        """What the network gives for crops (B, 3, H, W) uint8: S tensors, heatmaps or coordinates."""
        return self.network(image.contiguous(memory_format=torch.channels_last))

    def forward(self, image: torch.Tensor) -> Found:
        landmarks_crop, score = self.codec.decode(self.network_outputs(image)[-1], image.shape[-1])
        return Found(landmarks_crop, score, None if self.calibration is None else self.calibration(score))

    def losses(self, batch: Batch) -> list[torch.Tensor]:
        """The loss of each of the S outputs of the network; their mean is minimized."""
        size = batch.image.shape[-1]
        return self.objective(self.network_outputs(batch.image), batch.landmarks_crop, batch.valid, size)

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        self.calibration = None  # the weights are about to change
        losses = self.losses(batch)
        loss = torch.stack(losses).mean()
        # Logging a value costs a millisecond or two, also where Lightning writes nothing.
        if (self.trainer.global_step + 1) % self.trainer.log_every_n_steps == 0:
            self._log_losses(loss, losses, len(batch.image))
        return loss

    def _log_losses(self, loss: torch.Tensor, losses: list[torch.Tensor], faces: int) -> None:
        self.log("train/loss", loss, prog_bar=True, batch_size=faces)
        if len(losses) > 1:
            per_stack = {f"train/loss_stack{number}": value for number, value in enumerate(losses, start=1)}
            self.log_dict(per_stack, batch_size=faces)

    @property
    def _calibrates(self) -> bool:
        # Not by `wingmark validate`, whose faces may be others, nor on the few of the check before training.
        return self.codec.kind == "heatmap" and self.trainer.state.fn == "fit" and not self.trainer.sanity_checking

    def on_validation_batch_end(self, outputs: Prediction, batch: Batch, batch_index: int) -> None:
        if self._calibrates:
            self.note_errors(outputs, batch)

    def on_validation_epoch_end(self) -> None:
        if self._calibrates:
            self.calibrate()

    def note_errors(self, found: Prediction, batch: Batch) -> None:
        """Keep the scores and errors of faces, in pixels of the crop, for `calibrate`."""
        error_image = torch.linalg.vector_norm(found.landmarks_image - batch.landmarks_image, dim=2)
        error_crop = error_image / pixel_sides(batch.crop_to_image)[:, None]
        self.scored_errors.update(batch.index, found.score, error_crop, batch.valid)

    def calibrate(self) -> None:
        """Learn from the errors noted what error each score stands for."""
        self.calibration = Calibration.fit(*self.scored_errors.compute())
        self.scored_errors.reset()

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameters())
        if self.schedule is None:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = self.schedule(optimizer=optimizer, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        weights_alone = "pytorch-lightning_version" in checkpoint and "callbacks" not in checkpoint
        if weights_alone and self.kept_weights is not None:
            checkpoint["state_dict"] = self.kept_weights()
        # Plain values only: `run.load` rebuilds the model from them with weights_only=True, without the data.
        checkpoint["wingmark"] = {
            "format": CHECKPOINT_FORMAT,
            "model": self.config,
            "schema": self.schema.to_dict(),
            "protocol": self.protocol.to_dict(),
            "crop_size": self.crop_size,
            "confidence": None if self.calibration is None else self.calibration.to_dict(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        about = checkpoint.get("wingmark", {})
        self.load_calibration(about)
        then, now = about.get("model"), self.config
        if self.calibration is not None and then and now and then.get("codec") != now["codec"]:
            log.info(
                "model.codec is not that of the checkpoint: there are no expected errors, which were learned by it"
            )
            self.calibration = None

    def load_calibration(self, about: dict[str, Any]) -> None:
        """Take the calibration of a checkpoint's `wingmark` block; those of earlier versions have none."""
        fields = about.get("confidence")
        try:
            self.calibration = None if fields is None else Calibration.from_dict(fields)
        except (TypeError, AttributeError) as error:
            raise ValueError("the checkpoint is damaged: its confidence is no calibration") from error
