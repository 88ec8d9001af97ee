"""Landmarks as numbers."""

import pytest
import torch

from wingmark import schema
from wingmark.codecs import Coordinates

CODEC = Coordinates(schema=schema.get("five"))
SHAPE = torch.Size([2, 5, 2])


def test_two_numbers_per_landmark():
    assert CODEC.kind == "coordinates"
    assert CODEC.outputs == 10


def test_round_trip_is_exact_also_outside_the_crop():
    landmarks = torch.rand(2, 5, 2) * 200 - 50
    target, weight, mask = CODEC.encode(landmarks, torch.ones(2, 5, dtype=torch.bool), SHAPE, crop_size=100)
    decoded, score = CODEC.decode(target, crop_size=100)
    assert torch.equal(decoded, landmarks)
    assert weight is None and torch.equal(mask, torch.ones(2, 5, 1, dtype=torch.bool))
    assert score is None


def test_mask_is_valid_and_leaves_missing_landmarks_alone():
    landmarks, valid = torch.rand(2, 5, 2), torch.rand(2, 5) > 0.5
    landmarks[~valid] = torch.nan
    target, _, mask = CODEC.encode(landmarks, valid, SHAPE, crop_size=100)
    assert torch.equal(mask[..., 0], valid)
    assert target[valid].isfinite().all()


def test_half_precision_output_comes_back_in_single():
    decoded, _ = CODEC.decode(torch.ones(2, 5, 2, dtype=torch.bfloat16), crop_size=100)
    assert decoded.dtype == torch.float32


@pytest.mark.parametrize("shape", [(2, 5, 64, 64), (2, 6, 2), (2, 10), (2, 5, 3)], ids=str)
def test_other_outputs_are_refused_by_name(shape):
    given = ", ".join(map(str, ("B", *shape[1:])))
    message = (
        rf"codec Coordinates expects landmarks \(B, 5, 2\); the network gives \({given}\): "
        "choose a coordinate head or the Heatmap codec"
    )
    with pytest.raises(ValueError, match=message):
        CODEC.encode(torch.zeros(2, 5, 2), torch.ones(2, 5, dtype=torch.bool), torch.Size(shape), crop_size=256)
    with pytest.raises(ValueError, match=message):
        CODEC.decode(torch.zeros(shape), crop_size=256)
