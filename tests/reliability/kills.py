"""Kill trainings at random moments, go on, and compare with a training that nobody killed, bit by bit.

python tests/reliability/kills.py [--trials 50] [--seed 0]

A fifth of the trials trains with two processes, one of which is killed; the other may not live on for a minute. A trial
passes if no checkpoint is damaged, nothing unfinished lies about after going on, and weights, optimizer, random states
and curves are in the end those of the training that nobody killed. Exits with 1 where a trial did not pass.
"""

import argparse
import mmap
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # another number of threads rounds differently

import torch

import wingmark.training  # noqa: F401, what all trainings load is loaded once
from wingmark.checkpoints import WholeCheckpoints
from wingmark.cli import main as wingmark_main
from wingmark.foreign import read_checkpoint
from wingmark.model import LandmarkModule

ROOT = Path(__file__).parents[2]
PATIENCE = 60  # seconds that a process may outlive the one that was killed
PHASES = ("starting", "between", "step", "validation", "writing")
# Dropout draws random numbers. Every step is followed by a checkpoint, so that many kills meet one being written.
FIT = ["fit", "--config", str(ROOT / "tests" / "tiny.yaml"), "--trainer.max_epochs=4", "--checkpoint_minutes=0"]
FIT += ["--data.cache=cache", '--model.network.init_args.options={"drop_rate": 0.3}']
KINDS = {
    "1": [],
    "1, 2 loaders": ["--data.num_workers=2"],
    "1, EMA": ["--config", str(ROOT / "configs" / "overlays" / "ema.yaml")],
    "2": ["--config", str(ROOT / "configs" / "overlays" / "ddp_cpu.yaml")],
}


class Training:
    """A `wingmark fit` in a fork of this process, which tells what it is doing."""

    def __init__(self, name: str, *arguments: str) -> None:
        sys.stdout.flush()
        self.told = mmap.mmap(-1, 2)  # what it is doing, and how many such things it has begun
        self.pid = os.fork()
        if not self.pid:
            os.setsid()
            self._train([*FIT, "--name", name, *arguments])

    def _train(self, arguments: list[str]) -> None:
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        status = 1
        try:
            torch.set_num_threads(1)
            functions = (LandmarkModule, "training_step"), (LandmarkModule, "validation_step")
            for number, (owner, name) in enumerate((*functions, (WholeCheckpoints, "save_checkpoint")), start=2):
                setattr(owner, name, self._telling(getattr(owner, name), number))
            sys.argv = [str(Path(sys.executable).with_name("wingmark")), *arguments]  # what a second process is made of
            wingmark_main()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)

    def _telling(self, function: Callable, phase: int) -> Callable:
        def telling(*args: Any, **kwargs: Any) -> Any:
            self.told[0], self.told[1] = phase, self.told[1] + 1
            try:
                return function(*args, **kwargs)
            finally:
                self.told[0] = 1

        return telling

    def wait(self, begun: int) -> None:
        """Until it has begun so many steps, validations and checkpoints."""
        while self.told[1] < begun and self.processes():
            time.sleep(0.002)

    def processes(self) -> list[int]:
        """Of this training, those that live."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = entry.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            pid, session = int(entry.parent.name), int(fields[3])
            if self.pid in (pid, session) and fields[0] not in "ZX":
                found.append(pid)
        return found

    def second(self) -> int:
        """The process that Lightning started beside the first one."""
        for pid in self.processes():
            if b"LOCAL_RANK=1\0" in Path(f"/proc/{pid}/environ").read_bytes():
                return pid
        return self.pid

    def end(self, patience: float) -> float:
        """Seconds until all processes had ended; what lives longer than `patience` is killed."""
        started = time.monotonic()
        while self.processes() and time.monotonic() - started < patience:
            time.sleep(0.02)
        seconds = time.monotonic() - started
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return seconds


def uninterrupted(kind: str) -> tuple[Path, int]:
    """The run that nobody kills, and how many steps, validations and checkpoints it has."""
    training = Training(f"whole {kind}", *KINDS[kind])
    training.end(300)
    assert training.status == 0, Path("log.txt").read_text()[-3000:]
    return Path("runs") / f"whole {kind}", training.told[1]


def trial(number: int, kind: str, whole: Path, count: int, draw: random.Random) -> tuple[str, str, float, str]:
    """Kill, go on, compare: when and in which phase it was killed, how long others lived on, and what is wrong."""
    name = f"trial {number}"
    run = Path("runs") / name
    training = Training(name, *KINDS[kind])
    begun = draw.randint(1, count)
    training.wait(begun)
    time.sleep(draw.choice([0, draw.uniform(0, 0.05)]))
    victim = draw.choice([training.pid, training.second()])
    phase = PHASES[training.told[0]] if training.processes() else "done"
    if phase != "done":
        os.kill(victim, signal.SIGKILL)
    moment = f"{begun} of {count}"
    outlived = training.end(PATIENCE)
    faults = ["a process lived on"] if outlived >= PATIENCE else []
    faults += [f"{path.name} is damaged" for path in run.glob("checkpoints/[!.]*.ckpt") if not _is_whole(path)]
    resumed = Training(name, *KINDS[kind], "--ckpt_path", "last")
    resumed.end(300)
    if resumed.status:
        return moment, phase, outlived, f"going on ended with {resumed.status}"
    faults += [f"{path.name} is left" for path in run.rglob(".*")]
    faults += differences(whole, run)
    if not faults:
        shutil.rmtree(run)
    return moment, phase, outlived, ", ".join(faults)


def _is_whole(path: Path) -> bool:
    try:
        read_checkpoint(path)
    except ValueError:
        return False
    return True


def differences(whole: Path, run: Path) -> list[str]:
    """What is not the same in the two runs, to the bit."""
    found = []
    for name, keys in (
        ("last", ("state_dict", "optimizer_states", "lr_schedulers", "continuation")),
        ("best", ("state_dict",)),
    ):
        one, other = (read_checkpoint(folder / "checkpoints" / f"{name}.ckpt") for folder in (whole, run))
        averages = {"current_model_state", "averaging_state"} & one.keys()
        for key in ("global_step", "epoch", *keys, *averages):
            if not _equal(one[key], other[key]):
                found.append(f"{name}.ckpt: {key} differs")
    if (whole / "logs" / "metrics.csv").read_bytes() != (run / "logs" / "metrics.csv").read_bytes():
        found.append("curves differ")
    return found


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one == other


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    kinds = [("2", "1, 2 loaders", "1", "1, EMA", "1")[number % 5] for number in range(arguments.trials)]
    draw, phases, failed = random.Random(arguments.seed), Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        wholes = {kind: uninterrupted(kind) for kind in dict.fromkeys(kinds)}
        print(f"{'trial':>5}  {'processes':12}  {'killed after':>12}  {'during':10}  {'outlived [s]':>12}  result")
        for number, kind in enumerate(kinds):
            moment, phase, outlived, faults = trial(number, kind, *wholes[kind], draw)
            result = faults or "the same"
            print(f"{number:5}  {kind:12}  {moment:>12}  {phase:10}  {outlived:12.1f}  {result}", flush=True)
            phases[phase] += 1
            failed += bool(faults)
        if failed:
            print(Path("log.txt").read_text()[-5000:])
        os.chdir(ROOT)
    print(f"{arguments.trials} trials, {failed} failed; killed during: {dict(phases)}")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
