"""Tracing a model into a graph, and telling which part of it cannot be traced."""

import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from wingmark.cascade import Cascade
from wingmark.codecs import Codec
from wingmark.export.graph import Graph
from wingmark.finder import LandmarkFinder

Sides = dict[str, dict[int, str]]
# The newest version that the exporter writes without converting its result; onnxruntime reads it since 1.14, of 2023.
OPSET = 18


def trace(module: nn.Module, example: dict[str, Tensor], dynamic: Sides) -> ExportedProgram:
    """What a module computes, for inputs like the example's; sides that `dynamic` names may be of any length."""
    # DYNAMIC: of the range in which the graph holds. The averages of `geometry.warp` begin at 33 px.
    dims = {"batch": Dim("batch"), "height": Dim.DYNAMIC, "width": Dim.DYNAMIC}
    shapes = {name: {side: dims[of] for side, of in sides.items()} for name, sides in dynamic.items()}
    return torch.export.export(module, tuple(example.values()), dynamic_shapes=shapes)


def translate(module: nn.Module, example: dict[str, Tensor], dynamic: Sides) -> torch.onnx.ONNXProgram:
    """The same in the operations of ONNX."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "# The axis name")  # two inputs share the batch
        return torch.onnx.export(
            module,
            tuple(example.values()),
            dynamic_shapes=dynamic,
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
        )


@torch.no_grad()
def exported(attempt: Callable, graph: Graph, dtype: torch.dtype):
    """What `trace` or `translate` makes of a graph. ValueError naming the part of the model that it fails on."""
    try:
        return attempt(graph, graph.example(dtype), graph.dynamic())
    except Exception as error:  # a part may do anything, and fail in any way
        part, cause = _blame(attempt, graph.model) or ("the model", error)
        raise ValueError(
            f"{part} cannot be exported ({type(cause).__name__}: {first_line(cause)}); train with another one, or use "
            "--format safetensors, which keeps the weights for PyTorch"
        ) from cause


def _blame(attempt: Callable, model: LandmarkFinder) -> tuple[str, Exception] | None:
    for name, part, example in _parts(model):
        try:
            attempt(part, example, {next(iter(example)): {0: "batch"}})
        except Exception as error:
            return name, error
    return None


def _parts(model: LandmarkFinder) -> Iterator[tuple[str, nn.Module, dict[str, Tensor]]]:
    """Name, module and example of what a model is made of."""
    stages = {"first.": model.first, "second.": model.second} if isinstance(model, Cascade) else {"": model}
    for prefix, stage in stages.items():
        image = torch.zeros(2, 3, stage.crop_size, stage.crop_size, dtype=torch.uint8)
        yield f"{prefix}model.network {type(stage.network).__name__}", stage.network, {"image": image}
        decoder = getattr(stage.codec, "decoder", stage.codec)
        output = stage.network(image)[-1]
        yield (
            f"{prefix}model.codec {type(decoder).__name__}",
            _Decoding(stage.codec, stage.crop_size),
            {"output": output},
        )


class _Decoding(nn.Module):
    def __init__(self, codec: Codec, crop_size: int) -> None:
        super().__init__()
        self.codec, self.crop_size = codec, crop_size

    def forward(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.codec.decode(output, self.crop_size)


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]
