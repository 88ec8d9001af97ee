"""Write a trained model as a file for other programs, and check that it finds the same there.

onnx and torch-export hold the whole way as one graph: normalization, network and decoding, and with --input boxes
cutting the crop out of the image and mapping the landmarks back too. safetensors hold the weights and how the model is
built of them, for wingmark. Before a file gets its name it is run on 16 faces, one by one and five at a time: the run's
validation faces, or synthetic ones where those cannot be read. Where a landmark is more than 0.05 px from that of the
model in PyTorch the file is removed, and the exit status is 1.

--int8 makes an ONNX file that computes in 8 bits. The range of each layer's values is learned from validation faces,
which must be there, and the NME on the test faces is printed before and after: both of the run's data, or of another
set where settings of fit are added (--data.source FILE ...). Its landmarks differ from those of the model; no bound is
set to that.

ONNX needs `pip install -e '.[export]'`. Relative paths in the run's config count from the current folder. That
config is trusted like a recipe: of a run that somebody else made, read it first, or export its .ckpt alone.
"""

import argparse
import hashlib
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import torch

import wingmark.run
from wingmark import export
from wingmark.export.check import BOUND, SIZES, largest_differences, nme
from wingmark.export.faces import KnownFaces, batches, drawn_faces, run_faces
from wingmark.export.graph import GRAPHS, Dtype, Graph, Input, context_of
from wingmark.export.int8 import quantize
from wingmark.files import whole_file
from wingmark.training import quiet_libraries

WRITERS = {
    "onnx": (".onnx", export.write_onnx),
    "torch-export": (".pt2", export.write_torch_export),
    "safetensors": (".safetensors", export.write_safetensors),
}
CALIBRATED_ON = 64  # faces


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(settings=[])
    parser.add_argument("run", type=Path, metavar="RUN", help="folder made by `wingmark fit`, or a .ckpt")
    parser.add_argument("--format", choices=WRITERS, default="onnx", help="default: onnx")
    parser.add_argument(
        "--input",
        choices=get_args(Input),
        default="crops",
        help="what the graph takes: ready crops, or images with a box each; default: crops",
    )
    parser.add_argument(
        "--dtype", choices=get_args(Dtype), default="uint8", help="of the pixels, 0 to 255 in both; default: uint8"
    )
    parser.add_argument("--int8", action="store_true", help="compute in 8 bits (ONNX)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: RUN/export/RUN.onnx, RUN-boxes.onnx, ...")


def run(arguments: argparse.Namespace) -> Path:
    """Write the file, check it, tell how large the difference is."""
    quiet_libraries()
    suffix, write = WRITERS[arguments.format]
    path = arguments.output or _default(arguments, suffix)
    _refuse(arguments, path, suffix)
    graph = GRAPHS[arguments.input](wingmark.run.load(arguments.run))
    faces = _faces(arguments, graph)
    about = _about(arguments, graph)
    with whole_file(path) as temporary:
        if arguments.int8:
            _write_int8(temporary, graph, about, faces)
        else:
            write(temporary, graph, about)
            _check(temporary, graph, faces)
    names = ", ".join(about["outputs"])
    takes = f"{arguments.dtype} {'crops' if arguments.input == 'crops' else 'images and boxes'}"
    print(f"{path}: {takes} to {names}; {path.stat().st_size / 1e6:.1f} MB")
    return path


def _default(arguments: argparse.Namespace, suffix: str) -> Path:
    """RUN/export/RUN.onnx, of another checkpoint than its best one RUN/export/NAME.onnx, and what differs from that."""
    folder, checkpoint = _folder_and_checkpoint(arguments.run)
    name = folder.resolve().name if checkpoint.name == "best.ckpt" else checkpoint.stem
    variants = {"boxes": arguments.input == "boxes", "float32": arguments.dtype == "float32", "int8": arguments.int8}
    return folder / "export" / f"{'-'.join([name, *(variant for variant, is_so in variants.items() if is_so)])}{suffix}"


def _folder_and_checkpoint(run: Path) -> tuple[Path, Path]:
    """Where the config and the results of a run lie, and its checkpoint; RUN may be a checkpoint in that folder."""
    if run.is_dir():
        return run, run / "checkpoints" / "best.ckpt"
    return run.parent.parent if run.parent.name == "checkpoints" else run.parent, run


def _refuse(arguments: argparse.Namespace, path: Path, suffix: str) -> None:
    """What does not go together, before anything is loaded."""
    others = [word for word in arguments.settings if word.startswith("-") and not word.startswith("--data")]
    if others or (arguments.settings and not arguments.settings[0].startswith("-")):
        raise ValueError(
            f"unrecognized arguments: {' '.join(others or arguments.settings)}; see wingmark export --help"
        )
    if path.suffix != suffix:
        raise ValueError(
            f"--output {path} must end in {suffix}, by which a file of --format {arguments.format} is known"
        )
    if arguments.int8 and arguments.format != "onnx":
        raise ValueError(f"--int8 goes with --format onnx, not {arguments.format}")
    if arguments.format == "safetensors" and (arguments.input, arguments.dtype) != ("crops", "uint8"):
        raise ValueError("safetensors hold weights and no graph: --input and --dtype go with the other formats")
    if arguments.format == "onnx":
        export.require_onnx()


def _faces(arguments: argparse.Namespace, graph: Graph) -> KnownFaces:
    """Those of the run, or synthetic ones where they cannot be read; those that were asked for must be."""
    try:
        return run_faces(*_folder_and_checkpoint(arguments.run), arguments.settings, graph.model.schema)
    except (ValueError, OSError, ImportError) as error:
        if arguments.settings:
            raise
        if arguments.int8:
            raise ValueError(f"--int8 is learned from the faces of the run, which cannot be read: {error}") from error
        print(f"synthetic faces are taken, since those of the run cannot be read: {error}")
        return drawn_faces(graph.model)


def _about(arguments: argparse.Namespace, graph: Graph) -> dict[str, Any]:
    """What the file tells about itself."""
    model, (run, checkpoint) = graph.model, _folder_and_checkpoint(arguments.run)
    with open(checkpoint, "rb") as file, torch.no_grad():
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        outputs = graph(*graph.example(getattr(torch, arguments.dtype)).values())
    return {
        "format": export.FORMAT,
        "input": arguments.input,
        "dtype": arguments.dtype,
        "int8": arguments.int8,
        "outputs": list(outputs),
        "schema": model.schema.to_dict(),
        "protocol": model.protocol.to_dict(),
        "crop_size": model.crop_size,
        "context": context_of(model),
        "conventions": "RGB; a pixel's center is at the integer, counted from 0; boxes are those of protocol.box "
        "(tight: the smallest around all landmarks), without its margin; expected_error in the pixels of landmarks; "
        "score is the height of a peak, about 1 at best",
        "run": run.resolve().name,
        "checkpoint": digest,
        "trained_by": f"wingmark {version('wingmark')}",
    }


def _check(path: Path, graph: Graph, faces: KnownFaces) -> None:
    """Print the largest difference; ValueError where it is too large."""
    exported = export.load(path, own=True)
    differences = largest_differences(exported, graph, faces.check)
    pixels = "px of the crop" if exported.about["input"] == "crops" else "px of the image"
    sizes = " and ".join(map(str, SIZES))
    landmarks = differences["landmarks"]
    print(f"largest difference from PyTorch: {landmarks:.5f} {pixels} ({faces.told}, batches of {sizes})")
    for name, difference in differences.items():
        if not difference <= BOUND:  # nor may it be NaN
            raise ValueError(
                f"the {name} of the file are {difference:.3g} from those of the model, at most {BOUND} is allowed; it "
                "was removed"
            )


def _write_int8(path: Path, graph: Graph, about: dict[str, Any], faces: KnownFaces) -> None:
    """Write the quantized file; print its difference, and the NME before and after."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "float32.onnx"
        export.write_onnx(whole, graph, about)
        _check(whole, graph, faces)
        indices = range(len(faces.check))[:CALIBRATED_ON]
        quantize(whole, path, batches(faces.check, indices, max(SIZES), about["input"], about["dtype"]))
        before, after = export.load(whole, own=True), export.load(path, own=True)
        pixels = "px of the crop" if about["input"] == "crops" else "px of the image"
        difference = largest_differences(after, graph, faces.check)["landmarks"]
        print(f"in 8 bits, calibrated on {len(indices)} faces: largest difference {difference:.3f} {pixels}")
        if faces.scored is not None:
            scores = [100 * nme(file, faces.scored, name) for file, name in ((before, "float32"), (after, "int8"))]
            label = faces.scored.protocol.label
            print(f"NME {scores[0]:.3f} % before, {scores[1]:.3f} % after ({faces.scored_told}, {label})")
