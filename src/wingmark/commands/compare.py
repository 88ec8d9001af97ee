"""Compare methods on the same test faces: scores, paired differences to the first RUN with 95 % intervals, CED curves.

A RUN is the folder of a run after `wingmark test`, the folder of a further test of it (RUN/test/PROTOCOL), or a file
of predictions of any method, see `wingmark evaluate --help`. Runs that differ only in seed_everything are seeds of
one method. Of twenty rows without any true difference expect one or two outside the noise.
"""

import argparse
import os
from pathlib import Path

import wingmark.protocol
import wingmark.schema
from wingmark.evaluation.comparison import Comparison


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a tested run, or .npz or .csv")
    parser.add_argument("--protocol", metavar="NAME", help="built in or a YAML file; default: the files' own")
    parser.add_argument("--schema", metavar="NAME", help="built in or a YAML file; default: by number of landmarks")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="default: comparison in the folder that all RUNs share"
    )


def run(arguments: argparse.Namespace) -> Comparison:
    """Print the tables and write comparison.json, comparison.csv and ced.png."""
    protocol = wingmark.protocol.get(arguments.protocol) if arguments.protocol else None
    schema = wingmark.schema.get(arguments.schema) if arguments.schema else None
    comparison = Comparison.of(arguments.runs, protocol, schema)
    folder = arguments.output or _shared_folder(arguments.runs) / "comparison"
    comparison.write(folder)
    comparison.print()
    print(f"{folder}: comparison.json, comparison.csv, ced.png")
    return comparison


def _shared_folder(runs: list[Path]) -> Path:
    """The innermost folder that holds all runs, as seen from here."""
    return Path(os.path.relpath(os.path.commonpath([run.resolve().parent for run in runs])))
