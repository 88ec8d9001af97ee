"""The documented bounds, precision and refusals of the decoders."""

import pytest
import torch

from wingmark import heatmaps
from wingmark.codecs import Argmax, LocalCentroid, QuarterOffset, Taylor

# The largest error in cells per axis, as the docstrings have it.
BOUNDS = [
    (Argmax(), 0.5),
    (QuarterOffset(), 0.25),
    (LocalCentroid(radius=2), 0.19),
    (LocalCentroid(), 0.07),
    (Taylor(), 0.001),
    (Taylor(blur=0.0), 0.001),
]
decoders = pytest.mark.parametrize("decoder", [decoder for decoder, _ in BOUNDS], ids=str)


def centers_inside(count, size, inset):
    return inset + torch.rand(1, count, 2, generator=torch.Generator().manual_seed(0)) * (size - 1 - 2 * inset)


@pytest.mark.parametrize(("decoder", "bound"), BOUNDS, ids=str)
@pytest.mark.parametrize("size", [16, 32, 64])
def test_error_on_clean_gaussians_is_within_the_documented_bound(decoder, bound, size):
    centers = centers_inside(2000, size, inset=4.5)
    points, score = decoder(heatmaps.gaussian(centers, 1.5, size, size))
    error = (points - centers).abs().amax()
    assert error <= bound + 1e-5
    assert bound == 0.001 or error > 0.85 * bound, "the documented bound is too wide"
    assert score.shape == (1, 2000)


@decoders
def test_score_is_the_highest_value_of_the_map(decoder):
    maps = torch.randn(2, 3, 16, 16)
    _, score = decoder(maps)
    assert torch.equal(score, maps.flatten(-2).max(-1).values)


@decoders
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_maps_under_autocast_are_decoded_in_float32(decoder, dtype):
    maps = heatmaps.gaussian(centers_inside(200, 32, 4.5), 1.5, 32, 32).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        points, score = decoder(maps)
    expected, expected_score = decoder(maps.float())
    assert points.dtype == score.dtype == torch.float32
    assert torch.equal(points, expected) and torch.equal(score, expected_score)


def test_half_precision_maps_cost_taylor_a_hundredth_of_a_cell():
    centers = centers_inside(2000, 64, 4.5)
    points, _ = Taylor()(heatmaps.gaussian(centers, 1.5, 64, 64).bfloat16())
    assert (points - centers).abs().amax() < 0.01


def test_settings_without_sense_are_refused():
    with pytest.raises(ValueError, match="LocalCentroid: radius must be at least 1 cell, got 0"):
        LocalCentroid(radius=0)
    with pytest.raises(ValueError, match="Taylor: blur must be 0 or more cells, got -1"):
        Taylor(blur=-1.0)
