"""The W&B overlay without an account: what was logged is read back from the files that W&B writes offline."""

import csv
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
import yaml
from wandb.errors import CommError
from wandb.proto.wandb_internal_pb2 import Record

from wingmark.cli import main
from wingmark.evaluation import Predictions, Report
from wingmark.loggers import rows_of_wandb
from wingmark.model import LandmarkModule

ROOT = Path(__file__).parents[1]
RECIPE = ("--config", str(ROOT / "tests" / "tiny.yaml"), "--config", str(ROOT / "configs" / "overlays" / "wandb.yaml"))
# A threshold that the untrained model reaches on some faces: curves with steps.
PROTOCOL = {"name": "synthetic/wide/v1", "box": "dataset", "margin": 1.1, "threshold": 0.58}
OTHER = {"name": "other/box/v1", "box": "dataset", "margin": 1.1, "normalizer": "box_size"}


def records(path: Path) -> list[Record]:
    """A `.wandb` file: 7 bytes of header, then blocks of 32 KiB holding (checksum 4, length 2, type 1, data)."""
    data, position, part, found = path.read_bytes(), 7, b"", []
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        length, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        part += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            found.append(Record.FromString(part))
            part = b""
    return found


def tree(items: Any) -> dict[str, Any]:
    """Values of W&B's records by key; a nested key leads through dictionaries."""
    found: dict[str, Any] = {}
    for item in items:
        *outer, last = item.nested_key or [item.key]
        inner = found
        for key in outer:
            inner = inner.setdefault(key, {})
        inner[last] = json.loads(item.value_json)
    return found


class Session:
    """One `offline-run-*` folder: what one fit or one test logged."""

    def __init__(self, folder: Path) -> None:
        (file,) = folder.glob("run-*.wandb")
        found = records(file)
        self.files = folder / "files"
        self.history = [tree(r.history.item) for r in found if r.HasField("history")]
        self.summary = tree(item for r in found if r.HasField("summary") for item in r.summary.update)
        self.config = tree(item for r in found if r.HasField("config") for item in r.config.update)
        self.artifacts = [r.artifact for r in found if r.HasField("artifact")]
        (self.id,) = {r.run.run_id for r in found if r.HasField("run")}

    def series(self, key: str) -> list[tuple[int, float]]:
        return [(row["trainer/global_step"], row[key]) for row in self.history if key in row]

    def logged(self, key: str) -> Any:
        (value,) = [row[key] for row in self.history if key in row]
        return value

    def table(self, key: str) -> list[dict[str, Any]]:
        content = json.loads((self.files / self.logged(key)["path"]).read_text())
        return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]

    def artifact(self, name: str) -> dict[str, Path]:
        (found,) = [artifact for artifact in self.artifacts if artifact.name == name]
        return {entry.path: Path(entry.local_path) for entry in found.manifest.contents}


def sessions(run: Path) -> list[Session]:
    wandb.teardown()  # W&B's own process writes down what it still holds
    return [Session(folder) for folder in sorted(run.glob("wandb/offline-run-*"))]


def surroundings(folder: Path) -> dict[str, str]:
    """W&B silent, and its own files away from the home folder."""
    return {"WANDB_SILENT": "true"} | {
        f"WANDB_{name}_DIR": str(folder / "w" / name) for name in ("DATA", "CACHE", "CONFIG")
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """Trained, tested by two protocols, and trained on: four sessions of W&B."""
    folder = tmp_path_factory.mktemp("wandb")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("WANDB_API_KEY", raising=False)
        for name, value in surroundings(folder).items():
            patch.setenv(name, value)
        settings = ["--name", "w", "--data.protocol", json.dumps(PROTOCOL), "--trainer.logger.init_args.log_model=true"]
        main(["fit", *RECIPE, *settings])
        main(["test", "--run", "runs/w"])
        main(["test", "--run", "runs/w", "--data.protocol", json.dumps(OTHER)])
        main(["fit", *RECIPE, *settings, "--ckpt_path=runs/w/checkpoints/last.ckpt", "--trainer.max_epochs=3"])
    assert not (folder / "wandb").exists()
    return folder / "runs" / "w"


def test_one_run_holds_all(run):
    assert {session.id for session in sessions(run)} == {(run / "wandb_id.txt").read_text().strip()}
    assert len(sessions(run)) == 4
    assert [path.name for path in (run / "logs").iterdir()] == ["metrics.csv"]  # all of it, and a test adds nothing


def test_curves_are_those_of_the_csv_file(run):
    first, _, _, resumed = sessions(run)
    with open(run / "logs" / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for key in ("train/loss", "val/nme", "lr-AdamW"):
        assert [*first.series(key), *resumed.series(key)] == [(int(r["step"]), float(r[key])) for r in rows if r[key]]
    assert [step for step, _ in first.series("train/loss")] == [0, 1, 2, 3, 4, 5]
    assert [step for step, _ in resumed.series("train/loss")] == [6, 7, 8]
    assert first.summary["best/nme"] == min(value for _, value in first.series("val/nme"))


def test_config_is_the_whole_tree_and_names_the_protocol(run):
    config = sessions(run)[0].config
    content = yaml.safe_load((run / "config.yaml").read_text())
    for section in ("model", "data"):
        assert config[section] == content[section]
    assert config["protocol"] == sessions(run)[0].summary["protocol"] == Report.of(load(run)).predictions.protocol.label
    assert config["schema"] == "ibug68"


def load(run: Path) -> Predictions:
    return Predictions.load(run / "predictions.npz")


@pytest.mark.parametrize(
    ("session", "key", "file"),
    [
        (0, "augmentations", "pictures/augmentations.jpg"),
        (1, "test/pictures/ced", "pictures/ced.png"),
        (1, "test/pictures/landmarks", "pictures/landmarks.png"),
        (1, "test/pictures/faces", "pictures/faces.jpg"),
        (2, "test/other_box_v1/pictures/faces", "test/other_box_v1/pictures/faces.jpg"),
    ],
)
def test_pictures_are_those_of_the_run_folder(run, session, key, file):
    found = sessions(run)[session]
    (name,) = found.logged(key)["filenames"]
    assert (found.files / name).read_bytes() == (run / file).read_bytes()


@pytest.mark.parametrize(("session", "name"), [(1, "test"), (2, "test/other_box_v1")])
def test_scores_of_each_protocol_are_those_of_its_metrics_json(run, session, name):
    found, folder = sessions(run)[session], run / name if session == 2 else run
    metrics = json.loads((folder / "metrics.json").read_text())
    rows = {row.pop("subset"): row for row in found.table(f"{name}/subsets")}
    assert list(rows) == list(metrics["scores"])
    for subset, scores in metrics["scores"].items():
        expected = {key: value for key, value in scores.items() if not key.endswith("_interval")}
        for key in ("nme", "fr", "auc"):
            expected[f"{key}_low"], expected[f"{key}_high"] = scores[f"{key}_interval"] or (None, None)
        label = f"{metrics['protocol']['name']}#{metrics['protocol_digest']}"
        assert rows[subset] == {**expected, "protocol": label}
    keys = {key for key in found.summary if key.startswith("test")}
    assert all(key.startswith(f"{name}/") for key in keys)  # nothing of another test is overwritten
    assert {key: found.summary.get(f"{name}/{key}") for key in rows["full"]} == rows["full"]


def test_faces_are_listed_worst_first(run):
    predictions, table = load(run), sessions(run)[1].table("test/face_nme")
    distance = np.linalg.norm(predictions.landmarks_image - predictions.target, axis=2).mean(1)
    nme = dict(zip(predictions.id, distance / predictions.normalizer, strict=True))
    assert {row["id"]: row["nme"] for row in table} == pytest.approx(nme, rel=1e-12)
    assert [row["nme"] for row in table] == sorted((row["nme"] for row in table), reverse=True)
    assert {row["id"]: row["tags"] for row in table} == dict(zip(predictions.id, predictions.tags, strict=True))


def test_the_chart_is_the_ced(run):
    session, report = sessions(run)[1], Report.of(load(run))
    chart = session.config["_wandb"]["visualize"]["test/ced"]["panel_config"]
    assert report.predictions.protocol.label in chart["stringSettings"]["title"]
    rows = session.table("test/ced_table")
    assert 0 < (report.nme <= PROTOCOL["threshold"]).sum() < len(report.nme)
    for subset, members in report.predictions.subsets().items():
        corners = [(r["step"], r["lineVal"]) for r in rows if r["lineKey"] == f"{subset} ({members.sum()} faces)"]
        nme = report.nme[members]
        assert corners[0] == (0, 0) and corners[-1][0] == PROTOCOL["threshold"]
        # Of two corners at one place the upper one is the value there.
        heights = dict(corners)
        assert set(heights) == {0, PROTOCOL["threshold"], *nme[nme <= PROTOCOL["threshold"]]}
        for x, height in heights.items():
            assert abs(height - (nme <= x).mean()) < 1e-12
        assert all((x1 == x0) or (y1 == y0) for (x0, y0), (x1, y1) in itertools.pairwise(corners))


def test_artifacts(run):
    fit, test, other, _ = sessions(run)
    for session, name, folder in (test, "test", run), (other, "test-other_box_v1", run / "test" / "other_box_v1"):
        files = session.artifact(f"{name}-{session.id}")
        assert {path: file.read_bytes() for path, file in files.items()} == {
            file: (folder / file).read_bytes() for file in ("metrics.json", "faces.csv")
        }
    checkpoints = [artifact for artifact in fit.artifacts if artifact.name == f"model-{fit.id}"]
    assert [set(artifact.aliases) for artifact in checkpoints] == [{"latest", "best"}, {"latest"}]
    assert {entry.path for artifact in checkpoints for entry in artifact.manifest.contents} == {"model.ckpt"}


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    for name, value in surroundings(tmp_path).items():
        monkeypatch.setenv(name, value)
    return tmp_path / "runs" / "a"


def assert_complete(run: Path) -> None:
    assert {path.name for path in run.iterdir()} >= {"checkpoints", "config.yaml", "logs", "pictures"}
    assert (run / "checkpoints" / "best.ckpt").is_file()
    assert "train/loss" in (run / "logs" / "metrics.csv").read_text()


@pytest.mark.parametrize("share", [1.0, 0.6, 0.0], ids=["whole", "cut off", "empty"])
def test_w_and_b_has_each_row_once_whatever_it_kept_of_a_killed_training(here, monkeypatch, share):
    usual = LandmarkModule.training_step

    def fault(self, *batch):
        if self.trainer.global_step == 5:
            raise ArithmeticError  # the last checkpoint is of step 3
        return usual(self, *batch)

    monkeypatch.setattr(LandmarkModule, "training_step", fault)
    with pytest.raises(ArithmeticError):
        main(["fit", *RECIPE, "--name", "a"])
    monkeypatch.setattr(LandmarkModule, "training_step", usual)
    wandb.teardown()
    (file,) = here.glob("wandb/*run-*/*.wandb")
    every = [*rows_of_wandb(file)]
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    kept = [*rows_of_wandb(file)]
    assert kept == every[: len(kept)] and (len(kept) == len(every)) == (share == 1)
    main(["fit", *RECIPE, "--name", "a", "--ckpt_path", "last"])
    wandb.teardown()
    rows = [row for file in sorted(here.glob("wandb/*run-*/*.wandb")) for row in rows_of_wandb(file)]
    for key, steps in {"train/loss": [0, 1, 2, 3, 4, 5], "lr-AdamW": [0, 1, 2, 3, 4, 5], "val/nme": [2, 5]}.items():
        assert [step for step, names in rows if key in names] == steps


def test_errors_while_logging_are_told_once(here, monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise CommError("broken pipe")

    for name in ("log", "log_artifact", "finish"):
        monkeypatch.setattr(wandb.Run, name, fail)
    main(["fit", *RECIPE, "--name", "a", "--trainer.max_epochs=1", "--trainer.logger.init_args.log_model=true"])
    wandb.teardown()
    assert_complete(here)
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "wingmark.loggers"]
    assert "SafeWandbLogger failed (CommError: broken pipe)" in warning


@pytest.mark.long
def test_two_processes_and_a_server_out_of_reach_give_one_offline_run(tmp_path):
    online = {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    overlay = ("--config", str(ROOT / "configs" / "overlays" / "ddp_cpu.yaml"))
    impatient = [f"--trainer.logger.init_args.{key}" for key in ("offline=false", "init_timeout=1", "finish_timeout=1")]
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("wingmark")), "fit", *RECIPE, *overlay, *impatient),
            *("--name", "a", "--trainer.max_epochs", "1"),
        ],
        cwd=tmp_path,
        env={**os.environ, **surroundings(tmp_path), **online},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert_complete(tmp_path / "runs" / "a")
    (session,) = sessions(tmp_path / "runs" / "a")
    assert [step for step, _ in session.series("train/loss")] == [0]
    assert done.stderr.count("W&B cannot start online (CommError") == 1


def test_without_the_overlay_wandb_is_not_started(here, monkeypatch):
    monkeypatch.setattr(wandb, "init", lambda **_: pytest.fail("W&B was started"))
    monkeypatch.setattr(wandb, "setup", lambda **_: pytest.fail("W&B was started"))
    main(["fit", *RECIPE[:2], "--name", "a", "--trainer.max_epochs=1"])
    assert_complete(here)
    assert not list(here.glob("wandb*"))
    for path in (ROOT / "src").rglob("*.py"):
        assert "\nimport wandb" not in path.read_text(), f"{path} would import W&B for those who do without"
