"""`wingmark balance` on the faces of a tiny recipe, and a training with it."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

import wingmark.run
from wingmark.cli import main
from wingmark.data import PoseBalancing

TINY = str(Path(__file__).parents[1] / "tiny.yaml")
OVERLAY = str(Path(__file__).parents[2] / "configs" / "overlays" / "balancing.yaml")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_defaults_are_shown_where_a_recipe_does_not_balance(here, capsys):
    poses = main(["balance", "--config", TINY])
    out = capsys.readouterr().out
    assert "data.balancing is null: no face is repeated yet. Shown are the defaults,\nPoseBalancing(bins=9" in out
    assert max(map(len, out.splitlines())) <= 80
    after = poses.repeats.sum()
    assert f"24 training faces are shown {after} times an epoch, {after / 24:.2f} times as many" in out
    share, correlation = poses.shares[poses.axis - 1], poses.yaw_correlations[poses.axis - 1]
    assert f"component {poses.axis}: {100 * share:.1f} % of the variance, correlation with yaw {correlation:.2f}" in out
    assert out.endswith("balance/pose_balancing.png\n")
    assert [path.name for path in here.rglob("*")] == ["balance", "pose_balancing.png"]
    picture = cv2.imread(str(here / "balance" / "pose_balancing.png"))
    assert picture.shape[1] == 1080 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 100


def test_the_table_adds_up(capsys):
    poses = main(["balance", "--config", TINY, "--config", OVERLAY, "--data.balancing.bins", "5", "--output", "there"])
    out = capsys.readouterr().out
    assert "null" not in out and Path("there/pose_balancing.png").is_file()
    assert "|pose| in sd faces repeats shown" in " ".join(out.split())
    rows = re.findall(r"^ *([\d.]+) to ([\d.]+) +(\d+) +(\d*) +(\d+) *$", out, re.M)
    deviation = poses.pose.std()
    assert [float(low) for low, *_ in rows] == [round(edge / deviation, 2) for edge in poses.edges[:-1]]
    assert [float(high) for _, high, *_ in rows] == [round(edge / deviation, 2) for edge in poses.edges[1:]]
    faces, shown = ([int(row[column]) for row in rows] for column in (2, 4))
    assert faces == poses.faces_by_bin.tolist()
    assert shown == [int(count) * int(repeats or 0) for *_, count, repeats, _ in rows]
    assert (sum(faces), sum(shown)) == (24, poses.repeats.sum())


@pytest.mark.parametrize("schema", ["ibug68", "wflw98"])
def test_the_settings_of_the_recipe_count(schema):
    size = ["--data.source.init_args.train=30", "--data.source.init_args.schema", schema]
    poses = main(["balance", "--config", TINY, *size, "--data.balancing", '{"signed": true, "axis": 4}'])
    faces = wingmark.run.build_data(wingmark.run.resolve(["fit", "--config", TINY, *size]))
    expected = PoseBalancing(signed=True, axis=4).poses(faces.faces("train"), faces.schema, faces.protocol)
    assert (poses.axis, len(poses.repeats), poses.signed) == (4, 30, True)
    assert poses.repeats.tolist() == expected.repeats.tolist()
    np.testing.assert_array_equal(poses.coefficients, expected.coefficients)


def test_two_faces_have_one_component():
    poses = main(["balance", "--config", TINY, "--data.source.init_args.train=2"])
    assert len(poses.components) == 1 and Path("balance/pose_balancing.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "balance needs the faces of a recipe: give --config RECIPE"),
        (["--config", TINY, "--data.balancing.axis", "40"], "axis is 40, but the shapes have only 23 components"),
        (["--config", TINY, "--data.balancing.bins", "1"], "data.balancing: bins and max_repeats are 2 or more"),
        (["--config", TINY, "--data.source.init_args.train", "1"], "data.balancing needs training faces of different"),
    ],
)
def test_refusals(here, arguments, says):
    with pytest.raises(SystemExit, match=says):
        main(["balance", *arguments])
    assert not list(here.iterdir())


@pytest.mark.parametrize("command", [["balance", "--config", TINY], ["compare", "runs/a"]])
def test_a_misspelt_setting_is_refused(here, capsys, command):
    with pytest.raises(SystemExit) as end:
        main([*command, "--data.bins", "3"])
    assert end.value.code == 2 and "--data.bins" in capsys.readouterr().err
    assert not list(here.iterdir())


def test_a_balanced_training_takes_as_many_steps_as_faces_are_shown(caplog):
    short = ["--trainer.max_epochs", "1", "--data.batch_size", "2", "--trainer.logger", "false"]
    cli = main(["fit", "--config", TINY, "--config", OVERLAY, "--name", "a", *short])
    poses = main(["balance", "--config", TINY])
    assert cli.trainer.global_step == poses.repeats.sum() // 2 > 12
    assert wingmark.run.load_data("runs/a").balancing == PoseBalancing()
