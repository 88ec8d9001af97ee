"""The heads alone, on levels made by hand."""

import numpy as np
import pytest
import torch

from wingmark.networks import CoordinateHead, HeatmapHead


def features(in_channels: list[int], strides: list[int], crop_size: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = [-(-crop_size // stride) for stride in strides]
    return [torch.randn(2, c, s, s, generator=generator) for c, s in zip(in_channels, sizes, strict=True)]


@pytest.mark.parametrize(("upsample", "side"), [(0, 32), (1, 64), (3, 256)])
def test_heatmap_size(upsample, side):
    head = HeatmapHead(8, upsample, in_channels=[4, 6], strides=[4, 8], outputs=3, crop_size=128)
    assert head(features([4, 6], [4, 8], 128)).shape == (2, 3, side, side)


def test_maps_start_near_zero():
    head = HeatmapHead(32, 1, in_channels=[16], strides=[8], outputs=5, crop_size=64).train()
    assert head(features([16], [8], 64)).abs().max() < 0.05


@pytest.mark.parametrize("crop_size", [128, 112])
def test_levels_are_summed_where_they_belong(crop_size):
    """Cell (i, j) of the finest level gets the coarse cell that holds its pixels, also at a ragged border."""
    strides = [4, 16, 32]
    maps = features([2, 3, 4], strides, crop_size)
    head = HeatmapHead(3, in_channels=[2, 3, 4], strides=strides, outputs=1, crop_size=crop_size)
    seen = []
    head.fuse.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().double().numpy()))
    head(maps)

    side = crop_size // 4
    expected = np.zeros((2, 3, side, side))
    for level, project, stride in zip(maps, head.project, strides, strict=True):
        weight, values = project.weight.detach().double().numpy()[:, :, 0, 0], level.double().numpy()
        for i in range(side):
            for j in range(side):
                expected[:, :, i, j] += values[:, :, i * 4 // stride, j * 4 // stride] @ weight.T
    np.testing.assert_allclose(seen[0], expected, rtol=0, atol=1e-5)


def test_heatmaps_need_a_crop_of_whole_cells():
    with pytest.raises(ValueError, match="crop_size 100 is no multiple of the stride 8 .* choose 96"):
        HeatmapHead(in_channels=[4], strides=[8], outputs=2, crop_size=100)


@pytest.mark.parametrize("pool", [False, True])
def test_coordinates_know_the_place_of_a_feature_unless_pooled(pool):
    torch.manual_seed(0)
    head = CoordinateHead(4, 16, pool, in_channels=[3, 8], strides=[8, 16], outputs=6, crop_size=64).eval()
    levels = features([3, 8], [8, 16], 64)
    moved = [levels[0], levels[1].roll((1, 2), (2, 3))]
    here, there = head(levels), head(moved)
    assert here.shape == (2, 3, 2)
    assert torch.allclose(here, there, rtol=0, atol=1e-4) == pool


def test_coordinates_stay_exact_under_bfloat16():
    head = CoordinateHead(4, 16, in_channels=[8], strides=[16], outputs=2, crop_size=256).eval()
    torch.nn.init.zeros_(head.coordinates.weight)
    head.coordinates.bias.data[:] = torch.tensor([0.3333, -0.4567])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        landmarks = head(features([8], [16], 256))
    assert landmarks.dtype == torch.float32
    expected = torch.tensor([0.8333, 0.0433]).double() * 256 - 0.5
    torch.testing.assert_close(landmarks[0, 0].double(), expected, rtol=0, atol=1e-4)


def test_flattened_coordinates_need_a_crop_of_whole_cells():
    sizes = {"in_channels": [4], "strides": [32], "outputs": 4, "crop_size": 112}
    with pytest.raises(ValueError, match="crop_size 112 is no multiple of the stride 32 .* choose 96.* or pool: true"):
        CoordinateHead(**sizes)
    assert CoordinateHead(pool=True, **sizes)(features([4], [32], 112)).shape == (2, 2, 2)
