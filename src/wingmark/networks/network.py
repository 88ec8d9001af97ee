"""What every network promises, and the two conversions at its ends: uint8 image in, pixels of the crop out."""

from typing import Protocol

import timm.data
import torch
from torch import nn

from wingmark.geometry import fractions_to_pixels


class NetworkFactory(Protocol):
    """Builds a network as soon as its number of outputs is known.

    Every network is called as `network(image)` with (B, 3, H, W) uint8 and returns a list of S outputs, each
    heatmaps (B, M, H', W') or coordinates (B, K, 2) in pixels of the crop. `outputs` is M or 2K, `crop_size` is
    H = W. Under autocast coordinates stay float32 and heatmaps do not: their rounding to bfloat16 moves a point found
    by the Taylor decoder at stride 4 by 0.005 px on average.
    """

    def __call__(self, *, outputs: int, crop_size: int) -> nn.Module: ...


class HeadFactory(Protocol):
    """Builds a head as soon as the feature levels are known.

    A head is called with the list of feature maps, finest first, each (B, in_channels[i], crop_size / strides[i],
    crop_size / strides[i]), and returns one output of a network.
    """

    def __call__(self, *, in_channels: list[int], strides: list[int], outputs: int, crop_size: int) -> nn.Module: ...


class Normalize(nn.Module):
    """Image (B, 3, H, W) uint8 to float with the mean and standard deviation that a timm model was made for.

    They are saved with the weights, since one is wrong without the other.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        config = timm.data.resolve_model_data_config(model)
        self.register_buffer("mean", torch.tensor(config["mean"]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(config["std"]).view(3, 1, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if image.dtype != torch.uint8:
            raise ValueError(f"a network takes uint8 images and normalizes them itself, got {image.dtype}")
        return (image / 255 - self.mean) / self.std


def to_landmarks(raw: torch.Tensor, crop_size: int) -> torch.Tensor:
    """Numbers (B, 2K), x and y in turn, to points (B, K, 2) float32 in pixels of the crop.

    They count crop sides from the middle of the crop, so that a layer that starts near 0 starts near every face.
    """
    if raw.shape[1] % 2:
        raise ValueError(
            f"coordinates need an even number of outputs, x and y per landmark, got {raw.shape[1]}: "
            "choose the coordinate codec, or a network that gives heatmaps"
        )
    return fractions_to_pixels(raw.float().unflatten(1, (-1, 2)), crop_size)
