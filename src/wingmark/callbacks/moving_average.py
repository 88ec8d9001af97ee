"""The average of the weights over training: what is validated, kept, tested and exported."""

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import EMAWeightAveraging
from torch import Tensor


class MovingAverage(EMAWeightAveraging):
    """An exponential moving average: after each step it moves a share of 1 - decay of the way to the weights.

    Lightning's, without what goes wrong there: the average lies on the device of the weights, checkpoints of an error
    in the middle of a validation do not mix up the two, and those of weights alone (`save_weights_only`) hold the
    average.

    Raises ValueError for a decay outside of (0, 1).
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"MovingAverage: decay must lie between 0 and 1, got {decay}")
        super().__init__(decay=decay)
        self.swapped = False  # while validating the model holds the average, and the average the weights

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._device = trainer.strategy.root_device  # the model moves there only after this
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            pl_module.kept_weights = self.average

    def average(self) -> dict[str, Tensor]:
        """The averaged weights, for checkpoints of weights alone, of which Lightning tells no callback."""
        self._refuse_within_validation()
        weights = self._average_model.state_dict()
        return {name.removeprefix("module."): weight for name, weight in weights.items() if name.startswith("module.")}

    def leave_out(self, step: int) -> None:
        """Do not move after the step of this number, counted from 0."""
        self._latest_update_step = step + 1

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_epoch_start(trainer, pl_module)
        self.swapped = True

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_epoch_end(trainer, pl_module)
        self.swapped = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        # Callbacks that save come after all others.
        if self.swapped:
            self.on_validation_epoch_end(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._refuse_within_validation()
        super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def _refuse_within_validation(self) -> None:
        if self.swapped:
            raise ValueError("no checkpoint can be written within a validation: weights and average are swapped")
