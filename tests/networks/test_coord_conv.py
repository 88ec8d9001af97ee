"""Coordinates: their values against loops, on maps that are not square, and what a CoordConv does with them."""

import numpy as np
import pytest
import timm
import torch
from timm.layers import Conv2dSame
from torch import nn
from torch.nn import functional as F

from wingmark.networks import CoordinateHead, FeatureNetwork, HeatmapHead
from wingmark.networks.coord_conv import CoordConv, boundary_channels, coordinate_channels


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_x_runs_along_rows_and_y_down_columns():
    x, y, radius = coordinate_channels(torch.zeros(2, 7, 3, 5))[0]
    assert x.tolist() == [[-1, -0.5, 0, 0.5, 1]] * 3
    assert y.tolist() == [[-1] * 5, [0] * 5, [1] * 5]
    expected = [[1, 0.7905694, 0.7071068, 0.7905694, 1], [0.7071068, 0.3535534, 0, 0.3535534, 0.7071068]]
    torch.testing.assert_close(radius, torch.tensor([*expected, expected[0]]), rtol=0, atol=1e-7)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-15), (torch.float32, 1e-7), (torch.bfloat16, 2**-9)])
def test_coordinates_equal_loops(dtype, atol):
    height, width = 5, 384
    expected = np.empty((3, height, width))
    for i in range(height):
        for j in range(width):
            x, y = j / (width - 1) * 2 - 1, i / (height - 1) * 2 - 1
            expected[:, i, j] = x, y, np.sqrt(x**2 + y**2)
    expected[2] /= expected[2].max()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        channels = coordinate_channels(torch.zeros(1, 1, height, width, dtype=dtype))
    assert channels.dtype == dtype
    np.testing.assert_allclose(channels[0].double().numpy(), expected, rtol=0, atol=2 * atol)


def test_boundary_coordinates_are_those_of_the_boundary():
    boundary = torch.tensor([[-0.3, 0.049, 0.051], [1.7, float("nan"), 0.0]])[None, None]
    x, y = boundary_channels(coordinate_channels(boundary), boundary)[0]
    assert x.tolist() == [[0, 0, 1], [-1, 0, 0]]
    assert y.tolist() == [[0, 0, -1], [1, 0, 0]]


def randomized(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


@pytest.mark.parametrize("boundary", [False, True])
@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 6, 1),
        nn.Conv2d(4, 6, (7, 3), stride=2, padding=(3, 1), bias=False),
        Conv2dSame(4, 6, 3, stride=2, dilation=2),
    ],
)
def test_equals_one_convolution_over_all_channels(conv, boundary):
    layer = randomized(CoordConv(conv, boundary)).double()
    features, maps = torch.randn(2, 4, 9, 14, dtype=torch.float64), torch.randn(2, 1, 9, 14, dtype=torch.float64)
    channels = [features, coordinate_channels(features).expand(2, -1, -1, -1)]
    channels += [boundary_channels(channels[1], maps)] if boundary else []

    whole = type(conv)(4 + layer.coordinates.in_channels, 6, conv.kernel_size, conv.stride, conv.padding, conv.dilation)
    whole.weight.data = torch.cat([conv.weight, layer.coordinates.weight], dim=1)
    whole.bias.data = torch.zeros(6, dtype=torch.float64) if conv.bias is None else conv.bias.data
    result = layer(features, maps if boundary else None)
    torch.testing.assert_close(result, whole(torch.cat(channels, dim=1)), rtol=0, atol=1e-12)


def test_no_gradient_passes_through_the_boundary():
    layer = randomized(CoordConv(nn.Conv2d(2, 3, 1), boundary=True))
    features, boundary = torch.randn(2, 2, 4, 4, requires_grad=True), torch.rand(2, 1, 4, 4, requires_grad=True)
    layer(features, boundary).square().sum().backward()
    assert features.grad.any()
    assert boundary.grad is None
    assert all(weight.any() for weight in layer.coordinates.weight.grad.sum(0))


NAMES = [
    "resnet10t",
    "mobilenetv3_small_050",
    "test_efficientnet",
    "tf_mobilenetv3_small_minimal_100",
    "hrnet_w18_small",
    "test_convnext",
    "test_vit",
]


@pytest.mark.parametrize("name", NAMES)
def test_pretrained_backbones_start_exactly_as_they_were(tmp_path, name):
    file = tmp_path / "weights.pth"
    torch.save(timm.create_model(name).state_dict(), file)

    def network(coord_conv: bool) -> FeatureNetwork:
        head = CoordinateHead if name == "test_vit" else HeatmapHead
        return FeatureNetwork(name, head, weights=str(file), coord_conv=coord_conv, outputs=4, crop_size=64).eval()

    without, with_coordinates = network(False), network(True)
    image = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    normalized = without.normalize(image)
    for before, after in zip(without.backbone(normalized), with_coordinates.backbone(normalized), strict=True):
        assert torch.equal(before, after)

    (layer,) = (module for module in with_coordinates.modules() if isinstance(module, CoordConv))
    with_coordinates.train()(image)[0].square().sum().backward()
    assert layer.coordinates.weight.grad.abs().amax((0, 2, 3)).all()  # all three are learned from the first step on


def test_checkpoints_load_strictly_into_a_network_built_alike():
    first, second, other = (
        FeatureNetwork("resnet10t", HeatmapHead, coord_conv=coord_conv, outputs=4, crop_size=64).eval()
        for coord_conv in (True, True, False)
    )
    randomized(first)
    second.load_state_dict(first.state_dict())
    image = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    assert torch.equal(second(image)[0], first(image)[0])
    with pytest.raises(RuntimeError, match="conv1.0.coordinates.weight"):
        other.load_state_dict(first.state_dict())


@pytest.mark.parametrize("name", ["nf_resnet26", "repvgg_a0"])
def test_backbones_without_one_plain_first_convolution_are_refused(name):
    with pytest.raises(ValueError, match=f"one plain convolution, which {name} lacks .*coord_conv: false"):
        FeatureNetwork(name, HeatmapHead, coord_conv=True, outputs=4, crop_size=64)


def test_a_map_tells_where_it_is_only_with_coordinates():
    """On an image without any content, cells that see no border are alike, unless coordinates tell them apart."""
    image = torch.full((1, 3, 128, 128), 90, dtype=torch.uint8)
    for coord_conv in (False, True):
        network = FeatureNetwork("resnet10t", HeatmapHead, (0,), coord_conv=coord_conv, outputs=2, crop_size=128)
        for module in network.modules():
            if isinstance(module, CoordConv):
                nn.init.normal_(module.coordinates.weight)
        maps = F.pad(network.eval()(image)[0], [-16] * 4)
        assert (maps.std((2, 3)) > 1e-6).all() == coord_conv
