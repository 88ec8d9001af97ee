"""What a face costs in each format, and how far its landmarks are from PyTorch's: the table of exported models.

    OMP_NUM_THREADS=2 python tests/benchmarks/export_latency.py

Random weights, ready crops of synthetic faces. Latency is the median of 7 calls, after 2 that do not count, divided by
the number of faces in a call; the difference is the largest of 16 faces, in pixels of the crop. In 8 bits it says
little for heatmaps of random weights: their peaks are noise, and move by cells.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch

from wingmark import export, schema
from wingmark.cascade import Cascade
from wingmark.codecs import Coordinates, Heatmap
from wingmark.export import CropGraph
from wingmark.export.check import largest_differences
from wingmark.export.faces import batches, drawn_faces
from wingmark.export.formats import Exported
from wingmark.export.int8 import quantize
from wingmark.losses import MSELoss, WingLoss
from wingmark.model import LandmarkModule
from wingmark.networks import FeatureNetwork, HeatmapHead, TimmNetwork
from wingmark.protocol import Protocol

SCHEMA, PROTOCOL = schema.get("ibug68"), Protocol("rule", box="dataset", margin=1.2)
HOURGLASS = {"coord_conv": True, "boundary_coordinates": True}


def heatmaps(backbone: str, levels: tuple[int, ...]) -> LandmarkModule:
    network = partial(FeatureNetwork, backbone, partial(HeatmapHead), levels)
    return LandmarkModule(network, Heatmap, MSELoss(), SCHEMA, PROTOCOL, 256)


def wing_cnn6() -> LandmarkModule:
    return LandmarkModule(partial(TimmNetwork, "wing_cnn6"), Coordinates, WingLoss(), SCHEMA, PROTOCOL, 128)


def hourglass2() -> LandmarkModule:
    network = partial(TimmNetwork, "hourglass2", HOURGLASS)
    return LandmarkModule(network, partial(Heatmap, boundary="paper"), MSELoss(), SCHEMA, PROTOCOL, 256)


def cascade() -> Cascade:
    second = Protocol("second", box="refined", margin=1.2)
    cnn7 = LandmarkModule(partial(TimmNetwork, "wing_cnn7"), Coordinates, WingLoss(), SCHEMA, second, 128)
    return Cascade(wing_cnn6(), cnn7)


MODELS = {
    "wing_cnn6, 128 px": wing_cnn6,
    "resnet18 heatmaps, 256 px": partial(heatmaps, "resnet18", (1, 2, 3, 4)),
    "hrnet_w18 heatmaps, 256 px": partial(heatmaps, "hrnet_w18", (1, 2, 3, 4)),
    "hourglass2, 256 px": hourglass2,
    "wing_cnn6, then wing_cnn7, 128 px": cascade,
}


@torch.no_grad()
def milliseconds(outputs: Callable, crops: torch.Tensor) -> float:
    """Of one face, when `crops` are found in one call."""
    seconds = []
    for _ in range(9):
        started = time.perf_counter()
        outputs(crops)
        seconds.append(time.perf_counter() - started)
    return 1000 * median(seconds[2:]) / len(crops)


def files(graph: CropGraph, faces, folder: Path) -> dict[str, Exported]:
    """The model in all formats, by name."""
    with torch.no_grad():
        outputs = list(graph(*graph.example(torch.uint8).values()))
    about = {"format": export.FORMAT, "input": "crops", "dtype": "uint8", "outputs": outputs}
    export.write_onnx(folder / "a.onnx", graph, about)
    quantize(folder / "a.onnx", folder / "b.onnx", batches(faces, range(16), 4, "crops", "uint8"))
    export.write_torch_export(folder / "a.pt2", graph, about)
    found = {"ONNX": "a.onnx", "ONNX int8": "b.onnx", "torch-export": "a.pt2"}
    files = {name: export.load(folder / file, own=True) for name, file in found.items()}
    return {"PyTorch": Exported(about, graph), **files}


if __name__ == "__main__":
    print("| model | format | batch 1 [ms] | batch 16 [ms a face] | largest difference [px] |\n|---|---|---|---|---|")
    for model_name, make in MODELS.items():
        torch.manual_seed(0)
        model = make().eval()
        for layer in model.modules():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear) and layer.weight.std() < 0.002:
                torch.nn.init.normal_(layer.weight, std=0.05)  # the last one starts near zero, and would find nothing
        graph, faces = CropGraph(model), drawn_faces(model).check
        ((crops,),) = batches(faces, range(16), 16, "crops", "uint8")
        with tempfile.TemporaryDirectory() as folder:
            for name, file in files(graph, faces, Path(folder)).items():
                one, many = milliseconds(file.outputs, crops[:1]), milliseconds(file.outputs, crops)
                difference = largest_differences(file, graph, faces)["landmarks"]
                print(f"| {model_name} | {name} | {one:.1f} | {many:.1f} | {difference:.5f} |", flush=True)
