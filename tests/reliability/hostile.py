"""Files made to harm whoever opens them, and what wingmark does with each.

    python tests/reliability/hostile.py

Every file is opened in a process of its own. Its payload would create a file `ran`; peak memory is that of the process
above what it had before. Exit status 1 where something ran, was not refused in one sentence, or took over 500 MB.
"""

import contextlib
import io
import os
import resource
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hostile_files import CASES, EVIL, OTHERS, Case, untrained

MEMORY = 500  # MB
# Its processes come of one that has trained nothing, unlike the tests' own: a fork of that could not build a model.
CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["wingmark.export", "wingmark.infer", "wingmark.study", "wingmark.training"])


class Outcome(NamedTuple):
    """What was said in refusing it, None where it was not; whether code ran; MB of memory; what it ended in."""

    said: str | None
    ran: bool
    memory: float
    error: str


def open_in_process(name: str, folder: Path) -> Outcome:
    """Open the file of the case with that name in a process and a folder of its own."""
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_open, args=(name, folder, sender))
    process.start()
    sender.close()
    outcome = receiver.recv()
    process.join()
    return outcome


def _open(name: str, folder: Path, sender: Any) -> None:
    (case,) = (case for case in CASES + OTHERS if case.name == name)
    os.chdir(folder)
    for module in ("evil", "wingmark_evil"):
        Path(f"{module}.py").write_text(EVIL)
    sys.path.insert(0, str(folder))
    torch.set_num_threads(1)
    untrained()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said, kind, streams = None, "", io.StringIO()
    try:
        with contextlib.redirect_stderr(streams), contextlib.redirect_stdout(io.StringIO()):
            case.attempt()
    except BaseException as error:
        kind = type(error).__name__
        said = str(error)
        if getattr(error, "code", None) == 2:  # the command line has said it already, on several lines, and what to try
            lines = streams.getvalue().splitlines()
            said = " ".join(line.strip() for line in lines if not line.startswith("tip:"))
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000
    sender.send(Outcome(said, Path("ran").exists(), memory, kind))


def fault(case: Case, outcome: Outcome) -> str | None:
    """What is wrong with an outcome, or None."""
    if outcome.ran:
        return "RAN"
    if outcome.memory > MEMORY:
        return "too much memory"
    if case.passed_over:
        return None if outcome.said is None else f"refused: {outcome.said}"
    if outcome.said is None:
        return "not refused"
    if "\n" in outcome.said:
        return f"told on several lines: {outcome.said}"
    # What the command line ends with, or what it makes a sentence of.
    return None if outcome.error in ("SystemExit", "ValueError", "FileNotFoundError") else f"ended in {outcome.error}"


def table() -> int:
    """Print every case and return how many went wrong."""
    faults = 0
    print(f"{'file':<45}{'outcome':<20}{'MB':>6}")
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            outcome = open_in_process(case.name, Path(folder).resolve())
        wrong = fault(case, outcome)
        faults += wrong is not None
        print(f"{case.name:<45}{wrong or ('passed over' if case.passed_over else 'refused'):<20}{outcome.memory:>6.0f}")
        print(f"    {outcome.said[:150]}" if outcome.said else "    nothing run")
    print(f"{len(CASES)} files, {faults} went wrong")
    return faults


if __name__ == "__main__":
    sys.exit(table() > 0)
