"""The files of tests/reliability/hostile.py as ordinary tests, and that their payloads are alive."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parent / "reliability"))
import hostile
import hostile_files

BOMBS = ("a gigabyte of zeros", "2.5 GiB of zeros")  # take seconds to write


def parameter(case: hostile_files.Case):
    slow = any(bomb in case.name for bomb in BOMBS)
    return pytest.param(case, id=case.name, marks=pytest.mark.long if slow else ())


@pytest.mark.parametrize("case", [parameter(case) for case in hostile_files.CASES])
def test_nothing_in_it_is_run(case, tmp_path):
    hostile_files.untrained()
    outcome = hostile.open_in_process(case, tmp_path)
    assert hostile.fault(case, outcome) is None
    if outcome.error != "SystemExit":  # a command line that cannot be parsed is told on several lines
        assert outcome.said is None or "\n" not in outcome.said


def ran(attempt, folder: Path) -> hostile.Outcome:
    return hostile.open_in_process(hostile_files.Case("", attempt), folder)


def test_sound_files_are_read(tmp_path):
    for attempt in (
        lambda: hostile_files.load(hostile_files.checkpoint()),
        lambda: hostile_files.resume("test", hostile_files.checkpoint()),
        lambda: hostile_files.predictions(),
    ):
        outcome = ran(attempt, tmp_path)
        assert (outcome.said, outcome.ran) == (None, False)


def test_the_payload_would_run(tmp_path):
    def unpickle() -> None:
        torch.save(hostile_files.checkpoint(callbacks=hostile_files.Payload()), "x.ckpt")
        torch.load("x.ckpt", weights_only=False)

    assert ran(unpickle, tmp_path).ran


def test_the_module_would_run_where_it_is_trusted(tmp_path, monkeypatch):
    monkeypatch.setenv("WINGMARK_TRUST", "other, evil")
    outcome = ran(lambda: hostile_files.naming(loss="evil.Loss"), tmp_path)
    # It is imported, and then names a class of ours.
    assert (outcome.said, outcome.ran) == (None, True)
