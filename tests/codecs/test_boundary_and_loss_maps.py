"""What the Adaptive Wing paper adds to heatmaps: the weighted loss map and the boundary."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from wingmark import curves, geometry, schema
from wingmark.codecs import DilatedLossMap, Heatmap, QuarterOffset, TargetLossMap

WFLW, COFW, FIVE = schema.get("wflw98"), schema.get("cofw29"), schema.get("five")
SIZE = 256


def landmarks_of(markup, faces=2, low=2.0, high=250.0):
    generator = torch.Generator().manual_seed(0)
    return low + (high - low) * torch.rand(faces, markup.num_landmarks, 2, generator=generator)


def encode(codec, landmarks, valid=None, map_size=64):
    valid = torch.ones(landmarks.shape[:2], dtype=torch.bool) if valid is None else valid
    return codec.encode(landmarks, valid, torch.Size([len(landmarks), codec.outputs, map_size, map_size]), SIZE)


@pytest.mark.parametrize("target", ["subpixel", "floored"])
@pytest.mark.parametrize("boundary", [None, "paper"])
def test_the_loss_map_is_one_plus_ten_where_the_gray_dilation_reaches_a_fifth(target, boundary):
    """Up to the border of the crop, against scipy; cells that miss the threshold by rounding may differ."""
    codec = Heatmap(1.75, target, loss_map=DilatedLossMap(), boundary=boundary, schema=COFW)
    value, weight, _ = encode(codec, landmarks_of(COFW, faces=4, low=-0.5, high=255.5))
    dilated = ndimage.grey_dilation(value.numpy(), size=(1, 1, 3, 3))
    clear = np.abs(dilated - 0.2) > 1e-6
    assert clear.mean() > 0.999
    np.testing.assert_array_equal(weight.numpy()[clear], np.where(dilated >= 0.2, 11.0, 1.0)[clear])


@pytest.mark.parametrize(("sigma", "cells"), [(1.75, 61), (1.0, 25)])
def test_the_loss_map_covers_as_many_cells_as_the_paper_says(sigma, cells):
    landmarks = landmarks_of(FIVE, low=40, high=210)
    _, weight, _ = encode(Heatmap(sigma, "floored", loss_map=DilatedLossMap(), schema=FIVE), landmarks)
    assert ((weight == 11).sum((-2, -1)) == cells).all()


def test_the_boundary_of_a_straight_line_is_five_cells_thick_in_the_loss_map():
    landmarks = torch.full((1, 19, 2), 17.5)
    landmarks[0, :3] = torch.tensor([[17.5, 101.5], [101.5, 101.5], [185.5, 101.5]])
    codec = Heatmap(loss_map=DilatedLossMap(), boundary="paper", schema=schema.get("aflw19"))
    _, weight, _ = encode(codec, landmarks)
    assert (weight[0, -1, :, 25] == 11).nonzero().flatten().tolist() == [23, 24, 25, 26, 27]


def test_the_base_map_is_one_plus_ten_times_the_target():
    codec = Heatmap(loss_map=TargetLossMap(), boundary="full", schema=COFW)
    value, weight, _ = encode(codec, landmarks_of(COFW))
    assert torch.equal(weight, 1 + 10 * value)


def test_other_weights_and_thresholds_are_settings():
    codec = Heatmap(loss_map=DilatedLossMap(weight=4, threshold=0.5), schema=FIVE)
    assert encode(codec, landmarks_of(FIVE)).weight.unique().tolist() == [1, 5]
    for weight in (-1, float("inf")):
        with pytest.raises(ValueError, match=f"TargetLossMap: weight must be a number from 0 on, got {weight}"):
            TargetLossMap(weight=weight)
    for threshold in (0, 1.1):
        with pytest.raises(ValueError, match=rf"threshold must lie in \(0, 1\], as targets do, got {threshold}"):
            DilatedLossMap(threshold=threshold)


@pytest.mark.parametrize("target", ["subpixel", "floored"])
def test_the_boundary_is_one_more_map_and_leaves_the_others_alone(target):
    landmarks = landmarks_of(WFLW)
    alone = encode(Heatmap(1.75, target, loss_map=DilatedLossMap(), schema=WFLW), landmarks)
    codec = Heatmap(1.75, target, loss_map=DilatedLossMap(), boundary="paper", schema=WFLW)
    both = encode(codec, landmarks)
    assert codec.outputs == 99
    for without, with_boundary in zip(alone, both, strict=True):
        assert torch.equal(without, with_boundary[:, :98])
    cells = geometry.pixels_to_cells(landmarks, 4)
    pieces = curves.piece_weights(WFLW.boundary("paper"), 98)
    drawn = curves.draw(pieces, cells, 1.0, 64, 64)
    assert torch.equal(both.value[:, 98], drawn)
    assert both.mask[:, 98].all()


def test_the_boundary_is_not_decoded():
    landmarks = landmarks_of(WFLW, low=20, high=230)
    codec = Heatmap(boundary="paper", schema=WFLW)
    decoded, score = codec.decode(encode(codec, landmarks).value, SIZE)
    assert decoded.shape == (2, 98, 2) and score.shape == (2, 98)
    assert (decoded - landmarks).abs().amax() < 0.05


def test_a_face_with_a_missing_contour_landmark_teaches_no_boundary():
    """In WFLW all landmarks but the pupils, 96 and 97, lie on contours."""
    landmarks, valid = landmarks_of(WFLW, faces=3), torch.ones(3, 98, dtype=torch.bool)
    valid[0, 96], valid[1, 40], valid[2, 5] = False, False, False
    landmarks[~valid] = torch.nan
    codec = Heatmap(loss_map=DilatedLossMap(), boundary="paper", schema=WFLW)
    value, weight, mask = encode(codec, landmarks, valid)
    assert mask[:, 98, 0, 0].tolist() == [True, True, False]  # the paper draws no lower brow, where 40 is
    assert value.isfinite().all() and weight.isfinite().all()
    assert not value[2, 98].any() and value[0, 98].amax() > 0.9


def test_a_landmark_beyond_the_crop_draws_its_part_of_the_boundary():
    landmarks, inside = landmarks_of(WFLW, faces=1), landmarks_of(WFLW, faces=1)
    landmarks[0, 0] = torch.tensor([-40.0, 10.0])
    value, _, mask = encode(Heatmap(boundary="paper", schema=WFLW), landmarks)
    assert mask[0, :, 0, 0].tolist() == [False] + [True] * 98
    assert not torch.equal(value[0, 98], encode(Heatmap(boundary="paper", schema=WFLW), inside).value[0, 98])


def test_a_boundary_that_the_markup_lacks_is_refused():
    with pytest.raises(ValueError, match="schema five has no boundary 'paper', it has none; choose another"):
        Heatmap(boundary="paper", schema=FIVE)
    with pytest.raises(ValueError, match="schema wflw98 has no boundary 'all', it has paper, full"):
        Heatmap(boundary="all", schema=WFLW)


def test_a_checkpoint_does_not_hold_the_curves():
    assert not Heatmap(decoder=QuarterOffset(), boundary="paper", schema=WFLW).state_dict()
