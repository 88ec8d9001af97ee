"""Feature maps to coordinates."""

import torch
from torch import nn

from wingmark.networks.network import to_landmarks


class CoordinateHead(nn.Module):
    """The coarsest feature level to coordinates (B, K, 2) in pixels of the crop, `outputs` = 2K.

    A 1x1 convolution reduces the level to `channels`; a layer of `hidden` units sees all cells of it, each with weights
    of its own, so that it knows where a feature was found. With `pool: true` it sees their mean instead, as a
    classifier does: fewer weights and any crop size, but where things are must then be told by the features.
    """

    def __init__(
        self,
        channels: int = 64,
        hidden: int = 256,
        pool: bool = False,
        *,
        in_channels: list[int],
        strides: list[int],
        outputs: int,
        crop_size: int,
    ) -> None:
        super().__init__()
        if not pool and crop_size % strides[-1]:
            raise ValueError(
                f"CoordinateHead: crop_size {crop_size} is no multiple of the stride {strides[-1]} of the coarsest "
                f"feature level; choose {crop_size // strides[-1] * strides[-1]}, other out_indices, or pool: true"
            )
        cells = 1 if pool else (crop_size // strides[-1]) ** 2
        self.crop_size = crop_size
        self.pool = pool
        self.reduce = nn.Sequential(
            nn.Conv2d(in_channels[-1], channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )
        self.hidden = nn.Sequential(nn.Linear(channels * cells, hidden), nn.ReLU(inplace=True))
        self.coordinates = nn.Linear(hidden, outputs)
        nn.init.normal_(self.coordinates.weight, std=0.001)
        nn.init.zeros_(self.coordinates.bias)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        reduced = self.reduce(features[-1])
        vector = reduced.mean((2, 3)) if self.pool else reduced.flatten(1)
        # bfloat16 would round a coordinate by a quarter of a pixel and more.
        with torch.autocast(vector.device.type, enabled=False):
            raw = self.coordinates(self.hidden(vector.float()))
        return to_landmarks(raw, self.crop_size)
