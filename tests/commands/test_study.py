"""Studies: their files, the runs they stand for, what is skipped, gone on with and refused, and the comparison."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
import yaml

from wingmark.cli import main
from wingmark.commands import study as command
from wingmark.evaluation import Predictions
from wingmark.study import Run, Study

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "configs" / "studies").glob("*.yaml"))
L2 = {"model": {"loss": {"class_path": "wingmark.losses.L2Loss"}}}
TINY = {"recipe": "tiny.yaml", "axes": {"loss": {"wing": {}, "l2": L2}}, "seeds": [0, 1]}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a study on the tiny recipe, both in a folder of their own, beside the folder of the call."""
    configs, here = tmp_path / "configs", tmp_path / "here"
    configs.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    (configs / "tiny.yaml").write_text((ROOT / "tests" / "tiny.yaml").read_text())

    def write(content: dict | str) -> Path:
        path = configs / "tiny_study.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
        return path

    return write


@pytest.fixture
def commands(monkeypatch) -> list[list[str]]:
    """The commands that a study runs; they run in this process, which spares the start of an interpreter for each."""
    ran = []

    def status(arguments: list[str]) -> int:
        ran.append(arguments)
        main([*arguments])
        return 0

    monkeypatch.setattr(command, "_status", status)
    return ran


@pytest.fixture
def marks(monkeypatch) -> list[list[str]]:
    """The commands that a study runs; of what they leave there is only what tells how far a run is."""
    ran = []

    def status(arguments: list[str]) -> int:
        ran.append(arguments)
        if arguments[0] == "test":
            (Path(value(arguments, "--run")) / "metrics.json").touch()
            return 0
        run = Path(value(arguments, "--runs")) / value(arguments, "--name")
        (run / "checkpoints").mkdir(parents=True, exist_ok="--ckpt_path" in arguments)
        configs = tuple(Path(word) for flag, word in pairwise(arguments) if flag == "--config")
        settings = Run(run, configs, int(value(arguments, "--seed_everything"))).settings()
        (run / "config.yaml").write_text(yaml.safe_dump(settings))
        (run / "checkpoints" / "last.ckpt").touch()
        return 3 if "broken" in run.name else 0

    monkeypatch.setattr(command, "_status", status)
    return ran


def value(arguments: list[str], flag: str) -> str:
    return arguments[arguments.index(flag) + 1]


def refusal(*arguments: object) -> str:
    """The sentence on which `wingmark study` ends."""
    with pytest.raises(SystemExit) as end:
        main(["study", *map(str, arguments)])
    return str(end.value)


def summary(ran: list[list[str]]) -> list[str]:
    names = [Path(value(words, "--name" if words[0] == "fit" else "--run")).name for words in ran]
    return [f"{words[0]} {name}" for words, name in zip(ran, names, strict=True)]


def test_the_grid(write):
    axes = {"loss": {"wing": {}, "l2": L2}, "crop": {"16": {"data": {"crop_size": 16}}, "own": "size.yaml"}}
    file = write(
        {"recipe": "tiny.yaml", "overlays": ["every.yaml", {"data": {"batch_size": 4}}], "axes": axes, "seeds": [3]}
    )
    (file.parent / "size.yaml").write_text("data: {crop_size: 24}\n")
    (file.parent / "every.yaml").write_text("trainer: {max_epochs: 7}\n")
    study = Study.load(file, Path("elsewhere"))
    study.write_overlays()
    assert [run.name for run in study.runs] == ["wing-16-seed3", "wing-own-seed3", "l2-16-seed3", "l2-own-seed3"]
    assert " ".join(study.runs[3].fit_arguments) == (
        "fit --config ../configs/tiny.yaml --config ../configs/every.yaml"
        " --config elsewhere/tiny_study/overlays/all1.yaml --config elsewhere/tiny_study/overlays/loss-l2.yaml"
        " --config ../configs/size.yaml --seed_everything 3 --runs elsewhere/tiny_study --name l2-own-seed3"
    )
    for run, loss, size in zip(study.runs, ("Wing", "Wing", "L2", "L2"), (16, 24, 16, 24), strict=True):
        settings = run.settings()
        assert settings["model"]["loss"]["class_path"] == f"wingmark.losses.{loss}Loss"
        assert (settings["data"]["crop_size"], settings["data"]["batch_size"]) == (size, 4)
        assert (settings["trainer"]["max_epochs"], settings["seed_everything"]) == (7, 3)


def test_files_named_inside_a_study_are_found_from_its_folder(write):
    file = write({**TINY, "axes": {"loss": {"l1": {"model": {"loss": "l1.yaml"}}}}})
    (file.parent / "l1.yaml").write_text("class_path: wingmark.losses.L1Loss\n")
    study = Study.load(file, Path("runs"))
    study.write_overlays()
    assert study.runs[0].settings()["model"]["loss"]["class_path"] == "wingmark.losses.L1Loss"


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_studies_of_the_project_can_be_read(file, tmp_path, monkeypatch):
    """Every choice makes sound settings, and others than the first run's."""
    monkeypatch.chdir(tmp_path)
    study = Study.load(file, Path("runs"))
    study.write_overlays()
    first, few = study.runs[0], len(study.runs) < 20
    chosen = [
        run for run in study.runs if run.seed == first.seed and (few or len({*run.configs} - {*first.configs}) <= 1)
    ]
    settings = [json.dumps({**run.settings(), "name": ""}) for run in chosen]
    assert len({*settings}) == len(chosen) >= 2


def test_the_losses_of_the_wing_paper():
    study = Study.load(ROOT / "configs" / "studies" / "losses.yaml", Path("runs"))
    assert [run.name for run in study.runs] == [
        f"{loss}-{poses}-seed{seed}"
        for loss in ("l2", "l1", "smooth_l1", "wing")
        for poses in ("as_is", "balanced")
        for seed in (0, 1)
    ]


def test_the_grid_of_the_wing_paper():
    study = Study.load(ROOT / "configs" / "studies" / "wing_grid.yaml", Path("runs"))
    grid = [[study.inline[config]["model"]["loss"]["init_args"] for config in run.configs[-2:]] for run in study.runs]
    assert grid[0] == [{"w": 10}, {"epsilon": 2}]
    assert sorted((w["w"], epsilon["epsilon"]) for w, epsilon in grid) == sorted(
        product((4, 6, 8, 10, 12, 14), (0.5, 1, 2, 3))
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("recipe: [", "is no YAML: while parsing"),
        ("seeds: [0, 1]", "and has seeds; see configs/studies/two_losses.yaml"),
        ("", "and has none"),
        (
            {**TINY, "axis": {}},
            "must have the keys recipe and seeds, may have overlays and axes, and has recipe, axes, seeds, axis",
        ),
        ({**TINY, "recipe": "gone.yaml"}, "recipe names gone.yaml, but ../configs/gone.yaml does not exist"),
        ({**TINY, "recipe": {}}, "recipe must name a YAML file, got {}"),
        ({**TINY, "overlays": "a.yaml"}, "overlays must be a list of YAML files and mappings, got 'a.yaml'"),
        ({**TINY, "overlays": ["a.yaml"]}, "overlays.0 names a.yaml, but"),
        ({**TINY, "overlays": [3]}, "overlays.0 must name a YAML file, got 3"),
        ({**TINY, "overlays": [{"model": {"loss": "a.yaml"}}]}, "overlays.0.model.loss names a.yaml, but"),
        ({**TINY, "axes": ["loss"]}, "axes must name each axis and its choices, got ['loss']"),
        ({**TINY, "axes": {"loss": {}}}, "axes.loss must name its choices, got {}"),
        ({**TINY, "axes": {"loss": ["l1"]}}, "axes.loss must name its choices, got ['l1']"),
        ({**TINY, "axes": {"loss": {"a-b": {}}}}, "'a-b' in axes.loss must be a name of letters, digits, _ and dots"),
        ("{recipe: tiny.yaml, seeds: [0], axes: {flip: {on: {}}}}", "True in axes.flip must be a name of"),
        (
            "recipe: tiny.yaml\nseeds: [0]\naxes:\n  loss:\n    a: {}\n    a: {}\n",
            "a is there twice (line 5 and after)",
        ),
        ({**TINY, "seeds": 3}, "seeds must be a list of different numbers from 0, such as [0, 1], got 3"),
        ({**TINY, "seeds": []}, "got []"),
        ({**TINY, "seeds": [1, 1]}, "got [1, 1]"),
        ({**TINY, "seeds": [True]}, "got [True]"),
        ({"recipe": "tiny.yaml", "seeds": [0]}, "has a single run"),
    ],
)
def test_what_is_no_study_is_refused(write, content, says):
    file = write(content)
    said = refusal(file)
    assert says in said and said.startswith(f"wingmark: {file}") and "\n" not in said
    assert list(Path().iterdir()) == []


def test_a_missing_file_is_named():
    assert refusal("gone.yaml").startswith("wingmark: gone.yaml does not exist; give a study")


def test_a_wrong_setting_is_told_before_anything_runs(write, marks, capsys):
    file = write({**TINY, "axes": {"loss": {"wing": {}, "typo": {"data": {"crop_sise": 3}}}}})
    with pytest.raises(SystemExit):
        main(["study", str(file)])
    assert "crop_sise" in capsys.readouterr().err and marks == []


def test_what_is_left_is_done(write, marks):
    one = ("study", str(write(TINY)), "--only", "l2-seed1")
    run = Path("runs/tiny_study/l2-seed1")

    def call() -> list[str]:
        marks.clear()
        assert main([*one]) is None
        assert {path.name for path in run.iterdir()} == {"checkpoints", "config.yaml", "trained", "metrics.json"}
        return [word for words in marks for word in words if word in ("fit", "test", "--ckpt_path")]

    assert call() == ["fit", "test"]
    assert {path.name for path in run.parent.iterdir()} == {"overlays", "l2-seed1"}
    assert call() == []
    (run / "metrics.json").unlink()
    assert call() == ["test"]
    (run / "metrics.json").unlink()
    (run / "trained").unlink()
    assert call() == ["fit", "--ckpt_path", "test"]
    assert value(marks[0], "--ckpt_path") == "last"
    # Stopped in the first epoch: a new start, although there is a folder for checkpoints.
    for name in ("metrics.json", "trained", "checkpoints/last.ckpt"):
        (run / name).unlink()
    assert call() == ["fit", "test"]


def test_a_test_by_hand_does_not_end_a_training(write):
    run = Study.load(write(TINY), Path("runs")).runs[0]
    (run.folder / "checkpoints").mkdir(parents=True)
    for name in ("metrics.json", "checkpoints/last.ckpt"):
        (run.folder / name).touch()
    assert run.state == "interrupted"
    run.trained.touch()
    assert run.state == "done"


def test_weights_are_never_deleted(write, marks):
    """A checkpoint that training cannot go on from, since somebody removed last.ckpt, is still somebody's."""
    file = write(TINY)
    run = Study.load(file, Path("runs")).runs[0]
    (run.folder / "checkpoints").mkdir(parents=True)
    (run.folder / "checkpoints" / "best.ckpt").touch()
    Study.load(file, Path("runs")).write_overlays()
    (run.folder / "config.yaml").write_text(yaml.safe_dump(run.settings()))
    with pytest.raises(SystemExit, match="last.ckpt does not exist, so training cannot go on; delete runs/tiny_study"):
        main(["study", str(file)])
    assert marks == [] and (run.folder / "checkpoints" / "best.ckpt").is_file()


def test_two_protocols_are_two_studies(write, marks):
    axes = {"rule": {"own": {}, "other": {"data": {"protocol": "csv-tight/inter-ocular/v1"}}}}
    file = write({"recipe": "tiny.yaml", "axes": axes, "seeds": [0]})
    with pytest.raises(
        SystemExit, match="own-seed0 is tested by protocol synthetic/inter-ocular/v1, other-seed0 by csv-t"
    ):
        main(["study", str(file)])
    assert marks == []


def test_states_are_listed(write, marks, capsys):
    file = write(TINY)
    folder = Path("runs/tiny_study")
    for name in ("wing-seed0", "wing-seed1", "l2-seed0"):
        main(["study", str(file), "--only", name])
    for name, left in (("wing-seed1", ["metrics.json", "trained"]), ("l2-seed0", ["metrics.json"])):
        for mark in left:
            (folder / name / mark).unlink()
    (folder / "l2-seed1").mkdir()
    capsys.readouterr()
    marks.clear()
    main(["study", str(file), "--list"])
    assert capsys.readouterr().out.splitlines() == [
        "done         wing-seed0",
        "interrupted  wing-seed1",
        "trained      l2-seed0",
        "not started  l2-seed1",
    ]
    assert marks == []
    said = refusal(file, "--only", "l2-seed2")
    assert "has no run 'l2-seed2'; it has wing-seed0, wing-seed1, l2-seed0, l2-seed1" in said


def test_other_settings_are_not_mixed(write, marks):
    file = write(TINY)
    main(["study", str(file), "--only", "l2-seed0"])
    marks.clear()
    write({**TINY, "overlays": [{"trainer": {"max_epochs": 3}}]})
    said = refusal(file)
    assert said == (
        "wingmark: runs/tiny_study/l2-seed0 was made with trainer.max_epochs 2, and the study now says 3; delete "
        "runs/tiny_study/l2-seed0, or give the study's file another name"
    )
    write(TINY)
    Path("runs/tiny_study/l2-seed0/config.yaml").unlink()
    assert "l2-seed0/config.yaml does not exist, so nobody knows" in refusal(file)
    assert marks == []


def test_a_failing_run_ends_the_study(write, marks, capsys):
    file = write({**TINY, "axes": {"loss": {"good": {}, "broken": L2, "never": {}}}, "seeds": [0]})
    with pytest.raises(SystemExit) as end:
        main(["study", str(file)])
    assert end.value.code == 3
    assert summary(marks) == ["fit good-seed0", "test good-seed0", "fit broken-seed0"]
    said = "wingmark: [2/3] broken-seed0: fit ended with status 3; the same command goes on from there\n"
    assert capsys.readouterr().err == said
    assert {path.name for path in Path("runs/tiny_study").iterdir()} == {"overlays", "good-seed0", "broken-seed0"}


@pytest.mark.long
def test_a_killed_study_goes_on(write, commands):
    """Everything is killed in the middle of training, with real processes; the result does not tell."""
    file = write({"recipe": "tiny.yaml", "overlays": [{"trainer": {"max_epochs": 6}}], "seeds": [0, 1]})
    words = [sys.executable, "-m", "wingmark.cli", "study", str(file)]
    process = subprocess.Popen(words, start_new_session=True, stdout=subprocess.PIPE, text=True)
    run = Path("runs/tiny_study/seed0")
    deadline = time.monotonic() + 120
    while not (run / "checkpoints/last.ckpt").is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.communicate()[0].startswith("\n[1/2] seed0: fit\n")
    assert Study.load(file, Path("runs")).run("seed0").state == "interrupted"

    main(["study", str(file)])
    assert summary(commands) == ["fit seed0", "test seed0", "fit seed1", "test seed1"]
    assert "--ckpt_path" in commands[0] and Path("runs/tiny_study/comparison/ced.png").is_file()
    main(["study", str(file), "--runs", "whole", "--only", "seed0"])
    found, whole = (Predictions.load(Path(runs) / "tiny_study/seed0/predictions.npz") for runs in ("runs", "whole"))
    np.testing.assert_array_equal(found.landmarks_image, whole.landmarks_image)

    # Trained by hand, or stopped before anybody wrote down that it came to its end: there is nothing left to train.
    checkpoint = (run / "checkpoints/last.ckpt").read_bytes()
    for name in ("metrics.json", "trained"):
        (run / name).unlink()
    commands.clear()
    main(["study", str(file)])
    assert summary(commands) == ["fit seed0", "test seed0"]
    assert (run / "checkpoints/last.ckpt").read_bytes() == checkpoint


def test_signals_reach_the_running_command(tmp_path, monkeypatch):
    """SIGTERM, which clusters and W&B agents send to the study alone, must not leave its training behind."""
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nsleep 0.5\nkill -TERM $PPID\necho $$ > pid\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(script))
    earlier = signal.getsignal(signal.SIGTERM)
    start = time.monotonic()
    assert command._status([]) == 130
    assert time.monotonic() - start < 30
    assert signal.getsignal(signal.SIGTERM) is earlier


@pytest.mark.parametrize(("script", "status"), [("exit 3", 3), ("kill -KILL $$", 137), ("exit 0", 0)])
def test_the_status_of_a_command_is_kept(tmp_path, monkeypatch, script, status):
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))
    assert command._status([]) == status
