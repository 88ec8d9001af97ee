"""`wingmark fit | validate | test | predict`: what stands between the command and LightningCLI."""

import logging
import signal
import sys
import warnings
from pathlib import Path

from pytorch_lightning.utilities import rank_zero_only

from wingmark.checkpoints import best_of
from wingmark.foreign import read_yaml
from wingmark.interruption import Interrupted, requeue, started_by_first
from wingmark.landmark_cli import LandmarkCLI


def run(args: list[str]) -> LandmarkCLI:
    """Run one of the four with its arguments."""
    if rank_zero_only.rank:
        logging.getLogger("wingmark").setLevel(logging.ERROR)
    quiet_libraries()
    try:
        return LandmarkCLI(of_run(args))
    except Interrupted as interruption:
        if rank_zero_only.rank:
            # With another status than 0 Lightning kills the first process, which may be closing its loggers.
            sys.exit(0 if started_by_first() else interruption.status)
        print(interruption, file=sys.stderr)
        if interruption.number == signal.SIGUSR1 and not interruption.agreed:
            requeue()
        sys.exit(interruption.status)


def of_run(args: list[str]) -> list[str]:
    """Replace `--run RUN` by the config, best checkpoint, name and place of that run; later arguments win."""
    args = [word for argument in args for word in (argument.split("=", 1) if argument[:6] == "--run=" else [argument])]
    if "--run" not in args:
        return args
    position = args.index("--run")
    if position + 1 == len(args):
        raise ValueError("--run needs the folder of a run, for example --run runs/demo")
    run = Path(args[position + 1])
    if args[0] == "fit":
        raise ValueError(f"--run is for finished runs; resume with --ckpt_path last --name {run.name}")
    config, rest = run / "config.yaml", args[1:position] + args[position + 2 :]
    if not config.is_file():
        raise FileNotFoundError(f"--run {run}: {config} does not exist; give the folder of a `wingmark fit`")
    if "first" in read_yaml(config)["model"]:
        raise ValueError(
            f"--run {run} is a cascade, which `wingmark cascade` has tested; other scores of what it found give "
            f"wingmark evaluate --predictions {run}/predictions.npz, other boxes wingmark robustness {run}"
        )
    place = ["--name", run.name, "--runs", str(run.parent)]
    weights = [] if any(word.startswith("--ckpt_path") for word in rest) else ["--ckpt_path", str(best_of(run))]
    return [args[0], "--config", str(config), *place, *weights, *rest]


# What the libraries say on every run and nobody can act on.
NOISE = (
    "LightningCLI's args parameter",  # main(args) is called from tests and notebooks
    "(?s).*does not round-trip",  # tuples become lists in config.yaml, which are read back as tuples
    ".*isinstance.treespec, LeafSpec",
    ".*not supported by the model summary",
    "(?s).*suggested max number of worker|.*does not have many workers",
    ".*exists and is not empty",
    r"(?s)\s*``instantiate_classes`` was deprecated",  # by Lightning 2.6; see pyproject.toml
    r"(?s)\s*By default only one JsonargparseDeprecationWarning",
    "Be aware that when using `ckpt_path`, callbacks",  # a test needs no ModelCheckpoint
    "You're using the WeightAveraging callback, but loading",  # the averaged weights are what is tested
    "(?s).*your dataloader is not resumable",  # FaceSampler goes on in the middle of an epoch
    ".*number of training batches .* is smaller than the logging interval",
)


HINTS = ("💡", "TPU available", "Found current_model_state")


def quiet_libraries() -> None:
    """Keep back what the libraries say on every run."""
    for message in NOISE:
        warnings.filterwarnings("ignore", message)
    tips = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    tips.addFilter(lambda record: not record.getMessage().startswith(HINTS))
