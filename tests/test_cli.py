"""The command line as a researcher uses it, on a tiny set: fit, test, predict, reload, refusals."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import wingmark.run
from wingmark import protocol
from wingmark.cli import main
from wingmark.evaluation import Predictions

HEATMAP = yaml.safe_load((Path(__file__).parent / "tiny_heatmap.yaml").read_text())


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.yaml"
    path.write_text((Path(__file__).parent / "tiny.yaml").read_text())
    return path


def refusal(*args: str) -> str:
    """The sentence on which the command ends."""
    with pytest.raises(SystemExit) as end:
        main(list(args))
    return str(end.value)


@pytest.mark.parametrize("heads", ["coordinates", "heatmap"])
def test_fit_test_predict_and_load(recipe, tmp_path, capsys, heads):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(yaml.safe_dump({"model": HEATMAP if heads == "heatmap" else {}}))
    main(["fit", "--config", str(recipe), "--config", str(overlay), "--name", "a", "--model.compile", "false"])
    run = tmp_path / "runs" / "a"
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "config.yaml", "logs", "pictures"]
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    curves = (run / "logs" / "metrics.csv").read_text()
    assert "train/loss" in curves and "val/nme" in curves

    main(["test", "--run", str(run)])
    out = capsys.readouterr().out
    assert "synthetic/inter-ocular/v1" in out and "faces.csv" in out.splitlines()[-1]
    scores = json.loads((run / "metrics.json").read_text())["scores"]["full"]
    predictions = Predictions.load(run / "predictions.npz")
    distance = np.linalg.norm(predictions.landmarks_image - predictions.target, axis=2).mean(1)
    assert scores["faces"] == len(predictions.id) == 7
    assert scores["nme"] == pytest.approx((distance / predictions.normalizer).mean(), rel=1e-12)
    assert (predictions.score is None) == (heads == "coordinates")
    assert len((run / "faces.csv").read_text().splitlines()) == 8
    pictures = {"augmentations.jpg", "ced.png", "faces.jpg", "landmarks.png"}
    pictures |= {"reliability.png"} if heads == "heatmap" else set()
    assert {path.name for path in (run / "pictures").iterdir()} == pictures
    assert (predictions.expected_error is None) == (heads == "coordinates")

    main(["predict", "--run", str(run)])
    again = Predictions.load(run / "predict" / "predictions.npz")
    assert (again.landmarks_image == predictions.landmarks_image).all()

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (run / "checkpoints" / "best.ckpt").rename(elsewhere / "one.ckpt")
    code = (
        "import sys, torch, wingmark.run\n"
        "model = wingmark.run.load('one.ckpt')\n"
        "image = torch.arange(3 * 32 * 32).reshape(1, 3, 32, 32).remainder(251).byte()\n"
        "with torch.no_grad(): landmarks = model(image).landmarks_crop\n"
        "torch.save(landmarks, 'landmarks.pt')\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=elsewhere, check=True, timeout=120)
    model = wingmark.run.load(elsewhere / "one.ckpt")
    image = torch.arange(3 * 32 * 32).reshape(1, 3, 32, 32).remainder(251).byte()
    with torch.no_grad():
        assert torch.equal(model(image)[0], torch.load(elsewhere / "landmarks.pt", weights_only=True))
    assert (model.schema.name, model.protocol.name, model.crop_size) == ("ibug68", "synthetic/inter-ocular/v1", 32)
    assert not model.training


def test_no_number_without_its_protocol(recipe, capsys):
    main(["fit", "--config", str(recipe), "--name", "a"])
    label, fitted = protocol.get("synthetic/inter-ocular/v1").label, capsys.readouterr().out
    main(["validate", "--run", "runs/a"])
    nme = re.search(r"best validation NME (\d+\.\d\d) %", fitted)[1]
    assert f"runs/a: best validation NME {nme} %, protocol {label}\n" in fitted
    assert capsys.readouterr().out == f"validate, protocol {label}: NME {nme} %\n"


def test_a_further_protocol_gets_its_own_folder(recipe, tmp_path):
    main(["fit", "--config", str(recipe), "--name", "a"])
    run = tmp_path / "runs" / "a"
    main(["test", "--run", str(run)])
    first = (run / "metrics.json").read_text()
    main(["test", "--run", str(run), "--data.protocol", '{"name": "other/box/v1", "normalizer": "box_size"}'])
    assert (run / "metrics.json").read_text() == first
    assert (
        json.loads((run / "test" / "other_box_v1" / "metrics.json").read_text())["protocol"]["normalizer"] == "box_size"
    )


def test_faces_that_were_trained_on_are_no_test(recipe, tmp_path):
    none = ("--data.source.init_args.test", "0")
    main(["fit", "--config", str(recipe), "--name", "a", *none, "--trainer.max_epochs", "1"])
    said = refusal("test", "--run", "runs/a")
    assert "SyntheticFaces has no test faces; train with data.holdout.test" in said
    said = refusal("test", "--run", "runs/a", "--data.holdout.test", "0.2")
    assert "8 of 8 test faces were among those that this checkpoint was trained on or chosen by, such as train/" in said


def test_faces_that_chose_the_checkpoint_are_no_test(recipe):
    cut = [f"--data.source.init_args.{split}=0" for split in ("val", "test")]
    main(
        ["fit", "--config", str(recipe), *cut, "--name", "a", "--data.holdout.val", "0.2", "--trainer.max_epochs", "1"]
    )
    said = refusal("test", "--run=runs/a", "--data.holdout.val", "0", "--data.holdout.test", "0.2")
    assert "trained on or chosen by" in said


def test_another_decoder_does_not_overwrite_the_result(recipe, tmp_path):
    (tmp_path / "heatmap.yaml").write_text(yaml.safe_dump({"model": HEATMAP}))
    short = ["--trainer.max_epochs", "1", "--model.compile", "false"]
    main(["fit", "--config", str(recipe), "--config", "heatmap.yaml", "--name", "a", *short])
    for decoder in ("Taylor", "Argmax", "LocalCentroid", "Argmax"):
        main(["test", "--run", "runs/a", "--model.codec.init_args.decoder", f"wingmark.codecs.{decoder}"])
    found = {}
    for path in (tmp_path / "runs" / "a").rglob("metrics.json"):
        decoder = json.loads(path.read_text())["codec"]["init_args"]["decoder"]["class_path"]
        found[path.parent.name] = decoder.rpartition(".")[2]
    slug = "synthetic_inter-ocular_v1"
    assert found == {"a": "Taylor", slug: "Argmax", f"{slug}-2": "LocalCentroid"}


def test_part_of_a_split(recipe, tmp_path):
    main(["fit", "--config", str(recipe), "--name", "a", "--trainer.max_epochs", "1", "--trainer.overfit_batches", "1"])
    main(["test", "--run", "runs/a", "--trainer.limit_test_batches", "1", "--data.batch_size", "3"])
    assert json.loads((tmp_path / "runs/a/metrics.json").read_text())["scores"]["full"]["faces"] == 3


def test_a_run_is_not_overwritten_but_resumed(recipe, tmp_path):
    main(["fit", "--config", str(recipe), "--name", "a"])
    said = refusal("fit", "--config", str(recipe), "--name", "a")
    assert "already holds a run" in said and "--ckpt_path last" in said
    last = tmp_path / "runs" / "a" / "checkpoints" / "last.ckpt"
    args = ["--name", "a", "--ckpt_path", str(last), "--trainer.max_epochs", "3"]
    assert main(["fit", "--config", str(recipe), *args]).trainer.current_epoch == 3


def test_the_run_without_a_name_is_called_after_the_recipe(recipe, tmp_path):
    (tmp_path / "overlay.yaml").write_text("trainer: {max_epochs: 1}\n")
    main(["fit", "--config", str(recipe), "--config", "overlay.yaml"])
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("tiny-2")


def test_fast_dev_run_writes_nothing(recipe, tmp_path):
    main(["fit", "--config", str(recipe), "--trainer.fast_dev_run", "true"])
    assert not (tmp_path / "runs").exists()


def test_the_saved_config_repeats_the_run(recipe, tmp_path):
    first = main(["fit", "--config", str(recipe), "--name", "a", "--model.loss.init_args.w", "6"])
    assert first.trainer.train_dataloader.sampler.epoch == 1  # Lightning told the sampler: the second epoch differs
    config = tmp_path / "runs" / "a" / "config.yaml"
    content = yaml.safe_load(config.read_text())
    assert content["model"]["loss"]["init_args"] == {"w": 6.0, "epsilon": 2.0, "reduction": "mean"}
    assert "schema" not in content["model"]
    before = sorted((tmp_path / "runs" / "a").rglob("*"))
    main(["fit", "--config", str(config), "--name", "b"])
    assert sorted((tmp_path / "runs" / "a").rglob("*")) == before
    assert [path.name for path in (tmp_path / "runs" / "b" / "logs").iterdir()] == ["metrics.csv"]
    one, two = (torch.load(tmp_path / "runs" / n / "checkpoints" / "last.ckpt", weights_only=True) for n in "ab")
    assert all(torch.equal(one["state_dict"][key], two["state_dict"][key]) for key in one["state_dict"])


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (
            ["--model.loss", "wingmark.losses.AdaptiveWingLoss"],
            "AdaptiveWingLoss expects heatmap; model.codec Coordinates",
        ),
        (
            ["--model.codec", "wingmark.codecs.Heatmap", "--model.loss", "wingmark.losses.MSELoss"],
            "expects square maps",
        ),
        (
            ["--model.codec", "wingmark.codecs.Heatmap", "--model.codec.init_args.loss_map", "TargetLossMap"]
            + ["--model.codec.init_args.loss_map.weight", "-1"],
            "TargetLossMap: weight must be a number from 0 on, got -1.0",
        ),
        (["--data.protocol", "nothing"], "protocol 'nothing' is neither built in"),
        (["--data.source", "wingmark.data.sources.IBUG300W", "--data.source.root", "gone"], "gone"),
        (["--data.holdout.val", "0.1"], "has 5 val faces of its own"),
        (["--model.network.init_args.model", "resnet18x"], "resnet18"),
        (["--trainer.accelerator", "gpu"], "gpu"),
        (["--trainer.precision", "bf16-true"], "choose bf16-mixed"),
        (["--trainer.default_root_dir", "x"], "--runs and --name say where a run goes"),
    ],
)
def test_what_does_not_fit_ends_in_one_sentence(recipe, tmp_path, args, says):
    said = refusal("fit", "--config", str(recipe), "--name", "a", *args)
    assert says in said and "\n" not in said
    assert not (tmp_path / "runs" / "a" / "checkpoints").exists()


def test_a_misspelt_key_is_named(recipe, capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(recipe), "--data.crop_sise", "64"])
    said = capsys.readouterr().err
    assert "crop_sise" in said and "usage" not in said and len(said.splitlines()) <= 3


def test_a_test_needs_weights(recipe):
    assert "test needs trained weights: give --run RUN" in refusal("test", "--config", str(recipe))


def test_weights_of_another_model_are_refused(recipe):
    main(["fit", "--config", str(recipe), "--name", "a", "--trainer.max_epochs", "1"])
    said = refusal("test", "--run", "runs/a", "--model.network.init_args.model", "test_vit")
    assert "the checkpoint holds the weights of another model" in said


def test_missing_run_is_named(tmp_path):
    assert "config.yaml does not exist" in refusal("test", "--run", str(tmp_path))


def test_loading_refuses_what_is_not_ours(tmp_path):
    with pytest.raises(FileNotFoundError, match="give a run folder"):
        wingmark.run.load(tmp_path / "x.ckpt")
    (tmp_path / "x.ckpt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="damaged or no checkpoint"):
        wingmark.run.load(tmp_path / "x.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="does not say how its model was built"):
        wingmark.run.load(tmp_path / "x.ckpt")


def test_an_interrupt_while_modules_are_imported_is_a_sentence(monkeypatch, capsys):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr("wingmark.cli.import_module", interrupted)
    with pytest.raises(SystemExit) as end:
        main(["compare"])
    assert end.value.code == 130 and capsys.readouterr().err == "ended by SIGINT\n"


def test_a_run_without_a_best_checkpoint_names_the_last(recipe):
    main(["fit", "--config", str(recipe), "--name", "a", "--trainer.limit_val_batches", "0"])
    said = refusal("test", "--run", "runs/a")
    assert "best.ckpt does not exist: no validation ended; take runs/a/checkpoints/last.ckpt" in said
    main(["test", "--run", "runs/a", "--ckpt_path", "runs/a/checkpoints/last.ckpt"])
