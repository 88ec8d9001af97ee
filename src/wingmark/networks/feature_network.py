"""A timm model as features, and one of our heads on top."""

import torch
from torch import nn

from wingmark.networks.network import HeadFactory, Normalize
from wingmark.networks.timm_model import create_timm_model


class FeatureNetwork(nn.Module):
    """Feature levels of any timm model, turned into one output by a head.

    backbone: a timm name, convolutional or transformer; its maps arrive at the head as (B, C, H, W), finest first.
    head: what makes the output of them.
    out_indices: which levels the head sees, counted as in timm from 0, the finest, or from -1, the coarsest. Layers
        that none of them needs are left out. An HRNet computes all its levels at once: take [1, 2, 3, 4].
    pretrained, weights: where the backbone's weights come from, see `create_timm_model`; without both, from scratch.
    """

    def __init__(
        self,
        backbone: str,
        head: HeadFactory,
        out_indices: tuple[int, ...] = (-1,),
        pretrained: bool = False,
        weights: str | None = None,
        *,
        outputs: int,
        crop_size: int,
    ) -> None:
        super().__init__()
        options = {"features_only": True, "feature_cls": "getter", "out_indices": tuple(out_indices)}
        if backbone.startswith("hrnet"):
            options["head"] = ""  # the high-resolution maps themselves, not those widened for classification
        try:
            self.backbone = create_timm_model(
                backbone, crop_size=crop_size, pretrained=pretrained, weights=weights, **options
            )
        except (AttributeError, TypeError, IndexError, AssertionError, NotImplementedError) as error:
            raise ValueError(
                f"backbone {backbone} gives no feature levels {list(out_indices)} ({error}); "
                "choose other out_indices, another backbone, or TimmNetwork for the whole model"
            ) from error
        info = self.backbone.feature_info
        self.normalize = Normalize(self.backbone)
        self.head = head(in_channels=info.channels(), strides=info.reduction(), outputs=outputs, crop_size=crop_size)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Image (B, 3, H, W) uint8 to a list of one output, (B, K, 2) or (B, M, H', W')."""
        return [self.head(self.backbone(self.normalize(image)))]
