"""The whole way from pixels to landmarks in pixels, as the one graph that an exported file holds."""

from typing import Literal

import torch
from torch import Tensor, nn

from wingmark.finder import LandmarkFinder
from wingmark.geometry import apply, map_lengths, warp

Input = Literal["crops", "boxes"]
Dtype = Literal["uint8", "float32"]


class CropGraph(nn.Module):
    """Landmarks in pixels of ready crops, `context` times as wide as the protocol's: its `crops_to_image` says how."""

    def __init__(self, model: LandmarkFinder) -> None:
        super().__init__()
        self.model = model
        self.eval()

    def forward(self, crops: Tensor) -> dict[str, Tensor]:
        """Crops (B, 3, S, S), uint8 or float32 from 0 to 255, to `landmarks` (B, K, 2) float32 and what comes with it.

        That is `score` (B, K), where the codec defines one, and `expected_error` (B, K) in the pixels of `landmarks`,
        where the model is calibrated.
        """
        found = self.model(_whole(crops))
        return _named(found.landmarks_crop, found.score, found.expected_error)

    def example(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Two fake faces."""
        size = self.model.crop_size
        return {"crops": torch.zeros(2, 3, size, size, dtype=dtype)}

    def dynamic(self) -> dict[str, dict[int, str]]:
        """Which sides of which input may be other than those of the example."""
        return {"crops": {0: "batch"}}


class BoxGraph(nn.Module):
    """Landmarks in pixels of images, of one face in each, whose crop is cut around its box by the protocol's rule.

    Coordinates are float32 with 24 bits, which is 0.0002 px on a photo of 4,000 px, rounded a few times on the way.
    Raises ValueError for a protocol whose crop depends on more than the box.
    """

    def __init__(self, model: LandmarkFinder) -> None:
        super().__init__()
        if model.protocol.crop == "contain":
            raise ValueError(
                f"protocol {model.protocol.name} makes crops by the rule contain, which looks at the true landmarks; "
                "boxes alone do not tell them: export with --input crops"
            )
        self.model = model
        self.eval()

    def forward(self, images: Tensor, boxes: Tensor) -> dict[str, Tensor]:
        """Images (B, 3, H, W), uint8 or float32 from 0 to 255, and boxes (B, 4) float32 of faces: as in `CropGraph`.

        A box is x_min, y_min, x_max, y_max in pixels, whose centers are at integers. One that is not finite or has no
        area gets NaN for all, and so does one whose crop lies outside its image.
        """
        sound = boxes.isfinite().all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1)
        crop_to_image = self.crops_to_image(boxes.where(sound[:, None], boxes.new_tensor([0.0, 0.0, 1.0, 1.0])))
        found = self.model(warp(_whole(images), crop_to_image, self.model.crop_size))
        landmarks_image = apply(crop_to_image, found.landmarks_crop)
        sound = sound & self._within(images, crop_to_image)
        named = _named(landmarks_image, found.score, map_lengths(crop_to_image, found.expected_error))
        return {
            name: tensor.where(sound.view(-1, *[1] * (tensor.ndim - 1)), torch.nan) for name, tensor in named.items()
        }

    def _within(self, images: Tensor, crop_to_image: Tensor) -> Tensor:
        """Whether each crop shows some of its image: (B,)."""
        size = self.model.crop_size
        corners = crop_to_image.new_tensor([[-0.5, -0.5], [size - 0.5, size - 0.5]])
        low, high = apply(crop_to_image, corners).unbind(1)
        height, width = images.shape[2:]
        return (high > 0).all(1) & (low[:, 0] < width - 1) & (low[:, 1] < height - 1)

    def crops_to_image(self, boxes: Tensor) -> Tensor:
        """`Protocol.box_to_image` for boxes (B, 4): maps (B, 2, 3)."""
        protocol, size = self.model.protocol, self.model.crop_size
        low, high = boxes[:, :2], boxes[:, 2:]
        if protocol.crop == "outwards":
            low, high = low.floor(), high.ceil()
        sides = high - low
        if protocol.crop != "stretched":
            sides = sides.amax(1, keepdim=True).expand_as(sides)
        steps = sides * (protocol.margin * context_of(self.model) / size)
        corner = (low + high) / 2 - steps * ((size - 1) / 2)
        return torch.cat([steps.diag_embed(), corner[..., None]], 2)

    def example(self, dtype: torch.dtype) -> dict[str, Tensor]:
        images = torch.zeros(2, 3, 90, 70, dtype=dtype)
        return {"images": images, "boxes": torch.tensor([[20.0, 30.0, 50.0, 60.0]]).repeat(2, 1)}

    def dynamic(self) -> dict[str, dict[int, str]]:
        return {"images": {0: "batch", 2: "height", 3: "width"}, "boxes": {0: "batch"}}


Graph = CropGraph | BoxGraph
GRAPHS: dict[Input, type[Graph]] = {"crops": CropGraph, "boxes": BoxGraph}


def context_of(model: LandmarkFinder) -> float:
    """How many sides of the protocol's crop the model's crops are wide."""
    return getattr(model, "context", 1.0)


def _whole(pixels: Tensor) -> Tensor:
    """Gray levels as uint8, which both types thus share from here on."""
    return pixels if pixels.dtype == torch.uint8 else pixels.round().clamp(0, 255).to(torch.uint8)


def _named(landmarks: Tensor, score: Tensor | None, expected_error: Tensor | None) -> dict[str, Tensor]:
    named = {"landmarks": landmarks.float(), "score": score, "expected_error": expected_error}
    return {name: tensor for name, tensor in named.items() if tensor is not None}
