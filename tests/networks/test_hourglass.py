"""Stacked hourglasses: their published size, a second computation in plain functions, and who gets which gradient."""

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wingmark.networks import FeatureNetwork, HeatmapHead, StackedHourglass, TimmNetwork
from wingmark.networks.coord_conv import CoordConv
from wingmark.networks.hourglass import Hourglass

PAPER = {"coord_conv": True, "boundary_coordinates": True}
LADDER = [{}, {"coord_conv": True}, PAPER]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_they_are_models_of_timm():
    assert timm.list_models("hourglass*") == ["hourglass1", "hourglass2", "hourglass3", "hourglass4"]
    model = timm.create_model("hourglass3", num_classes=5, width=8)
    assert isinstance(model, StackedHourglass)
    assert [tuple(maps.shape) for maps in model(torch.zeros(2, 3, 64, 96))] == [(2, 5, 16, 24)] * 3


@pytest.mark.parametrize(
    ("stacks", "maps", "parameters", "gmacs"),
    [
        (1, 99, 6_333_603, 8.73),
        (2, 99, 12_273_414, 14.72),
        (3, 99, 18_213_225, 20.72),
        (4, 99, 24_153_036, 26.71),
        (4, 69, 24_099_156, None),
        (4, 30, 24_029_112, None),
    ],
)
def test_size_of_the_released_network(stacks, maps, parameters, gmacs):
    with torch.device("meta"):
        model = timm.create_model(f"hourglass{stacks}", num_classes=maps, **PAPER)
        image = torch.empty(1, 3, 256, 256)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    if gmacs is not None:
        counts = []
        for conv in (module for module in model.modules() if isinstance(module, nn.Conv2d)):
            conv.register_forward_hook(lambda conv, _, output: counts.append(conv.weight[0].numel() * output.numel()))
        assert [tuple(output.shape) for output in model(image)] == [(1, maps, 64, 64)] * stacks
        assert round(sum(counts) / 1e9, 2) == gmacs


def test_each_switch_adds_its_own_weights():
    """Per stack a 1x1 convolution with bias over width + 3, in the stem 3 channels more; then 2 in later stacks."""
    plain, coordinates, boundary = (
        sum(p.numel() for p in timm.create_model("hourglass3", num_classes=7, width=16, **switches).parameters())
        for switches in LADDER
    )
    assert coordinates - plain == 3 * 7 * 7 * 4 + 3 * ((16 + 3) * 16 + 16)
    assert boundary - coordinates == 2 * 2 * 16


def test_only_those_that_do_so_read_the_boundary():
    reading = [timm.create_model("hourglass2", width=8, **switches).reads_boundary for switches in LADDER]
    assert reading == [False, False, True]
    assert not timm.create_model("hourglass1", width=8, **PAPER).reads_boundary


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"boundary_coordinates": True}, "boundary_coordinates: true needs coord_conv: true"),
        ({"width": 20}, "width of an hourglass must be a multiple of 8, got 20"),
        ({"width": 0}, "width of an hourglass must be a multiple of 8, got 0"),
    ],
)
def test_what_cannot_be_built_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TimmNetwork("hourglass2", options, outputs=5, crop_size=64)


@pytest.mark.parametrize("size", [(66, 64), (64, 66)])
def test_crops_that_do_not_fit_are_refused(size):
    model = timm.create_model("hourglass1", width=8)
    with pytest.raises(ValueError, match=rf"multiples of 4, got \({size[0]}, {size[1]}\)"):
        model(torch.zeros(1, 3, *size))


def test_it_is_no_backbone():
    with pytest.raises(ValueError, match="hourglass1 gives no feature levels .* or TimmNetwork for the whole model"):
        FeatureNetwork("hourglass1", HeatmapHead, outputs=5, crop_size=64)


# A second computation, in plain functions of the state dict.


def conv(state: dict, name: str, x: Tensor, **settings) -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **settings)


def norm_relu(state: dict, name: str, x: Tensor) -> Tensor:
    mean, var, weight, bias = (
        state[f"{name}.{key}"][:, None, None] for key in ("running_mean", "running_var", "weight", "bias")
    )
    return ((x - mean) / (var + 1e-5).sqrt() * weight + bias).clamp(min=0)


def block(state: dict, name: str, x: Tensor) -> Tensor:
    parts = [x]
    for part in ("first", "second", "third"):
        parts.append(conv(state, f"{name}.{part}.2", norm_relu(state, f"{name}.{part}.0", parts[-1]), padding=1))
    skip = x
    if f"{name}.skip.2.weight" in state:
        skip = conv(state, f"{name}.skip.2", norm_relu(state, f"{name}.skip.0", x))
    return torch.cat(parts[1:], dim=1) + skip


def halve(x: Tensor) -> Tensor:
    rows = [x[:, :, i : i + 2].mean(2) for i in range(0, x.shape[2], 2)]
    x = torch.stack(rows, dim=2)
    return torch.stack([x[..., j : j + 2].mean(3) for j in range(0, x.shape[3], 2)], dim=3)


def double(x: Tensor, height: int, width: int) -> Tensor:
    return x[:, :, [i // 2 for i in range(height)]][..., [j // 2 for j in range(width)]]


def hourglass(state: dict, name: str, x: Tensor, depth: int) -> Tensor:
    low = block(state, f"{name}.down", halve(x))
    inner = hourglass(state, f"{name}.inner", low, depth - 1) if depth > 1 else block(state, f"{name}.inner", low)
    return block(state, f"{name}.skip", x) + double(block(state, f"{name}.up", inner), *x.shape[2:])


def coord_conv(state: dict, name: str, x: Tensor, boundary: Tensor | None = None, **settings) -> Tensor:
    """One convolution over features and coordinates, as the paper says it."""
    if f"{name}.conv.weight" not in state:
        return conv(state, name, x, **settings) if f"{name}.weight" in state else x
    height, width = x.shape[2:]
    channels = torch.empty(len(x), 3, height, width, dtype=x.dtype)
    for i in range(height):
        for j in range(width):
            across, down = j / (width - 1) * 2 - 1, i / (height - 1) * 2 - 1
            channels[:, :, i, j] = torch.tensor([across, down, (across**2 + down**2) ** 0.5], dtype=x.dtype)
    channels[:, 2] /= channels[:, 2].max()
    if boundary is not None:
        channels = torch.cat([channels, channels[:, :2] * (boundary.clamp(0, 1) > 0.05)], dim=1)
    weight = torch.cat([state[f"{name}.conv.weight"], state[f"{name}.coordinates.weight"]], dim=1)
    return F.conv2d(torch.cat([x, channels], dim=1), weight, state[f"{name}.conv.bias"], **settings)


def stacked(state: dict, image: Tensor, reads_boundary: bool) -> list[Tensor]:
    x = norm_relu(state, "stem.1", coord_conv(state, "stem.0", image, stride=2, padding=3))
    trunk = block(state, "stem.6", block(state, "stem.5", halve(block(state, "stem.3", x))))
    outputs: list[Tensor] = []
    for i in range(2):
        boundary = outputs[-1][:, -1:] if outputs and reads_boundary else None
        x = coord_conv(state, f"stacks.{i}.entry", trunk, boundary)
        x = block(state, f"stacks.{i}.hourglass.1", hourglass(state, f"stacks.{i}.hourglass.0", x, 4))
        features = norm_relu(state, f"stacks.{i}.features.1", conv(state, f"stacks.{i}.features.0", x))
        outputs.append(conv(state, f"stacks.{i}.maps", features))
        if i == 0:
            trunk = trunk + conv(state, "merges.0.features", features) + conv(state, "merges.0.maps", outputs[0])
    return outputs


def narrow(switches: dict) -> StackedHourglass:
    """Two stacks of width 16, every number in them random, in float64."""
    model = timm.create_model("hourglass2", num_classes=5, width=16, **switches).double().eval()
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif tensor.ndim == 1:
            tensor.normal_(0, 0.5)
        elif name.endswith("coordinates.weight"):
            tensor.normal_()
    return model


@pytest.mark.parametrize("switches", LADDER)
@pytest.mark.parametrize("size", [(64, 64), (100, 36)])
@torch.no_grad()
def test_equals_plain_functions(switches, size):
    """Also at a size with odd halves, and with a boundary that crosses its threshold."""
    model = narrow(switches)
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    model.stacks[0].maps.bias[-1] += 0.05 - model(image)[0][:, -1].mean()
    outputs = model(image)
    for output, expected in zip(outputs, stacked(model.state_dict(), image, switches == PAPER), strict=True):
        assert output.shape == (2, 5, size[0] // 4, size[1] // 4)
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-10)
    assert 0.2 < (outputs[0][:, -1] > 0.05).double().mean() < 0.8


@pytest.mark.parametrize("loss_of", [0, 1])
def test_the_loss_of_a_stack_trains_this_one_and_those_before(loss_of):
    model = timm.create_model("hourglass2", num_classes=3, width=8, **PAPER).train()
    model(torch.rand(2, 3, 64, 64))[loss_of].square().sum().backward()
    for i, stack in enumerate(model.stacks):
        for name, parameter in stack.named_parameters():
            assert (parameter.grad is not None and bool(parameter.grad.any())) == (i <= loss_of), (i, name)


def test_the_boundary_is_read_and_gets_no_gradient_for_it():
    model = narrow(PAPER)
    nn.init.zeros_(model.merges[0].maps.weight)  # the way on which maps are merged, and their gradient comes back
    image = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    before = model(image)[1]
    before.square().sum().backward()
    assert not model.stacks[0].maps.weight.grad.any()
    assert model.stacks[0].features[0].weight.grad.any()

    model.stacks[0].maps.bias.data[:-1] += 1
    assert torch.equal(model(image)[1], before)
    model.stacks[0].maps.bias.data[-1] += 1
    assert not torch.equal(model(image)[1], before)


@pytest.mark.parametrize("crop_size", [64, 100])
def test_training_in_bfloat16_is_finite_and_stays_channels_last(crop_size):
    network = TimmNetwork("hourglass2", {"width": 16, **PAPER}, outputs=5, crop_size=crop_size)
    network = network.to(memory_format=torch.channels_last).train()
    for layer in (module for module in network.modules() if isinstance(module, nn.Conv2d)):
        layer.register_forward_hook(
            lambda layer, _, output: seen.append(output.is_contiguous(memory_format=torch.channels_last))
        )
    seen: list[bool] = []
    image = torch.randint(0, 256, (3, 3, crop_size, crop_size), dtype=torch.uint8)
    image = image.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = network(image)
        last = network.eval()(image)[-1]
    sum(output.float().square().sum() for output in outputs).backward()
    assert all(seen)
    assert all(output.isfinite().all() for output in [*outputs, last])
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_as_a_network_it_takes_fractions_and_starts_near_zero():
    network = TimmNetwork("hourglass2", {"width": 16, **PAPER}, outputs=5, crop_size=64).train()
    image = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    assert torch.equal(network.normalize(image), image / 255)
    assert [float(output.detach().abs().max()) < 0.05 for output in network(image)] == [True, True]


def test_it_is_one_graph():
    """As torch.compile and exporters need it. One level of each hourglass stands for four, which are alike."""
    model = timm.create_model("hourglass2", num_classes=3, width=8, **PAPER).eval()
    for stack in model.stacks:
        stack.hourglass[0] = Hourglass(8, depth=1).eval()
    image = torch.rand(1, 3, 64, 64)
    graph = torch.export.export(model, (image,)).module()
    for output, expected in zip(graph(image), model(image), strict=True):
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-6)


def test_convolutions_that_read_coordinates_are_where_the_paper_has_them():
    model = timm.create_model("hourglass4", num_classes=3, width=8, **PAPER)
    reading = {
        name: module.coordinates.in_channels for name, module in model.named_modules() if type(module) is CoordConv
    }
    assert reading == {"stem.0": 3, "stacks.0.entry": 3, **{f"stacks.{i}.entry": 5 for i in (1, 2, 3)}}
