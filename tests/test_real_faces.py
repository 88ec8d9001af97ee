"""The recipes on real files, where WINGMARK_DATA names a folder that holds some; see tests/README.md."""

import json
import os
from pathlib import Path

import pytest

from wingmark.cli import main

DATA = os.environ.get("WINGMARK_DATA")
RECIPES = Path(__file__).parents[1] / "configs" / "recipes"
pytestmark = pytest.mark.skipif(DATA is None, reason="WINGMARK_DATA is not set: no real faces to try the recipes on")

SOURCES = {
    "wflw_regression_wing": ["--data.source.init_args.root", f"{DATA}/samples/wflw"],
    "csv_regression_wing": [
        *("--data.source.init_args.root", f"{DATA}/samples/faces_csv/faces"),
        *("--data.source.init_args.annotations", "face_landmarks.csv"),
    ],
}


@pytest.mark.parametrize(("recipe", "faces"), [("wflw_regression_wing", 18), ("csv_regression_wing", 1)])
def test_one_epoch_and_test(recipe, faces, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--data.num_workers", "0"]
    main(["fit", "--config", str(RECIPES / f"{recipe}.yaml"), *SOURCES[recipe], *small, "--name", "a"])
    main(["test", "--run", "runs/a"])
    assert json.loads(Path("runs/a/metrics.json").read_text())["scores"]["full"]["faces"] == faces
