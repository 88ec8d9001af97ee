"""`wingmark compare` as a researcher uses it: two seeds of a tiny run, another method's file, refusals."""

import json
from pathlib import Path

import numpy as np
import pytest

from wingmark.cli import main
from wingmark.evaluation import Predictions

TINY = Path(__file__).parents[1] / "tiny.yaml"


@pytest.fixture
def runs(tmp_path, monkeypatch) -> Path:
    """Two seeds and a csv that someone else wrote, whose landmarks are the true ones."""
    monkeypatch.chdir(tmp_path)
    for seed in ("1", "2"):
        name = f"tiny-seed{seed}"
        short = ["--trainer.max_epochs", "1", "--data.source.init_args.train", "8"]
        main(["fit", "--config", str(TINY), "--name", name, "--seed_everything", seed, *short])
        main(["test", "--run", f"runs/{name}"])
    found = Predictions.load(Path("runs/tiny-seed1/predictions.npz"))
    points = [f"{prefix}{axis}{k}" for prefix in ("", "true_") for k in range(68) for axis in "xy"]
    lines = [",".join(["id", *points])]
    for face, target in reversed([*zip(found.id, found.target, strict=True)]):
        cells = [f"{value:.2f}" for value in target.ravel()]
        lines.append(",".join([face, *cells, *cells]))
    Path("runs/perfect.csv").write_text("\n".join(lines))
    return tmp_path / "runs"


def test_two_seeds_against_another_method(runs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    capsys.readouterr()
    files = ["runs/tiny-seed1", "runs/tiny-seed2", "runs/perfect.csv"]
    comparison = main(["compare", *files, "--protocol", "synthetic/inter-ocular/v1"])
    out = capsys.readouterr().out
    assert [(method.name, method.seeds) for method in comparison.methods] == [("tiny", [1, 2]), ("perfect", [None])]
    assert max(map(len, out.splitlines())) <= 80
    assert out.splitlines()[-1] == "runs/comparison: comparison.json, comparison.csv, ced.png"
    content = json.loads(Path("runs/comparison/comparison.json").read_text())
    rows = {(row["method"], row["score"]): row for row in content["rows"] if row["subset"] == "full"}
    tested = [json.loads((runs / f"tiny-seed{seed}" / "metrics.json").read_text())["scores"]["full"] for seed in (1, 2)]
    for score in ("nme", "fr", "auc"):
        assert rows["tiny", score]["value"] == pytest.approx(np.mean([one[score] for one in tested]), abs=1e-12)
    assert rows["perfect", "nme"]["value"] == 0 and rows["perfect", "auc"]["value"] == 1

    said = refusal("compare", "runs/tiny-seed1", "runs/perfect.csv")
    assert "perfect.csv: the file names no protocol" in said
    assert "at least two runs, got 1" in refusal("compare", "runs/tiny-seed1")
    assert "same settings and the same seed 1" in refusal("compare", "runs/tiny-seed1", "runs/tiny-seed1")
    main(["compare", *files[:2], "--output", "elsewhere"])
    assert {path.name for path in Path("elsewhere").iterdir()} == {"ced.png", "comparison.csv", "comparison.json"}


def refusal(*args: str) -> str:
    """The sentence on which the command ends."""
    with pytest.raises(SystemExit) as end:
        main(list(args))
    return str(end.value)
