"""Landmarks as heatmaps: targets, weights, round trips, compilation, configuration."""

import math

import jsonargparse
import pytest
import torch

from wingmark import heatmaps, schema
from wingmark.codecs import Argmax, CodecFactory, DilatedLossMap, Heatmap, LocalCentroid, Taylor

WFLW, COFW, FIVE = schema.get("wflw98"), schema.get("cofw29"), schema.get("five")
FULL = Heatmap(loss_map=DilatedLossMap(), boundary="paper", schema=COFW)


def all_valid(landmarks):
    return torch.ones(landmarks.shape[:2], dtype=torch.bool)


def landmarks_inside(count, crop_size, inset):
    """(count, 98, 2) pixels at least `inset` from the outermost pixel centers."""
    generator = torch.Generator().manual_seed(0)
    return inset + torch.rand(count, 98, 2, generator=generator) * (crop_size - 1 - 2 * inset)


def round_trip(codec, landmarks, map_size, crop_size):
    shape = torch.Size([len(landmarks), landmarks.shape[1], map_size, map_size])
    target, weight, mask = codec.encode(landmarks, all_valid(landmarks), shape, crop_size)
    assert weight is None and mask.all()
    return codec.decode(target, crop_size)


def test_one_map_per_landmark():
    codec = Heatmap(schema=WFLW)
    assert codec.kind == "heatmap"
    assert codec.outputs == 98
    assert codec.decoder == Taylor()


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("map_size", [16, 32, 64])
@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0])
def test_default_pair_comes_back_within_a_twentieth_of_a_pixel(stride, map_size, sigma):
    crop_size = stride * map_size
    landmarks = landmarks_inside(4, crop_size, inset=3 * sigma * stride)
    decoded, score = round_trip(Heatmap(sigma, schema=WFLW), landmarks, map_size, crop_size)
    assert decoded.dtype == torch.float32
    assert (decoded - landmarks).abs().amax() < 0.05
    assert (score > math.exp(-0.25 / sigma**2) - 1e-5).all() and (score <= 1).all()


def test_target_is_drawn_around_the_cell_under_the_landmark():
    """Pixel 5.5 is the center of cell 1 at 4 px per cell, pixel 9.5 of cell 2; x runs along columns."""
    landmarks = torch.tensor([[[5.5, 9.5]]]).expand(1, 5, 2)
    target, _, _ = Heatmap(schema=FIVE).encode(landmarks, all_valid(landmarks), torch.Size([1, 5, 8, 8]), 32)
    assert target[0, 0, 2, 1] == 1
    assert target[0, 0, 1, 2] < 0.7
    assert target.shape == (1, 5, 8, 8) and target.amin() >= 0 and target.amax() <= 1


def test_mask_leaves_out_what_is_not_valid_or_outside_the_crop():
    edges = [[-0.5, 31.5], [31.5, -0.5], [10.0, 20.0], [10.0, 20.0], [torch.nan, torch.nan]]
    beyond = [[-0.6, 5.0], [31.6, 5.0], [5.0, -0.6], [5.0, 31.6], [10.0, 20.0]]
    valid = torch.tensor([[True, True, True, False, False], [True] * 5])
    target, _, mask = Heatmap(schema=FIVE).encode(torch.tensor([edges, beyond]), valid, torch.Size([2, 5, 8, 8]), 32)
    assert mask.shape == (2, 5, 1, 1)
    assert mask.flatten(1).tolist() == [[True, True, True, False, False], [False] * 4 + [True]]
    assert target.isfinite().all()
    assert torch.equal(target.amax((-2, -1), keepdim=True) > 0, mask)


def test_targets_are_constants():
    landmarks = (torch.rand(1, 29, 2) * 32).requires_grad_()
    target, weight, _ = FULL.encode(landmarks, all_valid(landmarks), torch.Size([1, 30, 8, 8]), 32)
    assert not target.requires_grad and not weight.requires_grad


def test_half_precision_training_draws_the_same_target():
    landmarks = landmarks_inside(1, 256, 18)
    arguments = landmarks, all_valid(landmarks), torch.Size([1, 98, 64, 64]), 256
    expected, _, _ = Heatmap(schema=WFLW).encode(*arguments)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        target, _, _ = Heatmap(schema=WFLW).encode(*arguments)
    assert target.dtype == torch.float32
    assert torch.equal(target, expected)


def test_floored_target_has_the_error_of_the_paper():
    """Even a perfect network is off by 1.53 px on average and 2.83 px at worst at 4 px per cell."""
    landmarks = landmarks_inside(100, 256, inset=18)
    for decoder in (Argmax(), LocalCentroid(), Taylor()):
        decoded, score = round_trip(Heatmap(1.75, "floored", decoder, schema=WFLW), landmarks, 64, 256)
        error = (decoded - landmarks).norm(dim=-1)
        assert error.mean() == pytest.approx(1.53, abs=0.02)
        assert error.amax() == pytest.approx(math.sqrt(8), abs=0.03)
        assert torch.equal(score, torch.ones_like(score))


def test_floored_target_takes_the_cell_that_holds_the_landmark_also_between_cells_and_on_the_border():
    """At 4 px per cell the border between cells 0 and 1 is at 3.5 px and belongs to cell 1; the crop's to the last."""
    pixels = torch.tensor([-0.5, 3.4, 3.5, 7.5, 11.5, 251.5, 255.5])
    landmarks = torch.stack([pixels, torch.full((7,), 101.0)], dim=-1)[:, None].expand(7, 5, 2)
    codec = Heatmap(1.75, "floored", Argmax(), schema=FIVE)
    target, _, mask = codec.encode(landmarks, all_valid(landmarks), torch.Size([7, 5, 64, 64]), 256)
    assert mask.all() and (target.amax((-2, -1)) == 1).all()
    assert heatmaps.peaks(target)[:, 0].tolist() == [[x, 25] for x in (0, 0, 1, 2, 3, 63, 63)]


def test_floored_target_keeps_seven_by_seven_cells_around_the_cell_of_the_landmark():
    """Pixels 24 to 27 belong to cell 6, whose center is 25.5."""
    landmarks = torch.tensor([[[24.0, 27.0], [23.6, 27.4], [25.5, 25.5], [26.0, 26.9], [27.4, 23.6]]])
    codec = Heatmap(1.75, "floored", schema=FIVE)
    target, _, _ = codec.encode(landmarks, all_valid(landmarks), torch.Size([1, 5, 16, 16]), 64)
    expected = heatmaps.gaussian(torch.full((1, 5, 2), 6.0), 1.75, 16, 16, radius=3)
    assert torch.equal(target, expected)
    assert target[0, 0].count_nonzero() == 49


@pytest.mark.parametrize("shape", [(2, 5, 2), (2, 6, 16, 16), (2, 5, 256), (2, 5, 16, 32)], ids=str)
def test_other_outputs_are_refused_by_name(shape):
    given = ", ".join(map(str, ("B", *shape[1:])))
    message = (
        rf"codec Heatmap expects square maps \(B, 5, H, W\); the network gives \({given}\): "
        "choose a heatmap head or the Coordinates codec"
    )
    codec, landmarks = Heatmap(schema=FIVE), torch.zeros(2, 5, 2)
    with pytest.raises(ValueError, match=message):
        codec.encode(landmarks, all_valid(landmarks), torch.Size(shape), crop_size=256)
    with pytest.raises(ValueError, match=message):
        codec.decode(torch.zeros(shape), crop_size=256)


def test_an_unknown_target_is_refused():
    with pytest.raises(ValueError, match="target must be one of subpixel, floored, got 'Floored'"):
        Heatmap(target="Floored", schema=FIVE)


def test_a_sigma_without_width_is_refused():
    with pytest.raises(ValueError, match="sigma must be a positive number of cells, got 0"):
        Heatmap(0.0, schema=FIVE)


def build(config):
    parser = jsonargparse.ArgumentParser()
    parser.add_argument("--codec", type=CodecFactory)
    parsed = parser.parse_object({"codec": config})
    return parser.instantiate(parsed).codec(schema=FIVE), parsed


def test_a_config_names_codec_and_decoder():
    settings = {"sigma": 2.0, "decoder": {"class_path": "wingmark.codecs.LocalCentroid", "init_args": {"radius": 4}}}
    codec, _ = build({"class_path": "wingmark.codecs.Heatmap", "init_args": settings})
    assert isinstance(codec, Heatmap)
    assert (codec.outputs, codec.sigma, codec.decoder) == (5, 2.0, LocalCentroid(4))


def test_a_config_shows_the_default_decoder():
    codec, parsed = build({"class_path": "wingmark.codecs.Heatmap"})
    assert codec.decoder == Taylor()
    assert parsed.codec.init_args.decoder.class_path == "wingmark.codecs.Taylor"
