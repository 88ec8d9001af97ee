"""`wingmark`: one command with all others below it, and errors in one sentence.

What a command needs is imported when it is called: `--help` waits for nothing, and a table not for Lightning.
"""

import argparse
import logging
import os
import re
import sys
from importlib import import_module
from typing import Any

TRAINING = {
    "fit": "train a model: --config RECIPE, and any setting after it",
    "validate": "score a run on its validation faces: --run RUN",
    "test": "score a run on its test faces, with tables and pictures: --run RUN",
    "predict": "write down the landmarks that a run finds on its test faces: --run RUN",
}
# Modules of wingmark.commands.
OTHERS = {
    "annotate": "find the landmarks of one's own images or of a video: INPUT --model RUN",
    "export": "write a trained model as a file for other programs: ONNX, torch.export, safetensors",
    "evaluate": "score a file of predictions, of any method",
    "compare": "curves and differences of runs, and which of them are noise",
    "inspect": "see what is in a data set and what is wrong with its labels: --data.source FILE",
    "balance": "see what repeating faces of rare poses does: --config RECIPE, and any setting of fit",
    "cascade": "join two stages into one model and test it",
    "calibrate": "learn what error the scores of an earlier heatmap run stand for",
    "robustness": "how the scores of a run depend on the face box",
    "study": "a grid of settings and seeds as runs, and their comparison",
}


class Paragraphs(argparse.HelpFormatter):
    """Fits each paragraph of a description to the terminal; argparse makes one of all."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n\n".join(fill(paragraph, width, indent) for paragraph in text.split("\n\n"))


def main(args: list[str] | None = None) -> Any:
    """Run a command, for tests and notebooks: `main(["fit", "--config", ...])`, as on the command line.

    Errors in data or config end in one sentence; WINGMARK_DEBUG=1 shows where they arose.
    """
    logging.basicConfig(format="%(message)s")
    logging.getLogger("wingmark").setLevel(logging.INFO)
    args = sys.argv[1:] if args is None else args
    name = args[0] if args else ""
    try:
        if name in TRAINING:
            return import_module("wingmark.training").run(args)
        if name not in OTHERS:
            return _overview().parse_args(args)
        module = import_module(f"wingmark.commands.{name}")
        parser = argparse.ArgumentParser(f"wingmark {name}", description=module.__doc__, formatter_class=Paragraphs)
        module.add_arguments(parser)
        arguments, rest = parser.parse_known_args(args[1:])
        if "settings" in arguments:  # a command that takes any setting of fit
            arguments.settings = rest
        elif rest:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        return module.run(arguments)
    except KeyboardInterrupt:  # training handles it itself once its modules are imported
        print("ended by SIGINT", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        # Lightning's own exception for settings is told by its name: importing it takes as long as Lightning.
        told = isinstance(error, ValueError | OSError | ImportError)
        loader = str(error).startswith("DataLoader worker")  # it was killed, for want of memory mostly
        ours = told or loader or type(error).__name__ == "MisconfigurationException"
        if not ours or os.environ.get("WINGMARK_DEBUG"):
            raise
        sys.exit(f"wingmark: {_sentence(error)}")


def _sentence(error: Exception) -> str:
    """The line of an error that tells what is wrong.

    A loader process wraps it into its own traceback, of which it is the last; jsonargparse into a list of what each
    type had to say about a setting that may also be null.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reasons = [line.removeprefix("  - ") for line in lines if line.startswith("  - ") and "NoneType" not in line]
    return reasons[0] if reasons else re.sub(r"^\w+Error: ", "", lines[-1].strip())


def _overview() -> argparse.ArgumentParser:
    """Lists all commands for --help, and refuses what is none."""
    parser = argparse.ArgumentParser("wingmark", description="Train, test and compare facial landmark models.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, purpose in {**TRAINING, **OTHERS}.items():
        commands.add_parser(name, help=purpose)
    return parser


def command() -> None:
    """The `wingmark` command: like `main`, but its exit status is 0 where all went well."""
    main()


if __name__ == "__main__":
    command()
