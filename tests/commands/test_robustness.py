"""`wingmark robustness` on a tiny run."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import yaml

from wingmark.cli import main
from wingmark.protocol import Protocol

TINY = Path(__file__).parents[1] / "tiny.yaml"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    main(["fit", "--config", str(TINY), "--runs", str(runs), "--name", "a", "--trainer.max_epochs", "1"])
    return runs / "a"


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return shutil.copytree(trained, tmp_path / "a")


def test_numbers_are_those_of_the_test(run, capsys):
    main(["test", "--run", str(run)])
    main(["test", "--run", str(run), "--data.protocol", '{"name": "other", "box": "tight", "margin": 1.1}'])
    capsys.readouterr()
    main(["robustness", str(run)])
    content = json.loads((run / "robustness.json").read_text())
    assert Protocol.from_dict(content["protocol"]).digest == content["protocol_digest"]
    assert (content["faces"], content["left_out"], content["failed_checks"]) == (7, [], [])
    rows = {(row["box"], row["jitter"], row["level"]): row for row in content["crops"]}
    assert len(rows) == len(content["crops"]) == 14
    for box, folder in (("dataset", run), ("tight", run / "test" / "other")):
        tested = json.loads((folder / "metrics.json").read_text())["scores"]["full"]
        assert tested["nme_interval"] is None  # of 7 faces
        for key in ("nme", "fr", "fr_interval"):
            assert rows[box, "none", 0.0][key] == pytest.approx(tested[key], rel=1e-6)
    assert rows["dataset", "none", 0.0]["difference"] == 0
    _check_table(capsys.readouterr().out, rows, content["protocol_digest"])
    with open(run / "robustness.csv", newline="") as file:
        for cells, row in zip(csv.DictReader(file), content["crops"], strict=True):
            assert (cells["box"], cells["jitter"], float(cells["level"])) == (row["box"], row["jitter"], row["level"])
            for key in ("nme", "difference", "fr"):
                low, high = row[f"{key}_interval"]
                assert [float(cells[name]) for name in (key, f"{key}_low", f"{key}_high")] == [row[key], low, high]
    assert (run / "pictures" / "robustness.png").is_file() and not list(run.rglob(".*"))


def _check_table(out: str, rows: dict, digest: str) -> None:
    table, files = out.rsplit("\n", 2)[:2]
    assert files.endswith("robustness.json, robustness.csv, pictures/robustness.png")
    assert max(map(len, table.splitlines())) <= 80
    assert f"synthetic/inter-ocular/v1#{digest}" in table
    lines = [line.split() for line in table.splitlines()]
    for (box, jitter, level), row in rows.items():
        name = [jitter] if jitter != "none" else {"dataset": ["protocol's", "crop"], "tight": ["box", "tight"]}[box]
        (line,) = (line for line in lines if line[: len(name) + 1] == [*name, f"{100 * level:g}"])
        assert line[len(name) + 1] == f"{100 * row['nme']:.2f}" and f"{100 * row['fr']:.2f}" in line


def test_faces_that_were_trained_on_are_refused(run):
    path = run / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["data"]["source"]["init_args"]["test"] = 0
    config["data"]["holdout"] = {"test": 0.2}
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(SystemExit, match="8 of 8 test faces were among those that this checkpoint was trained on"):
        main(["robustness", str(run)])
    assert not (run / "robustness.json").exists()


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="config.yaml does not exist; give the folder of a run made by `wingmark fit`"):
        main(["robustness", str(tmp_path)])
