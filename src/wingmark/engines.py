"""What runs a trained model: PyTorch, or the runtime of the file that it was exported to."""

from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, get_args

import numpy as np
import torch

from wingmark import export, run
from wingmark.finder import LandmarkFinder
from wingmark.protocol import Protocol as Rules
from wingmark.schema import LandmarkSchema

Precision = Literal["32", "bf16"]


class Answer(NamedTuple):
    """`types.Found` as arrays: landmarks (B, K, 2) float64; score and expected error (B, K) float32 or None."""

    landmarks_crop: np.ndarray
    score: np.ndarray | None
    expected_error: np.ndarray | None


class Engine(Protocol):
    """Finds landmarks in crops (B, 3, S, S) uint8, `context` times as wide as the protocol's."""

    schema: LandmarkSchema
    protocol: Rules
    crop_size: int
    context: float

    def __call__(self, crops: np.ndarray) -> Answer: ...


def load_engine(path: Path, device: str, precision: Precision) -> Engine:
    """The model of a run folder, a `.ckpt`, or a file that `wingmark export` wrote.

    Raises FileNotFoundError where there is none, ValueError where it is damaged, something else, or cannot be run so.
    """
    if precision not in get_args(Precision):
        raise ValueError(f"precision is one of {', '.join(get_args(Precision))}, got {precision!r:.40}")
    if path.suffix in (".onnx", ".pt2"):
        if (device, precision) != ("cpu", "32"):
            raise ValueError(f"{path} runs on the CPU in float32, as it was exported; got {device} and {precision}")
        return _exported_engine(path)
    check_device(device)
    model = export.load_safetensors(path) if path.suffix == ".safetensors" else run.load(path)
    return TorchEngine(model, torch.device(device), precision)


def _exported_engine(path: Path) -> "ExportedEngine":
    exported = export.load(path)
    try:
        engine = ExportedEngine(exported)
        engine(np.zeros((1, 3, engine.crop_size, engine.crop_size), np.uint8))
    except Exception as error:  # whatever a graph and what it tells about itself may make of each other
        raise ValueError(
            f"{path} does not do what it tells about itself ({type(error).__name__}); `wingmark export RUN` writes it "
            "anew"
        ) from error
    if exported.about["input"] == "boxes" and engine.protocol.crop == "outwards":
        raise ValueError(
            f"{path} cuts crops by the rule outwards, which widens boxes to whole pixels, and no box gives back a "
            "ready crop as it is: export with --input crops"
        )
    return engine


def check_device(device: str) -> None:
    """ValueError for a device that is none, or is not there."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device {device!r} cannot be used ({str(error).splitlines()[0]}); give cpu or cuda"
        ) from error


class TorchEngine:
    """A model of `run.load`, on any device; with `bf16` its network computes in bfloat16."""

    def __init__(self, model: LandmarkFinder, device: torch.device, precision: Precision) -> None:
        self.model, self.device, self.precision = model.to(device).eval(), device, precision
        self.schema, self.protocol, self.crop_size = model.schema, model.protocol, model.crop_size
        self.context = getattr(model, "context", 1.0)

    @torch.inference_mode()
    def __call__(self, crops: np.ndarray) -> Answer:
        image = torch.from_numpy(crops).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            found = self.model(image)
        landmarks, *others = (None if part is None else part.cpu().numpy() for part in found)
        return Answer(landmarks.astype(float), *others)


class ExportedEngine:
    """An `.onnx` or `.pt2` file of `wingmark export`, on the CPU."""

    def __init__(self, exported: export.Exported) -> None:
        self._about, self._outputs = exported
        self.schema = LandmarkSchema.from_dict(self._about["schema"])
        self.protocol = Rules.from_dict(self._about["protocol"])
        self.crop_size, self.context = self._about["crop_size"], self._about["context"]

    def __call__(self, crops: np.ndarray) -> Answer:
        pixels = torch.from_numpy(crops).to(getattr(torch, self._about["dtype"]))
        boxes = () if self._about["input"] == "crops" else (self._whole.expand(len(crops), 4),)
        found = {name: tensor.numpy() for name, tensor in self._outputs(pixels, *boxes).items()}
        return Answer(found["landmarks"].astype(float), found.get("score"), found.get("expected_error"))

    @cached_property
    def _whole(self) -> torch.Tensor:
        """The box (1, 4) whose crop is an image of the crop's size as it is: a graph that takes boxes cuts it again."""
        middle, half = (self.crop_size - 1) / 2, self.crop_size / (2 * self.protocol.margin * self.context)
        return torch.tensor([[middle - half, middle - half, middle + half, middle + half]], dtype=torch.float32)
