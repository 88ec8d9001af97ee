"""Curves as a table; and a W&B that fails in any way: training goes on, and what can be kept is kept offline."""

import resource
from pathlib import Path
from typing import Any

import pytest
import wandb
from pytorch_lightning.utilities import rank_zero_only
from wandb.errors import CommError, UsageError

from wingmark.loggers import CurveLogger, SafeWandbLogger


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A run folder; W&B silent, without an account, and with its own files away from the home folder."""
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "w" / name))
    return tmp_path / "runs" / "a"


def use(run: Path, **settings: Any) -> None:
    """What a training does with the logger."""
    logger = SafeWandbLogger(save_dir=str(run), id_file=str(run / "wandb_id.txt"), **settings)
    logger.log_hyperparams({"model": {"loss": "wing"}})
    logger.log_metrics({"train/loss": 0.25}, 3)
    logger.finalize("success")


def kept(run: Path) -> list[str]:
    """The offline runs that hold what `use` logged."""
    wandb.teardown()  # W&B's own process writes down what it still holds
    files = run.glob("wandb/offline-run-*/run-*.wandb")
    return [file.name for file in files if b"train/loss" in file.read_bytes()]


def warnings_of(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "wingmark.loggers"]


@pytest.mark.parametrize("error", [CommError("no answer"), UsageError("not like this")])
def test_a_server_that_fails_leaves_an_offline_run(here, monkeypatch, caplog, error):
    start, asked = wandb.init, []

    def init(mode, **settings):
        asked.append((mode, settings["resume"], settings.get("id")))
        if mode is None:
            raise error
        return start(mode=mode, **settings)

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(wandb, "login", lambda **_: True)
    here.mkdir(parents=True)
    (here / "wandb_id.txt").write_text("kept\n")
    use(here, offline=False)
    assert asked == [(None, "allow", "kept"), ("offline", "allow", "kept")]
    assert kept(here) == ["run-kept.wandb"]
    (warning,) = warnings_of(caplog)
    assert type(error).__name__ in warning and "going on offline" in warning


def test_without_a_key_the_run_is_offline_and_nobody_is_asked(here, caplog):
    use(here, offline=False)
    assert kept(here) == [f"run-{(here / 'wandb_id.txt').read_text().strip()}.wandb"]
    (warning,) = warnings_of(caplog)
    assert "no API key; run `wandb login`" in warning


def test_the_variable_of_wandb_still_counts(here, monkeypatch, caplog):
    wandb.teardown()  # it is read once
    monkeypatch.setenv("WANDB_MODE", "disabled")
    use(here, offline=False)
    assert not kept(here) and not warnings_of(caplog)
    assert not (here / "wandb_id.txt").exists()


def test_where_nothing_of_wandb_works_it_is_left_out(here, monkeypatch, caplog):
    start = wandb.init

    def init(mode, **settings):
        if mode != "disabled":
            raise OSError("disk full")
        return start(mode=mode, **settings)

    monkeypatch.setattr(wandb, "init", init)
    use(here)
    assert not (here / "wandb_id.txt").exists()
    (warning,) = warnings_of(caplog)
    assert "W&B cannot start offline (OSError: disk full); going on without it" in warning


def test_other_processes_than_the_first_start_nothing(here, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    use(here)
    assert not here.exists()


def test_curves_are_one_table_with_a_row_for_each_call(tmp_path, caplog):
    curves = CurveLogger(str(tmp_path / "logs"))
    curves.log_metrics({"train/loss": 0.5}, 0)
    curves.log_metrics({"val/nme": 0.1, "epoch": 0}, 0)
    curves.log_metrics({"train/loss": 0.25}, 1)
    table = tmp_path / "logs" / "metrics.csv"
    assert table.read_text().split() == ["epoch,step,train/loss,val/nme", ",0,0.5,", "0,0,,0.1", ",1,0.25,"]
    assert curves.rows == 3

    resumed = CurveLogger(str(tmp_path / "logs"))
    resumed.cut(2)  # one row comes again
    assert [*resumed.content()] == [({"train/loss": 0.5}, 0), ({"val/nme": 0.1, "epoch": 0.0}, 0)]
    resumed.log_metrics({"train/loss": 0.25}, 1)
    resumed.log_metrics({"lr": 1.0}, 2)
    rows = table.read_text().split()
    assert rows == ["epoch,lr,step,train/loss,val/nme", ",,0,0.5,", "0,,0,,0.1", ",,1,0.25,", ",1.0,2,,"]
    resumed.cut(9)
    assert warnings_of(caplog) == [f"{table} has 4 of the 9 rows until here: the others are lost"]
    table.write_bytes(table.read_bytes() + b"\xff\n")
    with pytest.raises(ValueError, match="metrics.csv is damaged .*; move it away"):
        resumed.cut(4)
    elsewhere = CurveLogger(str(tmp_path / "elsewhere"))
    elsewhere.cut(2)
    assert (resumed.rows, elsewhere.rows, [*elsewhere.content()]) == (4, 0, [])


def test_a_full_disk_is_told_by_the_table(tmp_path):
    curves = CurveLogger(str(tmp_path))
    curves.log_metrics({"train/loss": 0.5}, 0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "metrics.csv").stat().st_size, limits[1]))
    try:
        with pytest.raises(OSError, match=r"metrics\.csv cannot be written \(.*File too large.*\): make room"):
            curves.log_metrics({"train/loss": 0.25}, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_row_that_was_being_written_when_training_was_killed_is_cut(tmp_path):
    curves = CurveLogger(str(tmp_path))
    for step in range(3):
        curves.log_metrics({"train/loss": step / 2, "epoch": 0}, step)
    table = tmp_path / "metrics.csv"
    whole = table.read_bytes()
    table.write_bytes(whole + b"0,3,1")
    CurveLogger(str(tmp_path)).cut(3)
    assert table.read_bytes() == whole
