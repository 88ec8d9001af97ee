"""Going on from a checkpoint with the optimizer's settings and the schedule of the command line."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch.optim.lr_scheduler import LambdaLR

from wingmark.callbacks.chosen_settings import settings_in
from wingmark.callbacks.moving_average import MovingAverage


class ChosenRates(Callback):
    """Of a checkpoint the optimizer keeps what it has learned, such as moments, and the schedule where it stands.

    Lightning takes learning rates, weight decay and the like from there too, whatever was asked for now.

    Raises ValueError for another kind of optimizer, whose state means something else, and for another schedule where it
    is none of `LambdaLR`: its state cannot be told from its settings.
    """

    def __init__(self) -> None:
        self.groups: list[dict[str, Any]] = []  # settings of the optimizer as built, by group
        self.schedule: dict[str, Any] = {}  # settings of the schedule as built
        self.earlier: dict[str, Any] | None = None  # settings of the model that the checkpoint tells of

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.earlier = checkpoint["wingmark"]["model"]
        if not {"optimizer", "schedule"} <= self.earlier.keys():
            raise ValueError("the checkpoint does not say which optimizer and schedule it was trained with")
        if "current_model_state" in checkpoint and not any(
            isinstance(part, MovingAverage) for part in trainer.callbacks
        ):
            raise ValueError(
                "the checkpoint holds an average of weights (MovingAverage), which this training does not go on with; "
                "give it configs/overlays/ema.yaml as before, or train under another --name"
            )
        was, now = (_kind(config["optimizer"]) for config in (self.earlier, pl_module.config))
        if was != now:
            raise ValueError(
                f"the checkpoint holds the state of {was}, model.optimizer is {now}, which cannot go on with it; leave "
                "the optimizer as it was, or train under another --name"
            )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Before Lightning restores the optimizer.
        groups = trainer.optimizers[0].param_groups
        self.groups = [{key: value for key, value in group.items() if key != "params"} for group in groups]
        self.schedule = {
            k: v for config in trainer.lr_scheduler_configs for k, v in settings_in(config.scheduler).items()
        }

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.earlier is None:
            return
        restored = trainer.optimizers[0].param_groups
        schedules = [config.scheduler for config in trainer.lr_scheduler_configs]
        if schedules and not isinstance(schedules[0], LambdaLR):
            self._refuse_another(pl_module.config, settings_in(schedules[0]))
            return
        for group, chosen in zip(restored, self.groups, strict=True):
            group.update(chosen)
            group["lr"] = chosen.get("initial_lr", chosen["lr"])
            if not schedules:
                group.pop("initial_lr", None)
        for schedule in schedules:
            schedule.base_lrs = [group["lr"] for group in restored]
            schedule.last_epoch = trainer.global_step
            for group, factor in zip(restored, schedule.lr_lambdas, strict=True):
                group["lr"] *= factor(trainer.global_step)
            schedule._last_lr = [group["lr"] for group in restored]

    def _refuse_another(self, config: dict[str, Any], restored: dict[str, Any]) -> None:
        """restored: settings of the schedule as the checkpoint has them; some depend on how long training is to be."""
        kind = _kind(config["schedule"])
        for part in ("optimizer", "schedule"):
            if config[part] != self.earlier[part]:
                raise ValueError(
                    f"model.{part} differs from that of the checkpoint, which {kind} cannot go on from; leave it as it "
                    "was, or train under another --name"
                )
        for name, value in restored.items():
            if value != self.schedule[name]:
                raise ValueError(
                    f"{kind} had {name} {value}, now it would have {self.schedule[name]}, and cannot go on so; leave "
                    "the length of training as it was, or train under another --name"
                )


def _kind(settings: Any) -> str:
    return settings["class_path"] if isinstance(settings, dict) else str(settings)
