"""Train and test a recipe for every combination of choices and seeds, and compare the runs.

What is done is skipped, what was interrupted goes on: the same command again completes a study. Every run is an
ordinary one, made by the two commands that are printed before it, in RUNS/STUDY/CHOICE-...-seedN; the comparison lies
beside them. The format of FILE is told at the top of configs/studies/two_losses.yaml.
"""

import argparse
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from wingmark.evaluation.comparison import Comparison
from wingmark.study import Run, Study

INTERRUPTED = 128 + signal.SIGINT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="such as configs/studies/two_losses.yaml")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="of all runs; default: runs")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--only", metavar="NAME", help="run this one, as one of many machines; compare nothing")
    instead.add_argument("--list", action="store_true", help="tell the runs and how far they are; run nothing")
    instead.add_argument("--sweep", type=Path, metavar="FILE", help="write the grid as a W&B sweep; run nothing")


def run(arguments: argparse.Namespace) -> Comparison | None:
    """Complete the runs, then print their comparison and write it down."""
    study = Study.load(arguments.file, arguments.runs)
    chosen = [study.run(arguments.only)] if arguments.only else list(study.runs)
    study.write_overlays()
    protocols = [run.check()["data"]["protocol"] for run in chosen]
    for run, protocol in zip(chosen, protocols, strict=True):
        if protocol != protocols[0]:
            raise ValueError(
                f"{arguments.file}: {chosen[0].name} is tested by protocol {protocols[0]}, {run.name} by {protocol}; "
                "their scores cannot be compared, make a study of each"
            )
    if arguments.sweep:
        study.write_sweep(arguments.sweep)
        print(f"{arguments.sweep}: {len(chosen)} runs; how to start them is told at its top")
        return None
    if arguments.list:
        for run in chosen:
            print(f"{run.state:<12} {run.name}")
        return None
    for number, run in enumerate(chosen, 1):
        _complete(run, f"[{number}/{len(chosen)}] {run.name}")
    return None if arguments.only else _compare(study)


def _complete(run: Run, title: str) -> None:
    """Fit and test, or what is left of it."""
    state = run.state
    if state == "done":
        print(f"{title}: done before", flush=True)
        return
    if state == "interrupted":
        _call(f"{title}: fit, going on", [*run.fit_arguments, "--ckpt_path", "last"])
    elif state == "not started":
        if run.last_checkpoint.parent.exists():
            run.last_checkpoint.parent.rmdir()  # stopped before there was anything to go on from
        _call(f"{title}: fit", run.fit_arguments)
    run.trained.touch()
    _call(f"{title}: test", ["test", "--run", str(run.folder)])


def _call(title: str, arguments: list[str]) -> None:
    """Run a command in its own process, as if it were typed; where it fails, end with its status."""
    options = shlex.join(arguments).replace(" --", " \\\n    --")
    print(f"\n{title}\n  wingmark {options}", flush=True)
    status = _status(arguments)
    if status:
        print(f"wingmark: {title} ended with status {status}; the same command goes on from there", file=sys.stderr)
        sys.exit(status)


def _status(arguments: list[str]) -> int:
    """The exit status of a command in a fresh interpreter: memory, seeds and processes of another run do not reach it.

    Ctrl-C, and SIGTERM from a cluster or the agent of a sweep, end it too.
    """
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
    process = subprocess.Popen([sys.executable, "-m", "wingmark.cli", *arguments])
    try:
        status = process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, earlier)
    return status if status >= 0 else 128 - status  # negative: the number of the signal that killed it


def _compare(study: Study) -> Comparison:
    comparison = Comparison.of([run.folder for run in study.runs])
    folder = study.folder / "comparison"
    comparison.write(folder)
    print()
    comparison.print()
    print(f"{folder}: comparison.json, comparison.csv, ced.png")
    return comparison
