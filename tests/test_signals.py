"""Ctrl-C and SIGTERM while processes of their own train: to one, to another, to all, with loader processes."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
LONG = ["--trainer.max_epochs=500", "--data.cache=cache"]
TWO = ["--config", str(ROOT / "configs" / "overlays" / "ddp_cpu.yaml")]
SLOW = (
    "import os, sys, time\n"
    "from wingmark.cli import main\n"
    "from wingmark.model import LandmarkModule\n"
    "usual = LandmarkModule.training_step\n"
    "def slow(self, *batch):\n"
    "    open('in_step', 'w').close()\n"
    "    time.sleep(60)\n"
    "    return usual(self, *batch)\n"
    "LandmarkModule.training_step = slow\n"
    "main(sys.argv[1:])\n"
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def start(*arguments: str, command: tuple[str, ...] = ("-m", "wingmark.cli")) -> subprocess.Popen:
    """A training in a session of its own, as a terminal or a scheduler starts it."""
    words = [sys.executable, *command, "fit", "--config", str(ROOT / "tests" / "tiny.yaml"), "--name=a", *arguments]
    return subprocess.Popen(words, start_new_session=True, stderr=open("log.txt", "w"), stdout=subprocess.DEVNULL)


def wait_for(path: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not Path(path).exists():
        assert process.poll() is None and time.monotonic() < deadline, Path("log.txt").read_text()
        time.sleep(0.02)


def second_process(process: subprocess.Popen) -> int:
    for entry in Path("/proc").glob("[0-9]*/stat"):
        ours = entry.read_text().rpartition(")")[2].split()[3] == str(process.pid)
        if ours and b"LOCAL_RANK=1\0" in (entry.parent / "environ").read_bytes():
            return int(entry.parent.name)
    raise AssertionError("there is no second process")


def wait_until_all_ended(process: subprocess.Popen, seconds: float) -> None:
    """All processes of the session."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("a process lives on")


def assert_ended_well(process: subprocess.Popen, number: int) -> None:
    # 5 s are promised; other tests share the machine.
    assert process.wait(timeout=15) == 128 + number, Path("log.txt").read_text()
    wait_until_all_ended(process, 15)
    said = re.search(
        rf"runs/a: ended by {signal.Signals(number).name} after (\d+) steps; go on with", Path("log.txt").read_text()
    )
    checkpoint = torch.load("runs/a/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == int(said[1]) > 0
    assert {path.name for path in Path("runs/a/checkpoints").iterdir()} <= {"best.ckpt", "last.ckpt"}


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_a_signal_to_training_and_its_loaders(number):
    process = start(*LONG, "--data.num_workers=2")
    wait_for("runs/a/checkpoints/best.ckpt", process)
    os.killpg(process.pid, number)
    assert_ended_well(process, number)


@pytest.mark.long
@pytest.mark.parametrize("to", ["first", "second", "both"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_any_of_two_processes_ends_both(to, number):
    process = start(*LONG, *TWO)
    wait_for("runs/a/checkpoints/best.ckpt", process)
    if to == "both":
        os.killpg(process.pid, number)
    else:
        os.kill(process.pid if to == "first" else second_process(process), number)
    assert_ended_well(process, number)


@pytest.mark.long
def test_a_job_of_slurm_with_loaders_starts_again(tmp_path, monkeypatch):
    """SLURM tells the end of its time to every process of a step."""
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")  # where Lightning starts processes itself
    process = start(*LONG, "--data.num_workers=2")
    wait_for("runs/a/checkpoints/best.ckpt", process)
    os.killpg(process.pid, signal.SIGUSR1)
    assert_ended_well(process, signal.SIGUSR1)
    assert Path("calls").read_text() == "requeue 4711\n"


@pytest.mark.long
@pytest.mark.parametrize("seconds", [0, 1, 3])
def test_a_signal_to_the_second_process_before_training_ends_the_first_too(seconds):
    """They may be waiting for each other."""
    process = start(*LONG, *TWO)
    while True:
        try:
            second = second_process(process)
            break
        except AssertionError:
            assert process.poll() is None, Path("log.txt").read_text()
            time.sleep(0.02)
    time.sleep(seconds)
    os.kill(second, signal.SIGTERM)
    process.wait(timeout=60)
    wait_until_all_ended(process, 60)


CHECKING = """
import sys, time
from wingmark.cli import main
from wingmark.model import LandmarkModule

usual = LandmarkModule.validation_step

def slow(self, *batch):
    open(f"checking_{self.global_rank}", "w").close()
    time.sleep(2)
    return usual(self, *batch)

LandmarkModule.validation_step = slow
main(sys.argv[1:])
"""


@pytest.mark.long
@pytest.mark.parametrize("to", ["first", "second", "all"])
def test_a_signal_in_the_check_before_training_ends_all_with_a_sentence(to):
    Path("checking.py").write_text(CHECKING)
    process = start(*LONG, *TWO, command=("checking.py",))
    for rank in (0, 1):
        wait_for(f"checking_{rank}", process)
    if to == "all":
        os.killpg(process.pid, signal.SIGTERM)
    else:
        os.kill(process.pid if to == "first" else second_process(process), signal.SIGTERM)
    assert process.wait(timeout=15) == 143
    wait_until_all_ended(process, 15)
    said = Path("log.txt").read_text()
    assert said.endswith("ended by SIGTERM\n") and "Traceback" not in said


@pytest.mark.long
def test_a_second_interrupt_ends_at_once():
    process = start(command=("-c", SLOW))
    wait_for("in_step", process)
    os.killpg(process.pid, signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=2)  # for the step that is running
    assert "ending after this step; Ctrl-C again ends at once, without saving\n" in Path("log.txt").read_text()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=2) == -signal.SIGINT  # 130 in a shell


@pytest.mark.long
@pytest.mark.parametrize("victim", ["first", "second"])
def test_when_one_of_two_is_killed_the_other_does_not_live_on(victim):
    process = start(*LONG, *TWO)
    wait_for("runs/a/checkpoints/best.ckpt", process)
    os.kill(process.pid if victim == "first" else second_process(process), signal.SIGKILL)
    process.wait(timeout=60)
    wait_until_all_ended(process, 60)
