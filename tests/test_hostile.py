"""The files of tests/reliability/hostile.py as ordinary tests, and that their payloads are alive."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "reliability"))
import hostile
import hostile_files

BOMBS = ("a gigabyte of zeros", "2.5 GiB of zeros")  # take seconds to write


def parameter(case: hostile_files.Case):
    slow = any(bomb in case.name for bomb in BOMBS)
    return pytest.param(case, id=case.name, marks=pytest.mark.long if slow else ())


@pytest.mark.parametrize("case", [parameter(case) for case in hostile_files.CASES])
def test_nothing_in_it_is_run(case, tmp_path):
    outcome = hostile.open_in_process(case.name, tmp_path)
    assert hostile.fault(case, outcome) is None


@pytest.mark.parametrize("case", hostile_files.OTHERS, ids=lambda case: case.name)
def test_others_are_opened(case, tmp_path):
    outcome = hostile.open_in_process(case.name, tmp_path)
    assert outcome.said is None
    assert outcome.ran == (not case.name.startswith("sound"))
