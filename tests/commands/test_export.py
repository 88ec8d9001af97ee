"""`wingmark export` on a tiny run."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import wingmark.run
from wingmark import export
from wingmark.cli import main
from wingmark.export import formats

TINY = Path(__file__).parents[1] / "tiny.yaml"


@pytest.fixture(autouse=True)
def trusted(monkeypatch):
    """Files of torch.export are opened: these tests wrote them."""
    monkeypatch.setenv("WINGMARK_TRUST", "torch.export")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    main(["fit", "--config", str(TINY), "--runs", str(runs), "--name", "a", "--trainer.max_epochs", "1"])
    return runs / "a"


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return shutil.copytree(trained, tmp_path / "a")


def metadata(path: Path, run: Path) -> dict:
    about, model = export.load(path).about, wingmark.run.load(run)
    assert about["schema"] == json.loads(json.dumps(model.schema.to_dict()))
    assert about["protocol"] == json.loads(json.dumps(model.protocol.to_dict()))
    assert (about["format"], about["crop_size"], about["context"], about["run"]) == (1, 32, 1.0, "a")
    assert len(about["checkpoint"]) == 32 and about["trained_by"].startswith("wingmark ")
    return about


@pytest.mark.parametrize(
    ("name", "suffix", "arguments"),
    [
        ("onnx", ".onnx", []),
        ("torch-export", ".pt2", ["--dtype", "float32"]),
        ("safetensors", ".safetensors", []),
    ],
)
def test_a_run_becomes_a_file(run, capsys, name, suffix, arguments):
    main(["export", str(run), "--format", name, *arguments])
    path = run / "export" / f"a{'-float32' * len(arguments[1:])}{suffix}"
    assert [*path.parent.iterdir()] == [path]
    dtype = "float32" if arguments else "uint8"
    about = metadata(path, run)
    assert (about["input"], about["dtype"], about["outputs"]) == ("crops", dtype, ["landmarks"]) and not about["int8"]
    images = torch.stack([sample.image for sample in (wingmark.run.load_data(run).dataset("val")[i] for i in range(3))])
    with torch.no_grad():
        expected = wingmark.run.load(run)(images).landmarks_crop
    found = export.load(path).outputs(images.to(getattr(torch, dtype)))["landmarks"]
    assert (found - expected).abs().max() < 1e-3
    out = capsys.readouterr().out
    assert (
        "px of the crop (5 validation faces, batches of 1 and 5)" in out
        and f"{path.name}: {dtype} crops to land" in out
    )


def test_a_checkpoint_of_a_run_is_checked_on_its_faces(run, capsys):
    shutil.copy(run / "checkpoints" / "best.ckpt", run / "checkpoints" / "other.ckpt")
    for name in ("best", "other"):
        path = main(["export", str(run / "checkpoints" / f"{name}.ckpt"), "--format", "safetensors"])
        assert path == run / "export" / f"{'a' if name == 'best' else name}.safetensors"
        assert "px of the crop (5 validation faces" in capsys.readouterr().out
        metadata(path, run)


def test_safetensors_need_no_run(run, tmp_path):
    main(["export", str(run), "--format", "safetensors", "--output", str(tmp_path / "b.safetensors")])
    model = wingmark.run.load(run)
    shutil.rmtree(run)
    again = export.load_safetensors(tmp_path / "b.safetensors")
    assert not again.training and again.protocol == model.protocol and again.schema == model.schema
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(again(images).landmarks_crop, model(images).landmarks_crop)


def test_weights_of_another_model_are_refused(run, tmp_path):
    path = main(["export", str(run), "--format", "safetensors"])
    weights = load_file(path)
    with safe_open(path, "pt") as file:
        told = file.metadata()
    name = next(name for name, tensor in weights.items() if tensor.dtype == torch.float32 and tensor.ndim)
    for changed in ({**weights, name: weights[name].half()}, {**weights, name: weights[name][:1]}):
        save_file(changed, tmp_path / "b.safetensors", told)
        with pytest.raises(ValueError, match=f"b.safetensors: .*{name}"):
            export.load_safetensors(tmp_path / "b.safetensors")


def test_a_file_that_finds_something_else_is_removed(run, monkeypatch):
    path = run / "export" / "a.pt2"
    path.parent.mkdir()
    path.write_text("an earlier one")
    opened = formats._open_torch_export

    def shifted(path):
        told, outputs = opened(path)
        return told, lambda *inputs: {"landmarks": outputs(*inputs)["landmarks"] + 0.5}

    monkeypatch.setattr(formats, "_open_torch_export", shifted)
    with pytest.raises(
        SystemExit, match="the landmarks of the file are 0.5 from those of the model, at most 0.05 is allowed"
    ) as end:
        main(["export", str(run), "--format", "torch-export"])
    assert end.value.code  # a sentence: exit status 1
    assert [*path.parent.iterdir()] == [path] and path.read_text() == "an earlier one"


def test_a_checkpoint_alone_is_run_on_synthetic_faces(run, tmp_path, capsys):
    shutil.copy(run / "checkpoints" / "best.ckpt", tmp_path / "alone.ckpt")
    main(["export", str(tmp_path / "alone.ckpt"), "--format", "torch-export"])
    out = capsys.readouterr().out
    assert "synthetic faces are taken" in out and "(16 synthetic faces, batches of 1 and 5)" in out
    assert (tmp_path / "export" / "alone.pt2").is_file()


@pytest.mark.long
def test_8_bits_with_scores(run, capsys):
    main(["test", "--run", str(run)])
    tested = json.loads((run / "metrics.json").read_text())["scores"]["full"]["nme"]
    for kind in ("crops", "boxes"):
        capsys.readouterr()
        main(["export", str(run), "--int8", "--input", kind])
        out = capsys.readouterr().out
        assert f"NME {100 * tested:.3f} % before" in out and "(7 test faces, synthetic/inter-ocular/v1#" in out
        about = metadata(run / "export" / f"a{'-boxes' * (kind == 'boxes')}-int8.onnx", run)
        assert (about["input"], about["int8"]) == (kind, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--int8", "--format", "torch-export"], "--int8 goes with --format onnx, not torch-export"),
        (["--format", "safetensors", "--input", "boxes"], "safetensors hold weights and no graph"),
        (["--int9"], "unrecognized arguments: --int9; see wingmark export --help"),
        (["typo", "--data.batch_size", "2"], "unrecognized arguments: typo"),
        (["--output", "a.pt2"], "--output a.pt2 must end in .onnx, by which a file of --format onnx is known"),
    ],
)
def test_what_does_not_go_together_is_refused(run, arguments, says):
    with pytest.raises(SystemExit, match=says):
        main(["export", str(run), *arguments])


@pytest.mark.parametrize(
    ("source", "protocol", "says"),
    [
        ("IBUG300W", "synthetic/inter-ocular/v1", "nowhere"),
        ("WFLW", "wflw/inter-ocular/v1", "data.source has landmarks of schema wflw98, the model finds ibug68"),
    ],
)
def test_faces_that_were_asked_for_must_serve(run, tmp_path, source, protocol, says):
    place = ["--data.source", f"wingmark.data.sources.{source}", "--data.source.root", str(tmp_path / "nowhere")]
    with pytest.raises(SystemExit, match=says):
        main(["export", str(run), *place, "--data.protocol", protocol])


def test_test_faces_that_were_trained_on_are_refused(run):
    path = run / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["data"]["source"]["init_args"]["test"] = 0
    config["data"]["holdout"] = {"test": 0.2}
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(SystemExit, match="test faces were among those that this checkpoint was trained on"):
        main(["export", str(run), "--data.batch_size", "4", "--format", "safetensors"])


def test_missing_packages_are_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SystemExit, match=r"ONNX needs the package onnxruntime: pip install -e '.\[export\]'"):
        main(["export", str(run)])
