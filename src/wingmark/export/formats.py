"""Exported files: writing them, what they tell about themselves, and running them."""

import json
import warnings
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wingmark import run
from wingmark.export.graph import CropGraph, Graph
from wingmark.export.parts import exported, first_line, trace, translate
from wingmark.finder import LandmarkFinder
from wingmark.trust import is_trusted

FORMAT = 1
KEY = "wingmark"  # of the text in which a file tells about itself
CHECKPOINT_KEY = "wingmark_checkpoint"  # of what safetensors tell beside it: how the model is built
LARGEST = 2**31 - 2**24  # bytes of weights in one ONNX file, which protobuf limits to 2 GiB


def require_onnx() -> None:
    """ImportError in one sentence where the packages of the extra are missing."""
    try:
        for name in ("onnx", "onnxruntime", "onnxscript"):
            import_module(name)
    except ImportError as error:
        raise ImportError(f"ONNX needs the package {error.name}: pip install -e '.[export]'") from error


def write_onnx(path: Path, graph: Graph, about: dict[str, Any]) -> None:
    """Write a graph in one file of ONNX. ValueError naming the part that cannot be exported."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in graph.state_dict().values())
    if size > LARGEST:
        raise ValueError(f"the weights take {size / 2**30:.1f} GiB, an ONNX file holds 2; use --format torch-export")
    program = exported(translate, graph, getattr(torch, about["dtype"]))
    for value, name in zip(program.model.graph.outputs, about["outputs"], strict=True):
        value.name = name
    program.model.metadata_props[KEY] = json.dumps(about)
    program.save(path, external_data=False)


def write_torch_export(path: Path, graph: Graph, about: dict[str, Any]) -> None:
    """Write a graph as torch.export does. ValueError naming the part that cannot be exported."""
    program = exported(trace, graph, getattr(torch, about["dtype"]))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No complete tensor found")  # coordinates that are expanded to the batch
        torch.export.save(program, path, extra_files={KEY: json.dumps(about)})


def write_safetensors(path: Path, graph: Graph, about: dict[str, Any]) -> None:
    """Write the weights of a model of `run.load`, and what `load_safetensors` builds it from again."""
    from safetensors.torch import save

    checkpoint: dict[str, Any] = {}
    graph.model.on_save_checkpoint(checkpoint)
    weights = {name: tensor.contiguous() for name, tensor in graph.model.state_dict().items()}
    told = {KEY: json.dumps(about), CHECKPOINT_KEY: json.dumps(checkpoint["wingmark"])}
    path.write_bytes(save(weights, told))


class Exported(NamedTuple):
    """An exported file, ready to run: from tensors in the order of its inputs to named ones."""

    about: dict[str, Any]
    outputs: Callable[..., dict[str, Tensor]]


def load(path: Path, *, own: bool = False) -> Exported:
    """Open a file that `wingmark export` wrote, on the CPU.

    own: it was written a moment ago, by this process. Opening a `.pt2` file of somebody else can run what is in it:
    torch.export unpickles, and looks names up.

    Raises FileNotFoundError where there is none, ValueError where it is damaged or of something else, and for a `.pt2`
    file that is not trusted.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; `wingmark export RUN` writes one")
    openers = {".onnx": _open_onnx, ".pt2": _open_torch_export, ".safetensors": _open_safetensors}
    if path.suffix not in openers:
        raise ValueError(f"{path} is none of {', '.join(openers)}, which `wingmark export` writes")
    if path.suffix == ".pt2" and not own and not is_trusted("torch.export"):
        raise ValueError(
            f"{path} could run code when it is opened, as any .pt2 file; if you trust it, set the environment variable "
            "WINGMARK_TRUST=torch.export, or export to onnx or safetensors, which hold none"
        )
    try:
        told, outputs = openers[path.suffix](path)
    except ImportError:
        raise
    except Exception as error:  # a damaged file can fail in any way
        raise ValueError(f"{path} is damaged or no {path.suffix} file ({first_line(error)})") from error
    return Exported(_about(path, told), outputs)


def _about(path: Path, told: str | None) -> dict[str, Any]:
    if not told:
        raise ValueError(f"{path} is a model of something else; `wingmark export RUN` writes those that say how")
    try:
        about = json.loads(told)
        newer = about["format"] > FORMAT
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} tells about itself what is not ours; `wingmark export RUN` writes it anew") from error
    if newer:
        raise ValueError(f"{path} has format {about['format']}, this wingmark reads up to {FORMAT}; update it")
    return about


def _open_onnx(path: Path) -> tuple[str | None, Callable[..., dict[str, Tensor]]]:
    require_onnx()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs, outputs = ([value.name for value in values] for values in (session.get_inputs(), session.get_outputs()))

    def run(*tensors: Tensor) -> dict[str, Tensor]:
        found = session.run(None, {name: tensor.numpy() for name, tensor in zip(inputs, tensors, strict=True)})
        return dict(zip(outputs, map(torch.from_numpy, found), strict=True))

    return session.get_modelmeta().custom_metadata_map.get(KEY), run


def _open_torch_export(path: Path) -> tuple[str | None, Callable[..., dict[str, Tensor]]]:
    with zipfile.ZipFile(path) as archive:  # torch prints its traceback for what is no archive
        names = [name.partition("/")[2] for name in archive.namelist()]
    if f"extra/{KEY}" not in names:
        return None, None
    extra_files = {KEY: ""}
    program = torch.export.load(path, extra_files=extra_files)
    return extra_files[KEY], torch.no_grad()(program.module())


def _open_safetensors(path: Path) -> tuple[str | None, Callable[..., dict[str, Tensor]]]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        told = (file.metadata() or {}).get(KEY)
    return told, torch.no_grad()(CropGraph(load_safetensors(path))) if told else None


def load_safetensors(path: Path) -> LandmarkFinder:
    """The model that `write_safetensors` wrote down, in eval mode, as `run.load` gives it: without the run.

    Nothing in the file is run: it holds numbers, and JSON that names classes as a config does. ValueError where it is
    damaged or of something else.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; `wingmark export RUN --format safetensors` writes one")
    try:
        with safe_open(path, "pt") as file:
            told = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dictionary
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no .safetensors file ({first_line(error)})") from error
    _about(path, told.get(KEY))
    try:
        model = run.build_model(json.loads(told[CHECKPOINT_KEY]))
        run.load_weights(model, weights)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path}: {first_line(error)}") from error
    return model.eval()
