"""The promises of both networks: uint8 in, mean and std applied, pixels of the crop out, every weight trained."""

from functools import partial

import numpy as np
import pytest
import timm
import torch

from wingmark.networks import CoordinateHead, FeatureNetwork, HeatmapHead, TimmNetwork
from wingmark.networks.network import Normalize, to_landmarks

BACKBONES = {  # name: (channels, strides) of the levels [1, 2, 3, 4], or of all there are
    "resnet10t": ([64, 128, 256, 512], [4, 8, 16, 32]),
    "resnet18": ([64, 128, 256, 512], [4, 8, 16, 32]),
    "mobilenetv3_small_050": ([8, 16, 24, 288], [4, 8, 16, 32]),
    "hrnet_w18_small": ([16, 32, 64, 128], [4, 8, 16, 32]),
    "convnext_atto": ([40, 80, 160, 320], [4, 8, 16, 32]),
    "swin_tiny_patch4_window7_224": ([96, 192, 384, 768], [4, 8, 16, 32]),
    "vit_tiny_patch16_224": ([192, 192, 192, 192], [16, 16, 16, 16]),
}


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def faces(size: int, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, generator=generator)


def levels(backbone: str) -> tuple[int, ...]:
    """Four levels: a CNN of timm has five and its first is the stem, a transformer has none of stride 2."""
    return (-4, -3, -2, -1) if backbone.startswith(("convnext", "swin", "vit")) else (1, 2, 3, 4)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_feature_levels_are_as_announced_and_every_parameter_is_trained(backbone):
    head = partial(HeatmapHead, channels=16, upsample=1)
    network = FeatureNetwork(backbone, head, levels(backbone), outputs=5, crop_size=128).train()
    for parameter in network.parameters():
        if not parameter.any():  # timm starts some scales at 0, and nothing passes them in the first step
            torch.nn.init.ones_(parameter)
    seen = []
    network.head.register_forward_pre_hook(lambda module, inputs: seen.extend(inputs[0]))

    outputs = network(faces(128))
    channels, strides = BACKBONES[backbone]
    assert [tuple(level.shape) for level in seen] == [
        (2, c, 128 // s, 128 // s) for c, s in zip(channels, strides, strict=True)
    ]
    assert len(outputs) == 1
    assert outputs[0].shape == (2, 5, 2 * 128 // strides[0], 2 * 128 // strides[0])

    outputs[0].square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("backbone", ["resnet10t", "mobilenetv3_small_050", "test_vit"])
def test_layers_beyond_the_levels_taken_are_left_out(backbone):
    shallow = FeatureNetwork(backbone, partial(CoordinateHead, channels=8), (-2,), outputs=4, crop_size=64).train()
    deep = FeatureNetwork(backbone, partial(CoordinateHead, channels=8), outputs=4, crop_size=64)
    count = {n: sum(p.numel() for p in n.backbone.parameters()) for n in (shallow, deep)}
    assert count[shallow] < count[deep]

    shallow(faces(64))[0].sum().backward()
    assert [name for name, p in shallow.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("model", ["resnet10t", "mobilenetv4_conv_small_050", "test_convnext", "test_vit"])
def test_whole_models_give_coordinates_in_pixels_of_the_crop(model):
    network = TimmNetwork(model, outputs=10, crop_size=128).train()
    (landmarks,) = network(faces(128))
    assert landmarks.shape == (2, 5, 2)
    assert (landmarks - 63.5).abs().max() < 16  # px; with timm's own start up to 560

    (landmarks - 20).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    "make", [partial(TimmNetwork, "resnet10t"), partial(FeatureNetwork, "resnet10t", partial(CoordinateHead))]
)
def test_zero_is_exactly_the_middle_of_the_crop(make):
    network = make(outputs=6, crop_size=96).eval()
    last = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
    torch.nn.init.zeros_(last.weight)
    assert torch.equal(network(faces(96))[0], torch.full((2, 3, 2), 47.5))  # pixels 0..95
    # A quarter of the crop to the right and to the top for the first landmark, and nothing for the others.
    last.bias.data[:2] = torch.tensor([0.25, -0.25])
    assert torch.equal(network(faces(96))[0][0], torch.tensor([[71.5, 23.5], [47.5, 47.5], [47.5, 47.5]]))


@pytest.mark.parametrize("model", ["resnet10t", "vit_tiny_patch16_224"])
def test_normalization_equals_numpy(model):
    config = timm.get_pretrained_cfg(model)
    image = faces(8)
    expected = np.empty((2, 3, 8, 8))
    for channel in range(3):
        fraction = image[:, channel].numpy().astype(np.float64) / 255
        expected[:, channel] = (fraction - config.mean[channel]) / config.std[channel]
    result = Normalize(timm.create_model(model, num_classes=0))(image)
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result.numpy(), expected, rtol=0, atol=1e-6)


def test_models_disagree_about_mean_and_std_and_each_network_uses_its_own():
    resnet = FeatureNetwork("resnet10t", partial(CoordinateHead), outputs=4, crop_size=64)
    vit = TimmNetwork("test_vit", outputs=4, crop_size=64)
    assert resnet.normalize.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert vit.normalize.mean.flatten().tolist() == pytest.approx([0.5, 0.5, 0.5])
    seen = []
    vit.model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    vit(torch.full((1, 3, 64, 64), 255, dtype=torch.uint8))
    assert torch.equal(seen[0], torch.ones(1, 3, 64, 64))


def test_images_that_are_already_float_are_refused():
    network = TimmNetwork("resnet10t", outputs=4, crop_size=64)
    with pytest.raises(ValueError, match="takes uint8 images and normalizes them itself, got torch.float32"):
        network(torch.rand(1, 3, 64, 64))


def test_odd_outputs_are_no_coordinates():
    with pytest.raises(ValueError, match=r"even number of outputs.*got 69"):
        to_landmarks(torch.zeros(1, 69), 64)


def test_unit_says_what_a_classifier_counts():
    """In pixels its numbers are added to the middle of the crop, in crops they are sides of it."""
    torch.manual_seed(0)
    in_sides, in_pixels = (
        TimmNetwork("test_resnet", outputs=4, crop_size=64, unit=u).eval() for u in ("crop", "pixel")
    )
    in_pixels.load_state_dict(in_sides.state_dict())
    raw = in_sides.model(in_sides.normalize(faces(64))).unflatten(1, (2, 2))
    torch.testing.assert_close(in_sides(faces(64))[0], 31.5 + 64 * raw)
    torch.testing.assert_close(in_pixels(faces(64))[0], 31.5 + raw)


def test_mean_and_std_travel_with_the_weights():
    state = TimmNetwork("resnet10t", outputs=4, crop_size=64).state_dict()
    assert {"normalize.mean", "normalize.std"} < state.keys()


class Stack(torch.nn.Module):
    """A model that gives maps of two stages, as a stacked hourglass does."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.stages = torch.nn.ModuleList(torch.nn.Conv2d(3, maps, 1, stride=4) for _ in range(2))

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [stage(image) for stage in self.stages]


def test_models_that_give_maps_are_taken_as_they_are(monkeypatch):
    def create(name: str, pretrained: bool, num_classes: int) -> torch.nn.Module:
        model = Stack(num_classes)
        model.pretrained_cfg = {}
        return model

    monkeypatch.setattr(timm, "create_model", create)
    outputs = TimmNetwork("resnet10t", outputs=7, crop_size=64)(faces(64))
    assert [tuple(output.shape) for output in outputs] == [(2, 7, 16, 16)] * 2
