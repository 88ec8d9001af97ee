"""Convolutions that know where they are (Wang et al. 2019, Adaptive Wing, section 6)."""

import torch
from torch import nn


def coordinate_channels(features: torch.Tensor) -> torch.Tensor:
    """x, y and radius (1, 3, H, W) of the cells of features (B, C, H, W), in their dtype.

    x goes from -1 to 1 along a row, y down a column; the radius counts from the middle and is 1 in the corners.
    """
    height, width = features.shape[-2:]
    # Computed in float32 at least and rounded once: bfloat16 cannot even count to 300.
    kind = {"dtype": torch.promote_types(features.dtype, torch.float32), "device": features.device}
    x = torch.linspace(-1, 1, width, **kind).expand(height, width)
    y = torch.linspace(-1, 1, height, **kind)[:, None].expand(height, width)
    radius = ((x.square() + y.square()) / 2).sqrt()
    return torch.stack([x, y, radius])[None].to(features.dtype)


def boundary_channels(coordinates: torch.Tensor, boundary: torch.Tensor) -> torch.Tensor:
    """x and y (B, 2, H, W) where a boundary map (B, 1, H, W) is above 0.05, else 0.

    Above is what the released code does; the paper says at least, which differs in one value of all floats. A
    comparison passes no gradient to the map, and would not notice that the paper clamps it to [0, 1] before.
    """
    return torch.where(boundary > 0.05, coordinates[:, :2], 0)


class CoordConv(nn.Module):
    """A convolution over features and the coordinates of their cells: x, y, radius and, with `boundary`, its x and y.

    The sum of `conv` and of a convolution of its shape over the coordinates is what one convolution over all these
    channels would give, but x, y and radius, the same for all images, pass once per batch. The weights of the
    coordinates start at zero: a pretrained network starts as it was, and one from scratch with features of the scale
    that the start of `conv` was made for.
    """

    def __init__(self, conv: nn.Conv2d, boundary: bool = False) -> None:
        super().__init__()
        self.conv = conv
        self.coordinates = type(conv)(
            5 if boundary else 3,
            conv.out_channels,
            conv.kernel_size,
            stride=conv.stride,
            padding=conv.padding,
            dilation=conv.dilation,
            bias=False,
        )
        nn.init.zeros_(self.coordinates.weight)

    def forward(self, features: torch.Tensor, boundary: torch.Tensor | None = None) -> torch.Tensor:
        """Features (B, C, H, W) and, where the layer reads one, a boundary map (B, 1, H, W)."""
        channels = coordinate_channels(features)
        if boundary is not None:
            marked = boundary_channels(channels, boundary)
            channels = torch.cat([channels.expand(marked.shape[0], -1, -1, -1), marked], dim=1)
        return self.conv(features) + self.coordinates(channels)
