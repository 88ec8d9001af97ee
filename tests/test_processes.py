"""Two and three processes on the CPU through the command line: the numbers of one process, and a whole run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wingmark.evaluation import Predictions


def wingmark(folder: Path, *args: str) -> str:
    command = [str(Path(sys.executable).with_name("wingmark")), *args]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run trained by two processes, on faces that do not divide evenly."""
    folder = tmp_path_factory.mktemp("ddp")
    overlay = Path(__file__).parents[1] / "configs" / "overlays" / "ddp_cpu.yaml"
    recipe = Path(__file__).parent / "tiny.yaml"
    wingmark(folder, "fit", "--config", str(recipe), "--config", str(overlay), "--name", "two")
    return folder / "runs" / "two"


def test_two_processes_leave_one_whole_run(run):
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "config.yaml", "logs"]
    assert [path.name for path in (run / "logs").iterdir()] == ["version_0"]


def test_a_test_gives_the_same_numbers_on_any_number_of_processes(run):
    results = {}
    for devices, faces in [(1, 7), (2, 7), (3, 7), (3, 2)]:
        source = ("--data.source.init_args.test", str(faces))
        name = f"{devices}-{faces}"
        out = wingmark(
            run.parents[1],
            *("test", "--run", str(run), "--name", name, "--trainer.devices", str(devices), *source),
        )
        assert out.count("synthetic/inter-ocular/v1") == 1  # one process prints
        folder = run.parent / name
        scores = json.loads((folder / "metrics.json").read_text())["scores"]["all"]
        results[devices, faces] = scores, Predictions.load(folder / "predictions.npz")
    one, predictions = results[1, 7]
    for devices in (2, 3):
        scores, found = results[devices, 7]
        assert scores["faces"] == 7
        assert scores == pytest.approx(one, rel=1e-6)
        assert (found.id == predictions.id).all()
        assert np.abs(found.landmarks_image - predictions.landmarks_image).max() < 1e-3
    # Three processes for two faces: one of them has none of its own.
    scores, found = results[3, 2]
    assert scores["faces"] == 2
    assert np.abs(found.landmarks_image - predictions.landmarks_image[:2]).max() < 1e-3
