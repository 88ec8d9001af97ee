"""`wingmark calibrate` on tiny runs, against what training itself stores."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml

import wingmark.run
from wingmark.cli import main

TINY = Path(__file__).parents[1] / "tiny.yaml"
HEATMAP = yaml.safe_load((Path(__file__).parents[1] / "tiny_heatmap.yaml").read_text())


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    config = folder / "heatmap.yaml"
    config.write_text(yaml.safe_dump({**yaml.safe_load(TINY.read_text()), "model": HEATMAP}))
    main(["fit", "--config", str(config), "--runs", str(folder), "--name", "a", "--trainer.max_epochs", "1"])
    return folder / "a"


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return shutil.copytree(trained, tmp_path / "a")


def test_it_learns_what_training_would_have(run, capsys):
    path = run / "checkpoints" / "best.ckpt"
    before = torch.load(path, weights_only=True)
    learned = wingmark.run.load(run).calibration
    torch.save({**before, "wingmark": {**before["wingmark"], "confidence": None}}, path)
    assert wingmark.run.load(run).calibration is None
    again = main(["calibrate", str(run)])
    assert again.scores == pytest.approx(learned.scores, rel=1e-5)
    assert again.errors == pytest.approx(learned.errors, rel=1e-5)
    assert wingmark.run.load(run).calibration == again
    after = torch.load(path, weights_only=True)
    assert {
        key for key in before if key not in ("wingmark", "state_dict") and str(before[key]) != str(after[key])
    } == set()
    for name, weight in before["state_dict"].items():
        assert torch.equal(weight, after["state_dict"][name]), name
    assert "of 5 faces" in capsys.readouterr().out


def test_a_cascade_is_calibrated_by_what_both_stages_find(run, capsys):
    config, data = run.parent / "second.yaml", {"protocol": {"name": "second", "box": "tight", "margin": 1.2}}
    config.write_text(yaml.safe_dump({**yaml.safe_load(TINY.read_text()), "model": HEATMAP}))
    (run.parent / "tight.yaml").write_text(yaml.safe_dump({"data": data}))
    runs = ["--runs", str(run.parent)]
    second = ["--config", str(config), "--config", str(run.parent / "tight.yaml"), "--name", "b"]
    main(["fit", *second, *runs, "--trainer.max_epochs", "1"])
    main(["cascade", str(run), str(run.parent / "b"), *runs, "--name", "both"])
    assert "expected error" in capsys.readouterr().out
    cascade = wingmark.run.load(run.parent / "both")
    learned = cascade.second.calibration
    assert learned != wingmark.run.load(run.parent / "b").calibration
    expected, real = [], []
    for batch in wingmark.run.load_data(run.parent / "both").val_dataloader():
        with torch.no_grad():
            found = cascade.predict_step(batch, 0)
        expected.append(found.expected_error[batch.valid])
        real.append((found.landmarks_image - batch.landmarks_image).norm(dim=2)[batch.valid])
    assert torch.cat(expected).mean().item() == pytest.approx(torch.cat(real).mean().item(), rel=0.03)
    again = main(["calibrate", str(run.parent / "both")])
    assert again.errors == pytest.approx(learned.errors, rel=1e-5)
    assert wingmark.run.load(run.parent / "both").second.calibration == again


def test_another_decoder_has_no_expected_errors(run, capsys):
    main(["test", "--run", str(run), "--model.codec.init_args.decoder", "wingmark.codecs.Argmax"])
    assert "expected error" not in capsys.readouterr().out
    main(["test", "--run", str(run)])
    assert "expected error" in capsys.readouterr().out


def test_coordinates_have_no_score(tmp_path):
    main(["fit", "--config", str(TINY), "--runs", str(tmp_path), "--name", "a", "--trainer.max_epochs", "1"])
    with pytest.raises(SystemExit, match="regresses coordinates, which have no score"):
        main(["calibrate", str(tmp_path / "a")])


def test_faces_of_training_are_refused(run):
    path = run / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    seen = content["LandmarkDataModule"]
    torch.save({**content, "LandmarkDataModule": {"train": seen["val"], "val": seen["train"]}}, path)
    with pytest.raises(SystemExit, match="5 of 5 val faces were among those that this checkpoint was trained on"):
        main(["calibrate", str(run)])
