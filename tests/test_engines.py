"""Landmarker finds what a test finds, whatever runs the model."""

import functools
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from wingmark import export, schema
from wingmark.cascade import Cascade
from wingmark.codecs import Coordinates, Heatmap
from wingmark.data.dataset import FaceDataset
from wingmark.data.regions import Regions
from wingmark.engines import TorchEngine, check_device, load_engine
from wingmark.export.graph import GRAPHS
from wingmark.finder import LandmarkFinder
from wingmark.infer import Landmarker
from wingmark.losses import MSELoss, WingLoss
from wingmark.model import LandmarkModule
from wingmark.networks import FeatureNetwork, HeatmapHead, TimmNetwork
from wingmark.protocol import Protocol

FIVE = schema.get("five")
CPU = torch.device("cpu")


def heatmaps(box: str = "dataset", **rules) -> LandmarkModule:
    network = functools.partial(FeatureNetwork, "test_resnet", functools.partial(HeatmapHead, channels=16), (1, 2, 3))
    return LandmarkModule(network, Heatmap, MSELoss(), FIVE, Protocol("a", box=box, **rules), 64)


def coordinates(box: str = "dataset", **rules) -> LandmarkModule:
    network = functools.partial(TimmNetwork, "test_resnet")
    return LandmarkModule(network, Coordinates, WingLoss(), FIVE, Protocol("b", box=box, **rules), 48)


MODELS = {
    "heatmaps": heatmaps,
    "coordinates": coordinates,
    "stretched": functools.partial(coordinates, crop="stretched"),
    "cascade": lambda: Cascade(heatmaps(), coordinates("refined", margin=1.3)),
}


def predicted(model: LandmarkFinder, source, faces) -> tuple[np.ndarray, np.ndarray | None]:
    """As `wingmark test` finds them."""
    regions = Regions(source, faces, model.protocol, model.crop_size, 1.0, getattr(model, "context", 1.0))
    samples = [FaceDataset(regions, FIVE)[index] for index in range(len(faces))]
    batch = type(samples[0])(*map(torch.stack, zip(*samples, strict=True)))
    with torch.no_grad():
        found = model.predict_step(batch, 0)
    return found.landmarks_image.numpy(), None if found.score is None else found.score.numpy()


@pytest.mark.parametrize("name", MODELS)
def test_landmarker_finds_what_a_test_finds(dot_faces, name):
    torch.manual_seed(0)
    model, source = MODELS[name]().eval(), dot_faces({"test": 6})
    faces = source.faces("test")
    expected, expected_score = predicted(model, source, faces)
    landmarker = Landmarker(TorchEngine(model, CPU, "32"), batch_size=4)
    found = landmarker([source.read_image(face) for face in faces], [[face.boxes["dataset"]] for face in faces])
    np.testing.assert_allclose(np.concatenate([one.landmarks_image for one in found]), expected, rtol=0, atol=2e-3)
    if expected_score is None:
        assert found[0].score is None
    else:
        np.testing.assert_allclose(np.concatenate([one.score for one in found]), expected_score, rtol=0, atol=1e-5)


def test_bf16_is_close_and_not_equal(dot_faces):
    torch.manual_seed(0)
    source = dot_faces({"test": 1})
    (face,) = source.faces("test")
    model, box = coordinates().eval(), face.boxes["dataset"]
    landmarkers = (Landmarker(TorchEngine(model, CPU, precision)) for precision in ("32", "bf16"))
    exact, rounded = (landmarker(source.read_image(face), [box]) for landmarker in landmarkers)
    difference = np.abs(exact.landmarks_image - rounded.landmarks_image).max()
    assert 0 < difference < 1


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone does not exist; give a run folder or a \.ckpt file"):
        load_engine(tmp_path / "gone", "cpu", "32")
    with pytest.raises(ValueError, match="precision is one of 32, bf16, got 'bf16-mixed'"):
        load_engine(tmp_path / "gone", "cpu", "bf16-mixed")
    with pytest.raises(ValueError, match="device 'toaster' cannot be used .*; give cpu or cuda"):
        check_device("toaster")
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(ValueError, match=r"list\.ckpt does not say how its model was built"):
        load_engine(tmp_path / "list.ckpt", "cpu", "32")
    (tmp_path / "a.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match=r"a\.ckpt is damaged or no checkpoint"):
        load_engine(tmp_path / "a.ckpt", "cpu", "32")


WRITERS = {".onnx": export.write_onnx, ".pt2": export.write_torch_export}


@pytest.fixture(autouse=True)
def trusted(monkeypatch):
    """Files of torch.export are opened: these tests wrote them."""
    monkeypatch.setenv("WINGMARK_TRUST", "torch.export")


def about(model: LandmarkModule, kind: str) -> dict:
    return {
        "format": 1,
        "input": kind,
        "dtype": "uint8",
        "outputs": ["landmarks"],
        "schema": model.schema.to_dict(),
        "protocol": model.protocol.to_dict(),
        "crop_size": model.crop_size,
        "context": 1.0,
    }


def test_a_graph_that_widens_boxes_to_whole_pixels_takes_no_ready_crops(tmp_path):
    model = coordinates(crop="outwards").eval()
    export.write_torch_export(tmp_path / "a.pt2", GRAPHS["boxes"](model), about(model, "boxes"))
    with pytest.raises(ValueError, match="a.pt2 cuts crops by the rule outwards.*export with --input crops"):
        load_engine(tmp_path / "a.pt2", "cpu", "32")


@pytest.mark.parametrize("change", [{"schema": None}, {"crop_size": 50}, {"dtype": "word"}, {"protocol": {"name": 1}}])
def test_a_graph_that_tells_about_another_is_named(tmp_path, change):
    model = coordinates().eval()
    export.write_torch_export(tmp_path / "a.pt2", GRAPHS["crops"](model), about(model, "crops"))
    with zipfile.ZipFile(tmp_path / "a.pt2") as whole, zipfile.ZipFile(tmp_path / "b.pt2", "w") as changed:
        for name in whole.namelist():
            content = whole.read(name)
            if name.endswith("extra/wingmark"):
                content = json.dumps({**json.loads(content), **change}).encode()
            changed.writestr(name, content)
    load_engine(tmp_path / "a.pt2", "cpu", "32")
    with pytest.raises(ValueError, match="b.pt2 does not do what it tells about itself"):
        load_engine(tmp_path / "b.pt2", "cpu", "32")


@pytest.mark.parametrize(
    ("suffix", "kind", "crop"),
    [(".onnx", "crops", "square"), (".onnx", "boxes", "stretched"), (".pt2", "boxes", "square")],
)
def test_exported_files_find_the_same(dot_faces, tmp_path, suffix, kind, crop):
    if suffix == ".onnx":
        pytest.importorskip("onnxruntime", reason="onnxruntime is installed with wingmark[export]")
    torch.manual_seed(0)
    model, source = coordinates(crop=crop).eval(), dot_faces({"test": 5})
    graph = GRAPHS[kind](model)
    WRITERS[suffix](tmp_path / f"a{suffix}", graph, about(model, kind))
    faces = source.faces("test")
    images, boxes = [source.read_image(face) for face in faces], [[face.boxes["dataset"]] for face in faces]
    expected = Landmarker(TorchEngine(model, CPU, "32"))(images, boxes)
    found = Landmarker.load(tmp_path / f"a{suffix}", batch_size=3)(images, boxes)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other.landmarks_image, one.landmarks_image, rtol=0, atol=5e-3)


def onnx_file(path: Path) -> None:
    """Something that onnxruntime can run, but no landmark model."""
    onnx = pytest.importorskip("onnx", reason="onnx is installed with wingmark[export]")
    value = functools.partial(onnx.helper.make_tensor_value_info, elem_type=onnx.TensorProto.FLOAT, shape=[1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [value("x")], [value("y")])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10), path)


def test_files_of_something_else(tmp_path):
    pytest.importorskip("onnxruntime", reason="onnxruntime is installed with wingmark[export]")
    onnx_file(tmp_path / "a.onnx")
    with pytest.raises(ValueError, match=r"a\.onnx is a model of something else; `wingmark export RUN` writes"):
        load_engine(tmp_path / "a.onnx", "cpu", "32")
    save_file({"x": torch.zeros(2)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"a\.safetensors is a model of something else"):
        load_engine(tmp_path / "a.safetensors", "cpu", "32")
    for suffix in (".onnx", ".pt2", ".safetensors"):
        damaged = (tmp_path / "b").with_suffix(suffix)
        damaged.write_bytes((tmp_path / "a.onnx").read_bytes()[:20])
        with pytest.raises(ValueError, match=rf"b\{suffix} is damaged or no \{suffix} file"):
            load_engine(damaged, "cpu", "32")
        with pytest.raises(FileNotFoundError, match=rf"there is no file .*gone\{suffix}; `wingmark export RUN"):
            load_engine((tmp_path / "gone").with_suffix(suffix), "cpu", "32")
    with pytest.raises(ValueError, match="runs on the CPU in float32, as it was exported; got cuda and 32"):
        load_engine(tmp_path / "a.onnx", "cuda", "32")
