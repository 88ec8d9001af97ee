"""A timm model as features, and one of our heads on top."""

import torch
from timm.layers import Conv2dSame
from torch import nn

from wingmark.networks.coord_conv import CoordConv
from wingmark.networks.network import HeadFactory, Normalize
from wingmark.networks.timm_model import create_timm_model


class FeatureNetwork(nn.Module):
    """Feature levels of any timm model, turned into one output by a head.

    backbone: a timm name, convolutional or transformer; its maps arrive at the head as (B, C, H, W), finest first.
    head: what makes the output of them.
    out_indices: which levels the head sees, counted as in timm from 0, the finest, or from -1, the coarsest. Layers
        that none of them needs are left out. An HRNet computes all its levels at once: take [1, 2, 3, 4].
    pretrained, weights: where the backbone's weights come from, see `create_timm_model`; without both, from scratch.
    coord_conv: the backbone's first convolution also reads coordinates, see `CoordConv`.
    """

    def __init__(
        self,
        backbone: str,
        head: HeadFactory,
        out_indices: tuple[int, ...] = (-1,),
        pretrained: bool = False,
        weights: str | None = None,
        coord_conv: bool = False,
        *,
        outputs: int,
        crop_size: int,
    ) -> None:
        super().__init__()
        arguments = {"features_only": True, "feature_cls": "getter", "out_indices": tuple(out_indices)}
        if backbone.startswith("hrnet"):
            arguments["head"] = ""  # the high-resolution maps themselves, not those widened for classification
        try:
            self.backbone = create_timm_model(
                backbone, crop_size=crop_size, pretrained=pretrained, weights=weights, options={}, **arguments
            )
        except (AttributeError, TypeError, IndexError, AssertionError, NotImplementedError) as error:
            raise ValueError(
                f"backbone {backbone} gives no feature levels {list(out_indices)} ({error}); "
                "choose other out_indices, another backbone, or TimmNetwork for the whole model"
            ) from error
        if coord_conv:
            read_coordinates(self.backbone.model, backbone)
        info = self.backbone.feature_info
        self.normalize = Normalize(self.backbone)
        self.head = head(in_channels=info.channels(), strides=info.reduction(), outputs=outputs, crop_size=crop_size)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Image (B, 3, H, W) uint8 to a list of one output, (B, K, 2) or (B, M, H', W')."""
        return [self.head(self.backbone(self.normalize(image)))]


def read_coordinates(model: nn.Module, name: str) -> None:
    """Replace the first convolution of the timm model `name` by a CoordConv around it, which starts as it was."""
    first = model.pretrained_cfg.get("first_conv")
    conv = model.get_submodule(first) if isinstance(first, str) else None
    # Those that normalize their weights, or read several pixels as channels, are no plain ones.
    if type(conv) not in (nn.Conv2d, Conv2dSame) or conv.in_channels != 3:
        raise ValueError(
            f"coord_conv: true needs a backbone whose image enters by one plain convolution, which {name} lacks "
            f"(first_conv: {first}); set coord_conv: false or choose another backbone"
        )
    model.set_submodule(first, CoordConv(conv))
