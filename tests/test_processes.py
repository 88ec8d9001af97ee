"""Two and three processes on the CPU through the command line: the numbers of one process, and a whole run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wingmark.cli import main
from wingmark.evaluation import Predictions


def wingmark(folder: Path, *args: str) -> str:
    command = [str(Path(sys.executable).with_name("wingmark")), *args]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
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
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "config.yaml", "logs", "pictures"]
    assert [path.name for path in (run / "logs").iterdir()] == ["metrics.csv"]


def scores_and_predictions(folder: Path) -> tuple[dict, Predictions]:
    scores = json.loads((folder / "metrics.json").read_text())["scores"]["full"]
    return scores, Predictions.load(folder / "predictions.npz")


@pytest.fixture(scope="module")
def single(run) -> tuple[dict, Predictions]:
    """What one process finds."""
    main(["test", "--run", str(run), "--name", "single", "--trainer.devices", "1", "--trainer.strategy", "auto"])
    return scores_and_predictions(run.parent / "single")


# Three processes for two faces: one of them has none of its own.
@pytest.mark.parametrize(("devices", "faces"), [(3, 2), *(pytest.param(n, 7, marks=pytest.mark.long) for n in (2, 3))])
def test_a_test_gives_the_same_numbers_on_any_number_of_processes(run, single, devices, faces):
    name, source = f"{devices}-{faces}", ("--data.source.init_args.test", str(faces))
    out = wingmark(
        run.parents[1], "test", "--run", str(run), "--name", name, "--trainer.devices", str(devices), *source
    )
    assert out.count("synthetic/inter-ocular/v1") == 1  # one process prints
    (one, expected), (scores, found) = single, scores_and_predictions(run.parent / name)
    assert scores["faces"] == faces
    assert (found.id == expected.id[:faces]).all()
    assert np.abs(found.landmarks_image - expected.landmarks_image[:faces]).max() < 1e-3
    assert scores["nme"] == pytest.approx(np.nanmean(expected.errors()[:faces], axis=1).mean(), rel=1e-6)
    if faces == 7:
        for key, value in one.items():
            assert scores[key] == (value and pytest.approx(value, rel=1e-6)), key


def test_every_face_is_predicted_once_by_two_processes(run):
    faces = ("predict", "--run", str(run), "--faces", "all")
    wingmark(run.parents[1], *faces, "--name", "by_two")
    main([*faces, "--name", "by_one", "--trainer.devices", "1", "--trainer.strategy", "auto"])
    files = [run.parent / name / "predict" / "all" / "predictions.npz" for name in ("by_two", "by_one")]
    two, one = map(Predictions.load, files)
    assert len(one.id) == 24 + 5 + 7 == len(set(one.id)) and (one.id == two.id).all()
    assert np.abs(one.landmarks_image - two.landmarks_image).max() < 1e-3
