"""Models as files for other programs: ONNX, torch.export, and weights that tell how their model is built."""

from wingmark.export.formats import (
    FORMAT,
    Exported,
    load,
    load_safetensors,
    require_onnx,
    write_onnx,
    write_safetensors,
    write_torch_export,
)
from wingmark.export.graph import BoxGraph, CropGraph

__all__ = [
    "FORMAT",
    "BoxGraph",
    "CropGraph",
    "Exported",
    "load",
    "load_safetensors",
    "require_onnx",
    "write_onnx",
    "write_safetensors",
    "write_torch_export",
]
