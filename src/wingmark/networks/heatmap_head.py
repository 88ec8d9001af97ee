"""Feature maps to heatmaps."""

import torch
from torch import nn
from torch.nn import functional as F


class HeatmapHead(nn.Module):
    """Feature levels to heatmaps (B, outputs, H, W), H = crop_size / strides[0] * 2**upsample.

    Every level is projected to `channels` by a 1x1 convolution and repeated up to the size of the finest; their sum
    goes through `upsample` deconvolutions, each of which doubles the size, and a 1x1 convolution to the maps. With
    four HRNet levels and no deconvolution this is the head of HRNet-W18 for faces (Sun et al. 2019, High-Resolution
    Representations for Labeling Pixels and Regions); with one ResNet level and `upsample: 3, channels: 256` it is
    SimpleBaseline (Xiao et al. 2018) after a projection. The maps start near zero, like their targets.
    """

    def __init__(
        self,
        channels: int = 128,
        upsample: int = 0,
        *,
        in_channels: list[int],
        strides: list[int],
        outputs: int,
        crop_size: int,
    ) -> None:
        super().__init__()
        if crop_size % strides[0]:
            raise ValueError(
                f"HeatmapHead: crop_size {crop_size} is no multiple of the stride {strides[0]} of the finest feature "
                f"level, so cells and pixels would not line up; choose {crop_size // strides[0] * strides[0]}"
            )
        self.repeats = [stride // strides[0] for stride in strides]
        self.project = nn.ModuleList(nn.Conv2d(count, channels, 1, bias=False) for count in in_channels)
        self.fuse = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.upsample = nn.Sequential(
            *(
                nn.Sequential(
                    nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1, bias=False),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(inplace=True),
                )
                for _ in range(upsample)
            )
        )
        self.maps = nn.Conv2d(channels, outputs, 1)
        nn.init.normal_(self.maps.weight, std=0.001)
        nn.init.zeros_(self.maps.bias)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        height, width = features[0].shape[-2:]
        total = 0
        for feature, project, repeat in zip(features, self.project, self.repeats, strict=True):
            # Nearest, since the gradient of bilinear is not deterministic on CUDA; by a factor, since at a crop that
            # is no multiple of a coarse stride the last cells reach beyond it.
            level = F.interpolate(project(feature), scale_factor=repeat, mode="nearest")
            total = total + level[..., :height, :width]
        return self.maps(self.upsample(self.fuse(total)))
