"""The W&B overlay offline, without an account: what was logged is read back from the run's own file."""

import json
from pathlib import Path

import pytest
import wandb
from wandb.proto.wandb_internal_pb2 import Record

from wingmark.cli import main

OVERLAY = Path(__file__).parents[1] / "configs" / "overlays" / "wandb.yaml"


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


def test_offline_run_holds_curves_and_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_SILENT", "true")
    recipe = Path(__file__).parent / "tiny.yaml"
    main(["fit", "--config", str(recipe), "--config", str(OVERLAY), "--name", "w"])
    wandb.finish()
    run = tmp_path / "runs" / "w"
    (file,) = run.glob("wandb/offline-run-*/run-*.wandb")
    found = records(file)
    history = [
        {item.nested_key[0] if item.nested_key else item.key: json.loads(item.value_json) for item in r.history.item}
        for r in found
        if r.HasField("history")
    ]
    logged = set().union(*history)
    assert {"train/loss", "val/nme", "epoch"} <= logged
    assert all(0 < row["val/nme"] < 100 for row in history if "val/nme" in row)
    config = {
        update.key: json.loads(update.value_json) for r in found if r.HasField("run") for update in r.run.config.update
    }
    config |= {
        update.key: json.loads(update.value_json) for r in found if r.HasField("config") for update in r.config.update
    }
    assert "WingLoss" in json.dumps(config) and "crop_size" in json.dumps(config)
    assert not (tmp_path / "wandb").exists()
    assert (run / "logs" / "version_0" / "metrics.csv").is_file()  # the plain file is there all the same


@pytest.fixture(autouse=True)
def _no_account(monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
