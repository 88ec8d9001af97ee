"""The plain networks of the Wing paper, registered with timm: `wing_cnn6`, `wing_cnn6_wide` and `wing_cnn7`."""

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn


class Unit(nn.Sequential):
    """3x3 convolution, ReLU, and the maximum of each 2x2 window: half as high and wide, rounded up."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        super().__init__(conv, nn.ReLU(inplace=True), nn.MaxPool2d(2, ceil_mode=True))


class WingCNN(nn.Module):
    """Units one after the other, a hidden layer that sees every cell of the last one, and a linear layer.

    channels: output channels of each unit. hidden: width of the hidden layer. img_size: side of the image, from which
    the size of the hidden layer's input follows.

    Feng et al. 2018 (Wing loss), figure 2, without batch norm and dropout. The paper's initialization is not known to
    us; this is that of Glorot and Bengio 2010. At the paper's learning rate half of the hidden units were alive after
    1,500 steps on 300W; with the larger weights of He et al. 2015 one in a hundred.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        hidden: int = 1024,
        num_classes: int = 136,
        in_chans: int = 3,
        img_size: int = 64,
    ) -> None:
        super().__init__()
        side = -(-img_size // 2 ** len(channels))
        self.num_classes = num_classes
        self.units = nn.ModuleList(Unit(*pair) for pair in zip((in_chans, *channels), channels, strict=False))
        self.hidden = nn.Sequential(nn.Linear(channels[-1] * side**2, hidden), nn.ReLU(inplace=True))
        self.classifier = nn.Linear(hidden, num_classes)
        self.feature_info = [
            {"num_chs": count, "reduction": 2 ** (i + 1), "module": f"units.{i}"} for i, count in enumerate(channels)
        ]
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Image (B, in_chans, img_size, img_size) to (B, num_classes)."""
        features = image
        for unit in self.units:
            features = unit(features)
        return self.classifier(self.hidden(features.flatten(1)))

    def forward_intermediates(
        self, image: torch.Tensor, indices: list[int], norm: bool, output_fmt: str, intermediates_only: bool
    ) -> list[torch.Tensor]:
        """What the units of these indices give, finest first: timm's call for features."""
        features, levels = image, []
        for i, unit in enumerate(self.units):
            features = unit(features)
            if i in indices:
                levels.append(features)
        return levels

    def prune_intermediate_layers(self, indices: tuple[int, ...], prune_norm: bool) -> list[int]:
        """Leave out the layers that features of these units do not need, as timm asks; their indices from 0."""
        taken = [range(len(self.units))[i] for i in indices]  # from the end, too
        self.units = self.units[: max(taken) + 1]
        self.hidden = self.classifier = nn.Identity()
        return taken


CHANNELS = {
    "wing_cnn6": (32, 64, 128, 256, 512),
    # The better of the two that the authors released for AFLW.
    "wing_cnn6_wide": (64, 128, 256, 512, 1024),
    # Of the second stage the input of 128 px, the sixth unit and the 64 filters of the first one are known; the other
    # channels are ours: 6.1 million parameters for 19 landmarks.
    "wing_cnn7": (64, 64, 128, 256, 512, 512),
}
default_cfgs = generate_default_cfgs(
    {
        name: {
            "num_classes": 136,
            "input_size": (3, 128, 128) if name == "wing_cnn7" else (3, 64, 64),
            "fixed_input_size": True,
            "mean": (0.0, 0.0, 0.0),  # the released demo divides by 255 and subtracts nothing
            "std": (1.0, 1.0, 1.0),
            "first_conv": "units.0.0",
            "classifier": "classifier",
        }
        for name in CHANNELS
    }
)


def _create(name: str, pretrained: bool, **options) -> WingCNN:
    size = default_cfgs[name].default.input_size[-1]
    return build_model_with_cfg(WingCNN, name, pretrained, **{"channels": CHANNELS[name], "img_size": size, **options})


@register_model
def wing_cnn6(pretrained: bool = False, **options) -> WingCNN:
    return _create("wing_cnn6", pretrained, **options)


@register_model
def wing_cnn6_wide(pretrained: bool = False, **options) -> WingCNN:
    return _create("wing_cnn6_wide", pretrained, **options)


@register_model
def wing_cnn7(pretrained: bool = False, **options) -> WingCNN:
    return _create("wing_cnn7", pretrained, **options)
