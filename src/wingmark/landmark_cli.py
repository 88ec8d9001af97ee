"""`wingmark fit | validate | test | predict`: LightningCLI with our module, our data and one folder per run."""

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

import pytorch_lightning as pl
import yaml
from jsonargparse import Namespace
from jsonargparse.typing import NonNegativeFloat
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from wingmark.callbacks import (
    BestCheckpoint,
    ChosenRates,
    ChosenSettings,
    Continuation,
    Dashboard,
    FiniteSteps,
    LastCheckpoint,
    PredictionWriter,
)
from wingmark.callbacks.dashboard import best_checkpoint
from wingmark.callbacks.progress_bar import Bar
from wingmark.checkpoints import WholeCheckpoints, newest_whole
from wingmark.data import LandmarkDataModule
from wingmark.files import remove_leftovers, whole_file
from wingmark.interruption import Signals
from wingmark.loggers import CurveLogger
from wingmark.model import LandmarkModule

log = logging.getLogger(__name__)


class LandmarkParser(LightningArgumentParser):
    """Errors end in one sentence: what all the options are is told by --help."""

    def print_usage(self, file: Any = None) -> None:
        pass

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if "Expected a path" in message:
            message += "\nGive a class, such as WFLW, or a YAML file, such as configs/sources/wflw.yaml"
        super().error(message, ex)


class SaveRunConfig(SaveConfigCallback):
    """Writes the resolved config to `config.yaml` in the run folder, and to the loggers.

    Not before training starts: of a run that cannot be gone on with as asked, config.yaml stays as it was.
    """

    def __init__(self, parser: LandmarkParser, config: Namespace, *, folder: Path, chosen: Namespace) -> None:
        # `chosen` is what the user said; in `config` loggers and folders already belong to this run.
        super().__init__(parser, chosen)
        self.folder = folder

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        pass

    @rank_zero_only
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        content = self.parser.dump(self.config, skip_unset=False)
        with whole_file(self.folder / "config.yaml") as path:
            path.write_text(content)
        rules = {"protocol": pl_module.protocol.label, "schema": pl_module.schema.name}
        for logger in trainer.loggers:
            if not isinstance(logger, CurveLogger):  # config.yaml already lies beside its file
                logger.log_hyperparams({**yaml.safe_load(content), **rules})


class LandmarkCLI(LightningCLI):
    """The command line. Every run lives in one folder, `<runs>/<name>`."""

    dashboards: Sequence[Logger] = ()  # what a test is shown on

    def __init__(self, args: list[str] | None = None) -> None:
        with Signals() as self.signals:
            super().__init__(
                LandmarkModule,
                LandmarkDataModule,
                save_config_callback=SaveRunConfig,
                parser_class=LandmarkParser,
                parser_kwargs={
                    "description": "Train, test and use facial landmark models. Every run lives in one folder."
                },
                seed_everything_default=0,
                trainer_defaults={"enable_model_summary": False},
                args=args,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
            )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--name", type=str | None, help="folder of this run; default: the recipe's name and the time"
        )
        parser.add_argument("--runs", type=str, default="runs", help="folder of all runs")
        parser.add_argument(
            "--checkpoint_minutes",
            type=NonNegativeFloat,
            default=10,
            help="how often last.ckpt is written, besides at each validation",
        )
        parser.add_argument(
            "--on_nonfinite",
            type=Literal["raise", "skip"],
            default="raise",
            help="what happens to a training step whose loss or gradient is not finite",
        )
        parser.add_argument(
            "--run",
            type=str | None,
            help="validate, test, predict: folder of a run, instead of its --config, --ckpt_path, --name and --runs",
        )
        for key in ("schema", "protocol", "crop_size"):
            parser.link_arguments(f"data.{key}", f"model.{key}", apply_on="instantiate")
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "predict":
            meaning = "test, or all: validation faces and augmented training faces too, for a second stage"
            parser.add_argument("--faces", type=Literal["test", "all"], default="test", help=meaning)
        return parser

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        ours = {"verbose", "return_predictions", "weights_only"}  # what is printed, written and loaded is not asked
        return {name: skipped | ours for name, skipped in LightningCLI.subcommands().items()}

    def after_fit(self) -> None:
        best = best_checkpoint(self.trainer)
        if best is not None:
            nme = f"best validation NME {100 * best.best_model_score:.2f} %"
            self._say(f"{self.folder}: {nme}, protocol {self.model.protocol.label}")
        elif not self.trainer.fast_dev_run:
            self._say(f"{self.folder}: no best.ckpt, since no validation ended")

    def validate(self, **kwargs: Any) -> None:
        (scores,) = self.trainer.validate(**kwargs, verbose=False)
        self._say(f"validate, protocol {self.model.protocol.label}: NME {100 * scores['val/nme']:.2f} %")

    @rank_zero_only
    def _say(self, sentence: str) -> None:
        print(sentence)

    def test(self, **kwargs: Any) -> None:
        # Lightning would log scores without their protocol; they are shown with it afterwards.
        self.dashboards, self.trainer.loggers = self.trainer.loggers, []
        self.trainer.test(**kwargs, verbose=False)

    def predict(self, **kwargs: Any) -> None:
        self.datamodule.predicted = self.config.predict.faces
        self.trainer.predict(**kwargs, return_predictions=False)

    def after_test(self) -> None:
        for callback in self.trainer.callbacks:
            if isinstance(callback, PredictionWriter):
                callback.say()
                callback.show(self.dashboards)

    after_predict = after_test

    def _parse_ckpt_path(self) -> None:
        """A checkpoint brings weights, never settings: the config and the command line decide."""

    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        config.name = config.name or self._default_name(config)
        config.data.seed = int(config.seed_everything)  # the number drawn, where a random one was asked for
        self.folder = Path(config.runs) / config.name
        if config.data.context != 1:
            raise ValueError(
                "data.context is for cascades, which `wingmark cascade` makes; a model of one stage sees more around "
                "the face by a protocol with a larger margin"
            )
        if config.trainer.default_root_dir is not None:
            raise ValueError("trainer.default_root_dir is not used; --runs and --name say where a run goes")
        self.save_config_kwargs = {"folder": self.folder, "chosen": self._chosen(config)}
        config.trainer.default_root_dir = str(self.folder)
        if config.ckpt_path not in (None, "last") and not Path(config.ckpt_path).is_file():
            raise FileNotFoundError(
                f"--ckpt_path {config.ckpt_path} does not exist; give last, or a file such as .../best.ckpt"
            )
        if config.ckpt_path == "last":
            config.ckpt_path = self._newest_checkpoint()
        callbacks = self.trainer_defaults["callbacks"] = []
        if config.trainer.enable_progress_bar is not False:
            callbacks.append(Bar())
        throwaway = bool(config.trainer.fast_dev_run)
        if self.subcommand != "fit":
            if config.ckpt_path is None:
                raise ValueError(f"{self.subcommand} needs trained weights: give --run RUN or --ckpt_path FILE")
            # Only a test has something to show; it goes on with the loggers of the training.
            config.trainer.logger = self._loggers(config) if self.subcommand == "test" else False
            if not throwaway:
                callbacks.append(PredictionWriter(self.folder, self._about(config)))
        elif not throwaway:
            self._refuse_existing_run(config.ckpt_path)
            if config.ckpt_path is not None and config.trainer.overfit_batches:
                raise ValueError(
                    "trainer.overfit_batches leaves out our sampler: such a training cannot be gone on with"
                )
            if rank_zero_only.rank == 0:
                remove_leftovers(self.folder)
            callbacks += [BestCheckpoint(self.folder / "checkpoints"), Dashboard(self.folder), Continuation()]
            callbacks += [ChosenRates(), ChosenSettings()]
            callbacks.append(FiniteSteps(self.folder, config.on_nonfinite))
            if config.trainer.logger is not False:
                callbacks.append(LearningRateMonitor("step"))
                config.trainer.logger = [*self._loggers(config), self._curve_logger()]

    def _chosen(self, config: Namespace) -> Namespace:
        """What repeats this run: its settings, without where it was resumed from."""
        chosen = config.clone()
        chosen.ckpt_path = None
        return chosen

    def _about(self, config: Namespace) -> dict[str, Any]:
        """What is tested, beside the protocol."""
        plain = self._plain(config)
        # The same file by another name is the same test.
        checkpoint = os.path.relpath(config.ckpt_path)
        return {"checkpoint": checkpoint, "source": plain["data"]["source"], "codec": plain["model"]["codec"]}

    def _plain(self, config: Namespace) -> dict[str, Any]:
        """The config as plain values."""
        return yaml.safe_load(self._parser(self.subcommand).dump(config, skip_unset=False))

    def _newest_checkpoint(self) -> str | None:
        folder = self.folder / "checkpoints"
        path = newest_whole(folder)
        if path is None and any(folder.glob("[!.]*")):
            raise ValueError(f"{folder} holds no whole checkpoint; delete {self.folder}, or choose another --name")
        if path is not None:
            log.info("going on from %s" if self.subcommand == "fit" else "%s", path)
        elif self.subcommand == "fit":
            log.warning("%s holds no checkpoint to go on from: training starts at the beginning", self.folder)
        return path and str(path)

    def _default_name(self, config: Namespace) -> str:
        recipe = Path(str(config.config[0])).stem if config.get("config") else "run"
        # Agents of a W&B sweep start in the same second; each knows the id of its run.
        parts = (recipe, time.strftime("%Y%m%d-%H%M%S"), os.environ.get("WANDB_RUN_ID"))
        name = "-".join(filter(None, parts))
        # Processes that Lightning starts for DDP run this again, later: they take the name from the first one.
        if rank_zero_only.rank == 0:
            os.environ["WINGMARK_RUN_NAME"] = name
        return os.environ.get("WINGMARK_RUN_NAME", name)

    @rank_zero_only
    def _refuse_existing_run(self, ckpt_path: str | None) -> None:
        checkpoints = self.folder / "checkpoints"
        resuming = ckpt_path is not None and Path(ckpt_path).resolve().parent == checkpoints.resolve()
        # A training that was killed within its first checkpoint left none.
        if any(checkpoints.glob("[!.]*")) and not resuming:
            raise ValueError(
                f"{self.folder} already holds a run; choose another --name, resume it with "
                "--ckpt_path last, or delete the folder"
            )

    def _loggers(self, config: Namespace) -> list[Namespace]:
        """The loggers of the config, placed in the run folder."""
        wanted = config.trainer.logger
        loggers = wanted if isinstance(wanted, list) else [wanted] if isinstance(wanted, Namespace) else []
        for logger in loggers:
            own = logger.init_args
            if own.get("save_dir") == ".":
                own.save_dir = str(self.folder)
            if "name" in own and own.name in (None, "lightning_logs"):
                own.name = config.name
            if "id_file" in own and own.id_file is None:
                own.id_file = str(self.folder / "wandb_id.txt")
        return loggers

    def _curve_logger(self) -> dict[str, Any]:
        """Curves always go to `logs/` in the run folder too."""
        return {"class_path": "wingmark.loggers.CurveLogger", "init_args": {"folder": str(self.folder / "logs")}}

    def after_instantiate_classes(self) -> None:
        # Ours wait for the end of a step, on all processes; Lightning's would take their place.
        self.trainer._signal_connector.register_signal_handlers = lambda: None
        plugin = type(self.trainer.strategy.checkpoint_io).__name__
        if plugin != "TorchCheckpointIO":
            raise ValueError(
                f"trainer.plugins: {plugin} would write checkpoints; leave it out, wingmark writes them whole"
            )
        self.trainer.strategy.checkpoint_io = WholeCheckpoints(to_train=self.subcommand == "fit")
        config = self.config[self.subcommand]
        if self.subcommand == "fit" and not config.trainer.fast_dev_run:
            self.trainer.callbacks.insert(0, LastCheckpoint(self.folder, config.checkpoint_minutes, self.signals))
        # What `run.load` needs to build this model again, as plain values.
        self.model.config = self._plain(self.config[self.subcommand])["model"]
