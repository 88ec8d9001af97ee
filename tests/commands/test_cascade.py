"""`wingmark predict --faces all` and `wingmark cascade` on tiny runs, as a researcher goes about two stages."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import wingmark.run
from wingmark.cascade import Cascade
from wingmark.cli import main
from wingmark.evaluation import Predictions

TINY = Path(__file__).parents[1] / "tiny.yaml"


def fit(name: str, *settings: str) -> None:
    main(["fit", "--config", str(TINY), "--name", name, "--trainer.max_epochs", "1", *settings])


def second_stage(source: dict, predictions: str) -> dict:
    refined = {"source": source, "predictions": predictions}
    return {
        "source": {"class_path": "wingmark.data.sources.Refined", "init_args": refined},
        "protocol": {"name": "refined", "box": "refined", "margin": 1.2},
        "crop_size": 48,
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with runs/first, tested and with all its faces predicted, and runs/second, tested."""
    folder = tmp_path_factory.mktemp("two_stages")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fit("first")
        main(["test", "--run", "runs/first"])
        main(["predict", "--run", "runs/first", "--faces", "all"])
        source = yaml.safe_load(TINY.read_text())["data"]["source"]
        data = second_stage(source, "runs/first/predict/all/predictions.npz")
        (folder / "second.yaml").write_text(yaml.safe_dump({"data": data}))
        fit("second", "--config", "second.yaml")
        main(["test", "--run", "runs/second"])
        main(["cascade", "runs/first", "runs/second", "--name", "both"])
    return folder


@pytest.fixture
def folder(trained, monkeypatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


def refusal(*args: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(list(args))
    return str(end.value)


def test_all_faces_are_predicted_once(folder):
    every = Predictions.load(folder / "runs/first/predict/all/predictions.npz")
    tested = Predictions.load(folder / "runs/first/predictions.npz")
    assert len(every.id) == 24 + 5 + 7 == len(set(every.id))
    assert (every.id[-7:] == tested.id).all()
    np.testing.assert_allclose(every.landmarks_image[-7:], tested.landmarks_image, rtol=0, atol=1e-4)
    assert not (folder / "runs/first/predict/predictions.npz").exists()


def test_the_cascade_is_the_test_of_the_second_stage(folder):
    both, by_files = (Predictions.load(folder / f"runs/{name}/predictions.npz") for name in ("both", "second"))
    first = Predictions.load(folder / "runs/first/predictions.npz")
    assert (both.id == by_files.id).all() and both.protocol == first.protocol
    difference = np.abs(both.landmarks_image - by_files.landmarks_image)
    assert difference.max() < 0.03  # pixels of images of 64; a cascade rounds the second boxes to 1/16 px
    assert np.abs(both.landmarks_image - first.landmarks_image).max() > 0.1
    about = json.loads((folder / "runs/both/metrics.json").read_text())
    assert about["scores"]["full"]["nme"] == pytest.approx(both.nme().mean(), rel=1e-12)
    assert (about["checkpoint"], about["codec"]["class_path"]) == (
        "runs/both/checkpoints/best.ckpt",
        "wingmark.codecs.Coordinates",
    )


def test_a_cascade_is_a_run_like_others(folder, capsys, tmp_path):
    assert sorted(path.name for path in (folder / "runs/both").iterdir()) == [
        "checkpoints",
        "config.yaml",
        "faces.csv",
        "metrics.json",
        "pictures",
        "predictions.npz",
    ]
    main(["compare", "runs/first", "runs/both", "--output", str(tmp_path / "comparison")])
    assert "both" in capsys.readouterr().out
    shutil.copytree("runs/both", tmp_path / "copy")
    main(["robustness", str(tmp_path / "copy")])
    rows = json.loads((tmp_path / "copy/robustness.json").read_text())["crops"]
    tested = json.loads((folder / "runs/both/metrics.json").read_text())["scores"]["full"]["nme"]
    assert rows[0]["nme"] == pytest.approx(tested, rel=1e-6)


def test_one_file_holds_it_all(folder, tmp_path, monkeypatch):
    """Both stages by value: no run, no config and no data is needed."""
    shutil.copy("runs/both/checkpoints/best.ckpt", tmp_path / "one.ckpt")
    sample = wingmark.run.load_data("runs/both").dataset("test")[0]
    stages = [wingmark.run.load(f"runs/{name}") for name in ("first", "second")]
    monkeypatch.chdir(tmp_path)
    cascade = wingmark.run.load("one.ckpt")
    assert isinstance(cascade, Cascade) and not cascade.training
    assert torch.equal(cascade(sample.image[None])[0], Cascade(*stages)(sample.image[None])[0])
    assert sample.image.shape == (3, cascade.crop_size, cascade.crop_size) == (3, 144, 144)


def test_refusals(folder):
    before = sorted(path.name for path in (folder / "runs").iterdir())
    assert "runs/both already exists; choose another --name" in refusal(
        "cascade", "runs/first", "runs/second", "--name", "both"
    )
    assert "runs/both is a cascade already" in refusal("cascade", "runs/both", "runs/second", "--name", "x")
    assert "FIRST and SECOND are the same run runs/first" in refusal("cascade", "runs/first", "runs/first")
    said = refusal("cascade", "runs/second", "runs/first", "--name", "x")
    assert "takes the one first that looks for faces by itself" in said
    assert "runs/gone does not exist" in refusal("cascade", "runs/gone", "runs/first")
    for command in ("test", "predict", "validate"):
        assert "runs/both is a cascade, which `wingmark cascade` has tested" in refusal(command, "--run", "runs/both")
    said = refusal("fit", "--config", str(TINY), "--data.context", "2")
    assert "data.context is for cascades, which `wingmark cascade` makes" in said
    assert sorted(path.name for path in (folder / "runs").iterdir()) == before


def test_faces_that_the_second_stage_was_trained_on_are_no_test(folder):
    source = yaml.safe_load(TINY.read_text())["data"]["source"]
    cut = {"source": {**source, "init_args": {**source["init_args"], "test": 0}}}
    own = [f"--data.{key}={value}" for key, value in (("protocol", '{"name": "own", "margin": 1.2}'),)]
    (folder / "cut.yaml").write_text(yaml.safe_dump({"data": cut}))
    fit("held", "--config", "cut.yaml", "--data.holdout.test", "0.2")
    fit("greedy", "--config", "cut.yaml", *own)
    said = refusal("cascade", "runs/held", "runs/greedy")
    assert "8 of 8 test faces were among those that this checkpoint was trained on" in said
    assert not (folder / "runs" / "held-greedy").exists()


def test_nor_those_that_the_first_stage_was_trained_on(folder):
    """Whatever its config says now: another cut makes test faces of those that it has learned."""
    shutil.copytree("runs/first", "runs/recut")
    path = folder / "runs/recut/config.yaml"
    config = yaml.safe_load(path.read_text())
    config["data"]["source"]["init_args"] |= {"test": 0}
    config["data"]["holdout"] = {"val": 0.0, "test": 0.3, "seed": 0}
    path.write_text(yaml.safe_dump(config))
    said = refusal("cascade", "runs/recut", "runs/second", "--name", "x")
    assert "test faces were among those that this checkpoint was trained on" in said
    said = refusal("predict", "--run", "runs/recut", "--faces", "all")
    assert "test faces were among those that this checkpoint was trained on" in said


def test_what_fails_leaves_nothing(folder, monkeypatch):
    def broken(*args):
        raise ValueError("no picture today")

    monkeypatch.setattr("wingmark.callbacks.prediction_writer.draw_sheet", broken)
    assert refusal("cascade", "runs/first", "runs/second", "--name", "broken") == "wingmark: no picture today"
    assert not (folder / "runs" / "broken").exists()


def test_seeds_of_a_cascade_are_one_method(folder, capsys, tmp_path):
    """Also where the first stage had another seed, and its predictions lie elsewhere."""
    shutil.copytree("runs/second", "runs/second_seed1")
    path = folder / "runs/second_seed1/config.yaml"
    config = yaml.safe_load(path.read_text())
    config["seed_everything"] = 1
    config["data"]["source"]["init_args"]["predictions"] = "elsewhere.npz"
    path.write_text(yaml.safe_dump(config))
    main(["cascade", "runs/first", "runs/second_seed1", "--name", "both_seed1"])
    main(["compare", "runs/both", "runs/both_seed1", "runs/first", "--output", str(tmp_path / "comparison")])
    out = capsys.readouterr().out
    assert "A = both (seeds 0, 1)" in out and "B = first (seed 0)" in out


def test_second_stages_of_other_faces_are_other_methods(folder, capsys, tmp_path):
    shutil.copytree("runs/second", "runs/second_other")
    path = folder / "runs/second_other/config.yaml"
    config = yaml.safe_load(path.read_text())
    config["seed_everything"] = 1
    config["data"]["source"]["init_args"]["source"]["init_args"]["train"] = 23
    path.write_text(yaml.safe_dump(config))
    main(["cascade", "runs/first", "runs/second_other", "--name", "both_other"])
    main(["compare", "runs/both", "runs/both_other", "--output", str(tmp_path / "comparison")])
    out = capsys.readouterr().out
    assert "A = both (seed 0)" in out and "B = both_other (seed 1)" in out
