"""The plain networks of the Wing paper: their published size, a second computation in plain functions, and features."""

from functools import partial

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from wingmark.networks import FeatureNetwork, HeatmapHead, TimmNetwork, WingCNN


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "landmarks", "size", "count"),
    [
        ("wing_cnn6", 19, 64, 3_705_702),
        ("wing_cnn6", 68, 64, 3_806_152),
        ("wing_cnn6_wide", 19, 64, 10_504_870),
        ("wing_cnn7", 19, 128, 6_084_838),
    ],
)
def test_size_of_the_papers_networks(name, landmarks, size, count):
    network = TimmNetwork(name, outputs=2 * landmarks, crop_size=size)
    assert isinstance(network.model, WingCNN) and parameters(network) == count
    assert network.model.hidden[0].in_features == 4 * network.model.units[-1][0].out_channels  # 2x2 cells
    (output,) = network(torch.zeros(2, 3, size, size, dtype=torch.uint8))
    assert output.shape == (2, landmarks, 2)


def test_whole_network_against_plain_functions():
    model = timm.create_model("wing_cnn6", num_classes=38).double()
    nn.init.normal_(model.classifier.bias)
    image = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    weights = [p.detach() for p in model.parameters()]
    features = image
    for unit in range(5):
        features = F.conv2d(features, weights[2 * unit], weights[2 * unit + 1], padding=1).clamp(min=0)
        features = features.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).amax((3, 5))
    hidden = (features.reshape(2, 2048) @ weights[10].T + weights[11]).clamp(min=0)
    torch.testing.assert_close(model(image), hidden @ weights[12].T + weights[13], rtol=1e-12, atol=1e-12)


def test_weights_start_as_glorot_and_bengio_tell():
    model = timm.create_model("wing_cnn7")
    for layer in (module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)):
        fans = layer.weight[0].numel() + layer.weight[:, 0].numel()
        assert layer.weight.std().item() == pytest.approx((2 / fans) ** 0.5, rel=0.05)
        assert not layer.bias.any()


@pytest.mark.parametrize(("channels", "size", "cells"), [((8, 16, 32), 48, 36), ((4, 8), 50, 169), ([4] * 6, 40, 1)])
def test_channels_hidden_width_and_image_size_are_settings(channels, size, cells):
    network = TimmNetwork("wing_cnn6", {"channels": channels, "hidden": 10}, outputs=6, crop_size=size)
    assert network.model.hidden[0].weight.shape == (10, channels[-1] * cells)
    assert network(torch.zeros(1, 3, size, size, dtype=torch.uint8))[0].shape == (1, 3, 2)


@pytest.mark.parametrize(("indices", "size"), [((1, 2, 3), 64), ((1, -1), 128), ((0,), 100), ((1, 2, 4), 100)])
def test_it_is_a_backbone_for_heatmaps(indices, size):
    network = FeatureNetwork(
        "wing_cnn6", partial(HeatmapHead, channels=16), out_indices=indices, coord_conv=True, outputs=7, crop_size=size
    )
    stride = 2 ** (indices[0] + 1)
    (maps,) = network(torch.zeros(2, 3, size, size, dtype=torch.uint8))
    assert maps.shape == (2, 7, size // stride, size // stride)
    assert len(network.backbone.model.units) == max(range(5)[i] for i in indices) + 1  # what comes after is left out
    maps.sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_features_are_those_of_the_units():
    features = timm.create_model("wing_cnn7", features_only=True, feature_cls="getter", out_indices=(0, 3))
    image = torch.rand(1, 3, 64, 64)
    first = features.model.units[0](image)
    fourth = features.model.units[3](features.model.units[2](features.model.units[1](first)))
    for found, expected in zip(features(image), (first, fourth), strict=True):
        torch.testing.assert_close(found, expected)
    assert features.feature_info.channels() == [64, 256] and features.feature_info.reduction() == [2, 16]


def test_levels_it_does_not_have_are_refused():
    with pytest.raises(ValueError, match=r"wing_cnn6 gives no feature levels \[1, 5\]"):
        FeatureNetwork("wing_cnn6", HeatmapHead, out_indices=(1, 5), outputs=7, crop_size=64)
