"""Exported files against the model in PyTorch, and their crops against those of training."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from wingmark import export, schema
from wingmark.cascade import Cascade
from wingmark.codecs import Argmax, Coordinates, Heatmap, LocalCentroid, QuarterOffset, Taylor
from wingmark.confidence import Calibration
from wingmark.export import BoxGraph, CropGraph
from wingmark.export.check import largest_differences
from wingmark.export.faces import CHECKED, batches, drawn_faces
from wingmark.export.int8 import LAYERS, last_layers, quantize
from wingmark.export.parts import exported, trace
from wingmark.finder import LandmarkFinder
from wingmark.geometry import apply, warp
from wingmark.losses import MSELoss, WingLoss
from wingmark.model import LandmarkModule
from wingmark.networks import CoordinateHead, FeatureNetwork, HeatmapHead, TimmNetwork
from wingmark.protocol import Protocol
from wingmark.types import Box

partial = functools.partial
IBUG = schema.get("ibug68")
RULE = Protocol("rule", box="dataset", margin=1.2)
CALIBRATION = Calibration((0.0, 0.5, 1.0), (6.0, 2.0, 1.0))
WRITERS = {".onnx": export.write_onnx, ".pt2": export.write_torch_export}


@pytest.fixture(autouse=True)
def trusted(monkeypatch):
    """Files of torch.export are opened: these tests wrote them."""
    monkeypatch.setenv("WINGMARK_TRUST", "torch.export")


def heatmaps(backbone="test_resnet", levels=(1, 2, 3), protocol=RULE, coord_conv=False, **codec) -> LandmarkModule:
    head = partial(HeatmapHead, channels=16)
    network = partial(FeatureNetwork, backbone, head, levels, coord_conv=coord_conv)
    return LandmarkModule(network, partial(Heatmap, **codec), MSELoss(), IBUG, protocol, 64)


def coordinates(backbone="test_resnet", protocol=RULE, **head) -> LandmarkModule:
    network = partial(FeatureNetwork, backbone, partial(CoordinateHead, channels=8, hidden=16, **head))
    return LandmarkModule(network, Coordinates, WingLoss(), IBUG, protocol, 64)


def whole(name: str, codec=Coordinates, protocol=RULE, **options) -> LandmarkModule:
    loss = WingLoss() if codec is Coordinates else MSELoss()
    return LandmarkModule(partial(TimmNetwork, name, options), codec, loss, IBUG, protocol, 64)


def cascade() -> Cascade:
    return Cascade(heatmaps(), coordinates(protocol=Protocol("second", box="refined", margin=1.3)))


HOURGLASS = {"width": 8, "coord_conv": True, "boundary_coordinates": True}
MODELS = {
    "wing_cnn6": partial(whole, "wing_cnn6", channels=[8, 8, 8, 8, 8], hidden=16),
    "taylor": heatmaps,
    "taylor_without_blur": partial(heatmaps, decoder=Taylor(blur=0)),
    "argmax": partial(heatmaps, decoder=Argmax()),
    "quarter_offset": partial(heatmaps, decoder=QuarterOffset(), target="floored"),
    "local_centroid": partial(heatmaps, decoder=LocalCentroid()),
    "boundary": partial(heatmaps, boundary="full"),
    "coordinates": coordinates,
    "pooled": partial(coordinates, pool=True),
    "wing_cnn7": partial(whole, "wing_cnn7", channels=[8, 8, 8, 8, 8, 8], hidden=16),
    "pixels": lambda: LandmarkModule(
        partial(TimmNetwork, "test_resnet", unit="pixel"), Coordinates, WingLoss(), IBUG, RULE, 64
    ),
    "hourglass2": partial(whole, "hourglass2", partial(Heatmap, boundary="paper"), **HOURGLASS),
    "hrnet": partial(heatmaps, "hrnet_w18_small", (1, 2, 3, 4)),
    "convnext": partial(heatmaps, "test_convnext", (0, 1, 2, 3)),
    "mobilenet": partial(heatmaps, "mobilenetv3_small_050", (1, 2, 3, 4), coord_conv=True),
    "vit": partial(coordinates, "test_vit"),
    "cascade": cascade,
    "cascade_of_heatmaps": lambda: Cascade(heatmaps(), heatmaps(protocol=Protocol("second", box="tight", margin=1.3))),
}
QUICK = ("wing_cnn6",)


def build(name: str) -> LandmarkFinder:
    """A model whose random weights find something else in each crop, and not the middle."""
    torch.manual_seed(0)
    return lively(MODELS[name]())


@torch.no_grad()
def lively(model: LandmarkFinder) -> LandmarkFinder:
    for stage in (model.first, model.second) if isinstance(model, Cascade) else (model,):
        for part in stage.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_(std=0.1)
        heads = [part for part in stage.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
        for part in heads:
            if part.weight.std() < 0.002:  # what starts near zero
                part.weight.normal_(std=0.05)
        if stage.codec.kind == "heatmap":
            stage.calibration = CALIBRATION
    return model.eval()


def about(graph: nn.Module, dtype: str = "uint8") -> dict:
    kind = "crops" if isinstance(graph, CropGraph) else "boxes"
    with torch.no_grad():
        outputs = list(graph(*graph.example(torch.uint8).values()))
    return {"format": 1, "input": kind, "dtype": dtype, "outputs": outputs, "crop_size": graph.model.crop_size}


def check(found: torch.Tensor, expected: torch.Tensor, typical: float = 1e-4) -> None:
    """On the maps of random weights some parabolas are almost flat: rounding moves the tops of a few, and no more."""
    error = (found.double() - expected.double()).abs()
    assert error.quantile(0.95) < typical and error.max() < 0.05


def check_file(path: Path, graph: nn.Module, *inputs: torch.Tensor, typical: float = 1e-4) -> None:
    """All outputs of a file against those of a graph in PyTorch."""
    found = export.load(path).outputs(*inputs)
    with torch.no_grad():
        expected = graph(*inputs)
    assert list(found) == list(expected) and all(found[name].dtype == torch.float32 for name in found)
    assert found["landmarks"].flatten(1).std(1).min() > 0.02  # pixels: not all in one place
    for name in found:
        check(found[name], expected[name], typical)


def crops(count: int, size: int = 64, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    """Smooth pictures: in noise two cells of a map may be equally high."""
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(count)) * 255
    return nn.functional.interpolate(coarse, size, mode="bicubic").clamp(0, 255).round().to(dtype)


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in MODELS]
)
def test_files_find_what_the_model_finds(tmp_path, name, suffix):
    graph, path = CropGraph(build(name)), tmp_path / f"a{suffix}"
    WRITERS[suffix](path, graph, about(graph))
    for count in (1, 3, 2):
        image = crops(count, graph.model.crop_size)
        with torch.no_grad():
            direct = graph.model(image)
        found = export.load(path).outputs(image)
        check(found["landmarks"], direct.landmarks_crop)
        check_file(path, graph, image)


@pytest.mark.long
def test_swin_too(tmp_path):
    head = partial(HeatmapHead, channels=16)
    network = partial(FeatureNetwork, "swin_tiny_patch4_window7_224", head, (0, 1, 2, 3))
    torch.manual_seed(0)
    graph = CropGraph(lively(LandmarkModule(network, Heatmap, MSELoss(), IBUG, RULE, 224)))
    export.write_onnx(tmp_path / "a.onnx", graph, about(graph))
    check_file(tmp_path / "a.onnx", graph, crops(3, 224))


# Inside, over a border, over the opposite one; upright and lying.
BOXES = torch.tensor([[30.2, 20.9, 90.4, 101.1], [-20.5, -30, 40, 20.25], [100, 60, 140, 120]])


@pytest.mark.parametrize("crop", ["square", "outwards", "stretched"])
def test_boxes_become_the_crops_of_training(crop):
    protocol = Protocol("rule", box="dataset", margin=1.2, crop=crop)
    graph = BoxGraph(lively(whole("wing_cnn6", protocol=protocol, channels=[8, 8, 8, 8, 8], hidden=16)))
    for corners, found in zip(BOXES, graph.crops_to_image(BOXES), strict=True):
        expected = protocol.box_to_image(Box.from_corners(*corners.tolist()), 64)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("make", [partial(whole, "wing_cnn6"), heatmaps])
def test_landmarks_come_back_into_the_image(make):
    """Against the crop cut face by face, and mapped back, in float64."""
    torch.manual_seed(0)
    graph, images = BoxGraph(lively(make())), crops(3, 128)
    found = graph(images, BOXES)
    for index, corners in enumerate(BOXES):
        to_image = RULE.box_to_image(Box.from_corners(*corners.tolist()), 64)
        one = torch.from_numpy(to_image)[None]
        crop = graph.model(warp(images[index : index + 1], one, 64))
        expected = apply(one, crop.landmarks_crop.double())[0]
        assert (found["landmarks"][index] - expected).abs().max() < 2e-3
        if crop.expected_error is not None:
            scaled = crop.expected_error[0] * to_image[0, 0]
            torch.testing.assert_close(found["expected_error"][index].double(), scaled.double(), rtol=1e-4, atol=0)


def test_float32_is_enough_for_large_photos():
    graph = BoxGraph(lively(whole("wing_cnn6")))
    low = torch.rand(50, 2, generator=torch.Generator().manual_seed(0)) * 2000
    boxes = torch.cat([low, low + 2000], 1)
    for corners, found in zip(boxes, graph.crops_to_image(boxes), strict=True):
        exact = RULE.box_to_image(Box.from_corners(*corners.double().tolist()), 64)
        corner = np.array([[-0.5, -0.5], [63.5, 63.5]])
        computed = apply(found, torch.from_numpy(corner).float()).numpy()
        assert np.abs(computed - apply(exact, corner)).max() < 0.002


def test_boxes_that_are_none_give_no_landmarks():
    graph = BoxGraph(lively(heatmaps()))
    sound = [[10.0, 10, 50, 50], [99, 10, 119, 30]]  # the margin around the second one reaches into the image
    none = [[50, 10, 10, 50], [10, 10, torch.nan, 50], [10, 10, 10, 50]]
    outside = [[120, 10, 140, 30], [10, 120, 30, 140], [-40, 10, -20, 30], [10, -40, 30, -20]]
    boxes = torch.tensor([*sound, *none, *outside])
    landmarks = graph(crops(9, 100), boxes)["landmarks"]
    assert landmarks[:2].isfinite().all() and landmarks[2:].isnan().all()


@pytest.mark.long
@pytest.mark.parametrize("suffix", WRITERS)
def test_files_cut_their_own_crops(tmp_path, suffix):
    torch.manual_seed(0)
    graph, path = BoxGraph(lively(whole("wing_cnn6", channels=[8, 8, 8, 8, 8], hidden=16))), tmp_path / f"a{suffix}"
    WRITERS[suffix](path, graph, about(graph))
    images = crops(3, 140)
    check_file(path, graph, images, BOXES)
    check_file(path, graph, images[:, :, :90], BOXES)
    check_file(path, graph, images[:1, :, :, :70], BOXES[:1])
    large = torch.tensor([[10.0, 20, 1200, 1100], [0, 0, 300, 300]])  # averaged before they are cut
    check_file(path, graph, crops(2, 1300), large, typical=2e-3)


@pytest.mark.long
@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("name", ["taylor", "cascade", "cascade_of_heatmaps"])
def test_files_of_other_models_cut_their_own_crops(tmp_path, name, suffix):
    graph, path = BoxGraph(build(name)), tmp_path / f"a{suffix}"
    WRITERS[suffix](path, graph, about(graph))
    check_file(path, graph, crops(3, 140), BOXES, typical=2e-3)
    check_file(path, graph, crops(1, 100), BOXES[:1], typical=2e-3)


def test_floats_are_rounded_to_gray_levels(tmp_path):
    graph, path = CropGraph(build("wing_cnn6")), tmp_path / "a.pt2"
    export.write_torch_export(path, graph, about(graph, "float32"))
    levels = crops(2)
    near = levels.float() + torch.rand(levels.shape) * 0.8 - 0.4
    found = export.load(path).outputs(near)["landmarks"]
    assert torch.equal(found, graph(levels)["landmarks"])
    assert torch.equal(graph(levels.float())["landmarks"], graph(levels)["landmarks"])


def test_a_crop_rule_that_looks_at_landmarks_is_refused():
    with pytest.raises(ValueError, match="rule contain, which looks at the true landmarks.*export with --input crops"):
        BoxGraph(whole("wing_cnn6", protocol=Protocol("awing", crop="contain")))


class Branching(nn.Module):
    """Decides by what it sees, which no graph can."""

    def __init__(self, outputs: int, crop_size: int) -> None:
        super().__init__()
        self.scale, self.count = nn.Parameter(torch.ones(())), outputs // 2

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        middle = 30.0 if image.float().mean() > 3 else 40.0
        return [self.scale * middle * torch.ones(image.shape[0], self.count, 2)]


class BranchingDecoder(Argmax):
    def locate(self, maps: torch.Tensor) -> torch.Tensor:
        return super().locate(maps) if maps.mean() > 3 else super().locate(-maps)


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: LandmarkModule(Branching, Coordinates, WingLoss(), IBUG, RULE, 64), "model.network Branching"),
        (partial(heatmaps, decoder=BranchingDecoder()), "model.codec BranchingDecoder"),
    ],
)
def test_what_cannot_be_exported_is_named(make, part):
    with pytest.raises(ValueError, match=f"^{part} cannot be exported .*--format safetensors"):
        exported(trace, CropGraph(make().eval()), torch.uint8)


class TestChecking:
    graph = property(lambda self: CropGraph(build("wing_cnn6")))

    def wrong(self, graph, change) -> export.Exported:
        return export.Exported(about(graph), lambda *inputs: {"landmarks": change(graph(*inputs)["landmarks"])})

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (lambda landmarks: landmarks, 0.0),
            (lambda landmarks: landmarks + 0.5, 0.5),
            (lambda landmarks: landmarks + torch.tensor([0.0, 0.06]), 0.06),
        ],
    )
    def test_a_shift_is_found(self, change, expected):
        graph = self.graph
        faces = drawn_faces(graph.model).check
        found = largest_differences(self.wrong(graph, change), graph, faces)
        found = largest_differences(self.wrong(graph, lambda found: found * torch.nan), graph, faces)
        assert not found["landmarks"] <= 0.05


def test_photos_of_a_batch_are_as_large_as_the_largest(dot_faces):
    faces = drawn_faces(lively(whole("wing_cnn6"))).check
    assert len(faces) == CHECKED
    source = faces.regions.source
    (images, boxes), *others = batches(faces, range(5), 3, "boxes", "float32")
    assert len(others) == 1 and images.dtype == torch.float32 and images.shape == (3, 3, 160, 160)
    assert np.array_equal(images[1].permute(1, 2, 0).numpy(), source.read_image(faces.faces[1]))
    box = faces.faces[1].boxes["dataset"]
    assert boxes[1].numpy() == pytest.approx(
        [box.x - box.width / 2, box.y - box.height / 2, box.x + box.width / 2, box.y + box.height / 2]
    )


class TestFiles:
    @pytest.mark.parametrize("suffix", WRITERS)
    def test_metadata_comes_back(self, tmp_path, suffix):
        graph, path = CropGraph(build("wing_cnn6")), tmp_path / f"a{suffix}"
        told = {**about(graph), "schema": IBUG.to_dict(), "run": "Grüße"}
        WRITERS[suffix](path, graph, told)
        assert export.load(path).about == json.loads(json.dumps(told))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(ValueError, match=f"a{suffix} is damaged or no {suffix} file"):
            export.load(path)

    @pytest.mark.parametrize("suffix", [".onnx", ".pt2", ".safetensors"])
    def test_what_is_no_such_file_is_refused(self, tmp_path, suffix):
        path = tmp_path / f"a{suffix}"
        with pytest.raises(FileNotFoundError, match=r"there is no file .*; `wingmark export RUN` writes one"):
            export.load(path)
        path.write_text("nothing")
        with pytest.raises(ValueError, match=f"is damaged or no {suffix} file"):
            export.load(path)

    def test_models_of_something_else_are_refused(self, tmp_path):
        import onnx
        from safetensors.torch import save_file

        save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
        torch.export.save(torch.export.export(nn.ReLU(), (torch.ones(1),)), tmp_path / "a.pt2")
        value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
        result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
        node = onnx.helper.make_node("Relu", ["x"], ["y"])
        graph = onnx.helper.make_graph([node], "a", [value], [result])
        opset = onnx.helper.make_opsetid("", 18)
        onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10), tmp_path / "a.onnx")
        for suffix in (".safetensors", ".pt2", ".onnx"):
            with pytest.raises(ValueError, match=f"a{suffix} is a model of something else"):
                export.load(tmp_path / f"a{suffix}")

    def test_files_of_torch_export_are_opened_where_they_are_trusted(self, tmp_path, monkeypatch):
        graph = CropGraph(whole("wing_cnn6", channels=[8, 8, 8, 8, 8], hidden=16))
        WRITERS[".pt2"](tmp_path / "a.pt2", graph, about(graph))
        monkeypatch.delenv("WINGMARK_TRUST")
        monkeypatch.setattr(torch.export, "load", None)
        with pytest.raises(ValueError, match=r"a\.pt2 could run code when it is opened.*WINGMARK_TRUST=torch\.export"):
            export.load(tmp_path / "a.pt2")

    def test_models_too_large_for_onnx_are_refused(self, tmp_path):
        graph = CropGraph(build("wing_cnn6"))
        graph.ballast = nn.Parameter(torch.empty(2**29, device="meta"))
        with pytest.raises(ValueError, match="take 2.0 GiB, an ONNX file holds 2; use --format torch-export"):
            export.write_onnx(tmp_path / "a.onnx", graph, {})


@pytest.mark.long
@pytest.mark.parametrize("name", ["taylor", "wing_cnn6", "cascade"])
def test_8_bits(tmp_path, name):
    import onnx

    graph = CropGraph(build(name))
    export.write_onnx(tmp_path / "a.onnx", graph, about(graph))
    size = graph.model.crop_size
    quantize(tmp_path / "a.onnx", tmp_path / "b.onnx", [(crops(4, size),), (crops(3, size),)])
    assert export.load(tmp_path / "b.onnx").about == about(graph)
    quantized = onnx.load(tmp_path / "b.onnx").graph
    made_by = {name: node for node in quantized.node for name in node.output}
    in_8_bits = [
        node.name
        for node in quantized.node
        if node.op_type in LAYERS and made_by.get(node.input[1], node).op_type == "DequantizeLinear"
    ]
    last = last_layers(quantized)
    assert len(in_8_bits) > 3 and last and not set(last) & set(in_8_bits)
    found, expected = (export.load(tmp_path / file).outputs(crops(4, size)) for file in ("b.onnx", "a.onnx"))
    assert 0 < (found["landmarks"] - expected["landmarks"]).abs().median() < 2
