"""Stacked hourglasses `hourglass1` ... `hourglass4`, registered with timm: the network of the Adaptive Wing paper."""

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn
from torch.nn import functional as F

from wingmark.networks.coord_conv import CoordConv


def activated_conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
    """Batch norm, ReLU and a convolution that keeps the size."""
    return nn.Sequential(
        nn.BatchNorm2d(in_channels),
        nn.ReLU(inplace=True),  # in the memory of the norm's output: the input is left as it is for others
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
    )


class ConvBlock(nn.Module):
    """Hierarchical multi-scale residual block: three 3x3 convolutions in a row, concatenated (Bulat et al. 2017)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half, quarter = out_channels // 2, out_channels // 4
        self.first = activated_conv(in_channels, half, 3)
        self.second = activated_conv(half, quarter, 3)
        self.third = activated_conv(quarter, quarter, 3)
        self.skip = nn.Identity() if in_channels == out_channels else activated_conv(in_channels, out_channels, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        first = self.first(features)
        second = self.second(first)
        third = self.third(second)
        return torch.cat([first, second, third], dim=1) + self.skip(features)


class Hourglass(nn.Module):
    """Down by two, a smaller hourglass (at the bottom a block), up by two, plus a skip at full size."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.skip = ConvBlock(width, width)
        self.down = ConvBlock(width, width)
        self.inner = Hourglass(width, depth - 1) if depth > 1 else ConvBlock(width, width)
        self.up = ConvBlock(width, width)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        height, width = features.shape[-2:]
        # At an odd size the last cell stands alone in its window and, repeated, reaches beyond the border.
        low = F.avg_pool2d(features, 2, ceil_mode=True)
        low = self.up(self.inner(self.down(low)))
        return self.skip(features) + F.interpolate(low, scale_factor=2, mode="nearest")[..., :height, :width]


class Stack(nn.Module):
    """One hourglass and its head: from the trunk to features and, of these, to maps."""

    def __init__(self, width: int, num_classes: int, coord_conv: bool, boundary: bool) -> None:
        super().__init__()
        self.entry = CoordConv(nn.Conv2d(width, width, 1), boundary) if coord_conv else None
        self.hourglass = nn.Sequential(Hourglass(width, depth=4), ConvBlock(width, width))
        self.features = nn.Sequential(nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.maps = nn.Conv2d(width, num_classes, 1)

    def forward(self, trunk: torch.Tensor, boundary: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        if self.entry is not None:
            trunk = self.entry(trunk, boundary)
        features = self.features(self.hourglass(trunk))
        return features, self.maps(features)


class Merge(nn.Module):
    """What a stack found, added to the trunk for the next."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Conv2d(width, width, 1)
        self.maps = nn.Conv2d(num_classes, width, 1)

    def forward(self, trunk: torch.Tensor, features: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        return trunk + self.features(features) + self.maps(maps)


class StackedHourglass(nn.Module):
    """Image (B, 3, H, W) to the maps of each stack, (B, num_classes, H / 4, W / 4); H and W are multiples of 4.

    width: channels of the hourglasses, a multiple of 8, 256 in the paper; the stem has a quarter and half of them.
    coord_conv: the first convolution reads coordinates, and so does a 1x1 convolution in front of every hourglass,
        which is absent otherwise.
    boundary_coordinates: from the second stack on the latter also reads x and y where the last map of the stack
        before, the boundary, is high.

    Wang et al. 2019 (Adaptive Wing), sections 3 and 7.3, after Bulat and Tzimiropoulos 2017 (How far are we from
    solving the 2D & 3D Face Alignment problem?). The paper has both switches on.
    """

    def __init__(
        self,
        stacks: int,
        num_classes: int = 68,
        in_chans: int = 3,
        width: int = 256,
        coord_conv: bool = False,
        boundary_coordinates: bool = False,
    ) -> None:
        super().__init__()
        if width < 8 or width % 8:
            raise ValueError(f"the width of an hourglass must be a multiple of 8, got {width}; the paper has 256")
        if boundary_coordinates and not coord_conv:
            raise ValueError("boundary_coordinates: true needs coord_conv: true, whose convolutions read them")
        self.num_classes = num_classes
        self.reads_boundary = boundary_coordinates and stacks > 1
        conv = nn.Conv2d(in_chans, width // 4, 7, stride=2, padding=3)
        self.stem = nn.Sequential(
            CoordConv(conv) if coord_conv else conv,
            nn.BatchNorm2d(width // 4),
            nn.ReLU(inplace=True),
            ConvBlock(width // 4, width // 2),
            nn.AvgPool2d(2),
            ConvBlock(width // 2, width // 2),
            ConvBlock(width // 2, width),
        )
        self.stacks = nn.ModuleList(
            Stack(width, num_classes, coord_conv, boundary_coordinates and i > 0) for i in range(stacks)
        )
        self.merges = nn.ModuleList(Merge(width, num_classes) for _ in range(stacks - 1))

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        if image.shape[-2] % 4 or image.shape[-1] % 4:
            raise ValueError(
                f"an hourglass takes crops whose height and width are multiples of 4, got {tuple(image.shape[-2:])}"
            )
        trunk = self.stem(image)
        features, maps = self.stacks[0](trunk)
        outputs = [maps]
        for merge, stack in zip(self.merges, self.stacks[1:], strict=True):
            trunk = merge(trunk, features, maps)
            features, maps = stack(trunk, maps[:, -1:] if self.reads_boundary else None)
            outputs.append(maps)
        return outputs


default_cfgs = generate_default_cfgs(
    {
        f"hourglass{stacks}": {
            "num_classes": 68,
            "input_size": (3, 256, 256),
            "mean": (0.0, 0.0, 0.0),
            "std": (1.0, 1.0, 1.0),
            "classifier": tuple(f"stacks.{i}.maps" for i in range(stacks)),
        }
        for stacks in (1, 2, 3, 4)
    }
)


@register_model
def hourglass1(pretrained: bool = False, **options) -> StackedHourglass:
    return build_model_with_cfg(StackedHourglass, "hourglass1", pretrained, stacks=1, **options)


@register_model
def hourglass2(pretrained: bool = False, **options) -> StackedHourglass:
    return build_model_with_cfg(StackedHourglass, "hourglass2", pretrained, stacks=2, **options)


@register_model
def hourglass3(pretrained: bool = False, **options) -> StackedHourglass:
    return build_model_with_cfg(StackedHourglass, "hourglass3", pretrained, stacks=3, **options)


@register_model
def hourglass4(pretrained: bool = False, **options) -> StackedHourglass:
    return build_model_with_cfg(StackedHourglass, "hourglass4", pretrained, stacks=4, **options)
