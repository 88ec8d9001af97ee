"""Going on from a checkpoint with the settings of callbacks and of the scaler that the command line says."""

import inspect
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint


class ChosenSettings(Callback):
    """Of a checkpoint callbacks and the scaler keep what they have learned, not how they were set up.

    In their states both stand side by side, such as the patience of EarlyStopping and for how long it has been waiting:
    what their constructors take is a setting. A ModelCheckpoint looks after its folder itself.
    """

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        for callback in trainer.callbacks:
            if not isinstance(callback, ModelCheckpoint):
                _choose(callback, checkpoint["callbacks"].get(callback.state_key, {}))
        precision = trainer.precision_plugin
        if getattr(precision, "scaler", None) is not None:
            _choose(precision.scaler, checkpoint.get(type(precision).__qualname__, {}))


def _choose(part: Any, state: dict[str, Any]) -> None:
    settings = settings_in(part)
    state.update((name, settings[name]) for name in state.keys() & settings.keys())


def settings_in(part: Any) -> dict[str, Any]:
    """What the state of a callback, a scaler or a schedule tells of its constructor's arguments."""
    arguments = inspect.signature(type(part).__init__).parameters
    return {name: value for name, value in part.state_dict().items() if name in arguments}
