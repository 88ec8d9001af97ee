"""W&B sweeps: the command that an agent would run is read by the real command line. No server is asked."""

from pathlib import Path

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from wingmark.cli import main
from wingmark.commands import study as command

ROOT = Path(__file__).parents[1]
SWEEPS = sorted((ROOT / "configs" / "sweeps").glob("*.yaml"))


def words(sweep: dict, chosen: dict) -> list[str]:
    """The command of one trial, put together as W&B's agent does."""
    known = create_sweep_command_args({"args": {name: {"value": value} for name, value in chosen.items()}})
    known["program"] = [sweep["program"]]
    parts = map(str, create_sweep_command(sweep["command"]))
    return [word for part in parts for word in (known[part[2:-1]] if part.startswith("${") else [part])]


def first_values(sweep: dict) -> dict:
    return {
        name: space["values"][0] if "values" in space else space["min"] for name, space in sweep["parameters"].items()
    }


def at(settings: dict, key: str) -> object:
    for part in key.split("."):
        settings = settings[part]
    return settings


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_trials_can_be_started(file, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    sweep = yaml.safe_load(file.read_text())
    chosen = first_values(sweep)
    program, *arguments = words(sweep, chosen)
    assert program == "wingmark" and arguments[0] == "fit"
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--print_config"])
    assert end.value.code == 0
    settings = yaml.safe_load(capsys.readouterr().out)
    assert {key: at(settings, key) for key in chosen} == chosen
    assert settings["trainer"]["logger"]["class_path"] == "wingmark.loggers.SafeWandbLogger"
    assert settings["trainer"]["logger"]["init_args"]["offline"] is False
    assert sweep["metric"] == {"name": "val/nme", "goal": "minimize"}
    for space in sweep["parameters"].values():
        assert space["min"] < space["max"] and space["distribution"] in ("uniform", "log_uniform_values")


def test_a_study_as_a_sweep(tmp_path, monkeypatch, capsys):
    """Each trial of the sweep that --sweep writes runs one run of the grid, and all of them together the grid."""
    monkeypatch.chdir(tmp_path)
    file = ROOT / "configs" / "studies" / "two_losses.yaml"
    main(["study", str(file), "--runs", "out", "--sweep", "sweep.yaml"])
    assert capsys.readouterr().out == "sweep.yaml: 4 runs; how to start them is told at its top\n"
    head = Path("sweep.yaml").read_text().split("program:")[0]
    assert all(line.startswith("#") for line in head.splitlines()) and "wandb sweep sweep.yaml" in head
    sweep = yaml.safe_load(Path("sweep.yaml").read_text())
    assert sweep["method"] == "grid" and [*sweep["parameters"]] == ["only"]
    ran = []
    monkeypatch.setattr(command, "_complete", lambda run, title: ran.append((str(run.folder), title)))
    for name in sweep["parameters"]["only"]["values"]:
        program, *arguments = words(sweep, {"only": name})
        assert program == "wingmark" and main(arguments) is None
    names = ["wing-seed0", "wing-seed1", "l2-seed0", "l2-seed1"]
    assert ran == [(f"out/two_losses/{name}", f"[1/1] {name}") for name in names]
