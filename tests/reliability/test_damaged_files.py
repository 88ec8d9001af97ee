"""The commands of this folder that damage files, with fewer than they take by themselves."""

import importlib
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def folder(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.mark.parametrize("inputs", [40, pytest.param(1000, marks=pytest.mark.long)])
def test_readers(inputs, capfd):
    assert importlib.import_module("fuzz_readers").main(["--inputs", str(inputs)]) == 0
    rows = capfd.readouterr().out.splitlines()[1:]
    assert len(rows) >= 24 and all(f" {inputs:,} " in row for row in rows)


@pytest.mark.filterwarnings("ignore")
def test_images():
    assert importlib.import_module("damaged_images").main(["--images", "500"]) == 0
