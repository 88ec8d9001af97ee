import functools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from wingmark import schema
from wingmark.codecs import Coordinates, Heatmap
from wingmark.confidence import Calibration
from wingmark.losses import AdaptiveWingLoss, MSELoss, WingLoss
from wingmark.model import LandmarkModule
from wingmark.networks import TimmNetwork
from wingmark.protocol import Protocol
from wingmark.types import Batch

FIVE, SIZE = schema.get("five"), 32


class Fixed(nn.Module):
    """Two outputs that depend on a parameter only: what the module does with them can be told exactly."""

    def __init__(self, shape, *, outputs: int, crop_size: int) -> None:
        super().__init__()
        self.first, self.last = (nn.Parameter(torch.randn(shape)) for _ in range(2))

    def forward(self, image):
        return [output.expand(len(image), *output.shape) for output in (self.first, self.last)]


def module(codec=Coordinates, loss=None, shape=(5, 2), **settings) -> LandmarkModule:
    torch.manual_seed(0)
    network = functools.partial(Fixed, shape)
    return LandmarkModule(network, codec, loss or WingLoss(), FIVE, Protocol("p"), SIZE, **settings)


def test_a_network_that_reads_a_boundary_needs_a_codec_that_draws_one():
    options = {"width": 8, "coord_conv": True, "boundary_coordinates": True}
    network = functools.partial(TimmNetwork, "hourglass2", options)
    codec = functools.partial(Heatmap, boundary="paper")
    parts = {"schema": schema.get("cofw29"), "protocol": Protocol("p"), "crop_size": 64}
    assert LandmarkModule(network, codec, AdaptiveWingLoss(), **parts).codec.outputs == 30
    with pytest.raises(ValueError, match=r"set model\.codec\.init_args\.boundary to paper or full"):
        LandmarkModule(network, Heatmap, AdaptiveWingLoss(), **parts)


def batch(count=3) -> Batch:
    random = torch.Generator().manual_seed(1)
    landmarks = torch.rand(count, 5, 2, generator=random) * SIZE
    to_image = torch.tensor([[2.0, 0.0, 10.0], [0.0, 2.0, 20.0]], dtype=torch.float64).expand(count, 2, 3)
    image = torch.randint(0, 256, (count, 3, SIZE, SIZE), generator=random, dtype=torch.uint8)
    valid = torch.rand(count, 5, generator=random) > 0.3
    there = landmarks.double() * 2 + torch.tensor([10.0, 20.0])
    return Batch(image, landmarks, there, valid, to_image, torch.full((count,), 50.0).double(), torch.arange(count))


def test_training_averages_the_loss_over_outputs():
    one, data = module(), batch()
    one.trainer = SimpleNamespace(global_step=9, log_every_n_steps=10)
    logged = {}
    one.log = lambda name, value, **kwargs: logged.update({name: value})
    one.log_dict = lambda values, **kwargs: logged.update(values)
    loss = one.training_step(data, 0)
    each = [
        WingLoss()(output.expand(3, 5, 2)[data.valid], data.landmarks_crop[data.valid])
        for output in (one.network.first, one.network.last)
    ]
    assert loss.item() == pytest.approx(sum(each).item() / 2, rel=1e-6)
    assert logged.keys() == {"train/loss", "train/loss_stack1", "train/loss_stack2"}
    assert logged["train/loss"] is loss
    for number, expected in enumerate(each, start=1):
        torch.testing.assert_close(logged[f"train/loss_stack{number}"], expected)
    logged.clear()
    one.trainer.global_step = 10
    one.training_step(data, 0)
    assert not logged  # nor would Lightning write it


def test_evaluation_decodes_the_last_output_into_image_pixels():
    one, data = module(), batch()
    found = one.predict_step(data, 0)
    expected = one.network.last.detach().double() * 2 + torch.tensor([10.0, 20.0])
    assert torch.allclose(found.landmarks_image, expected.expand(3, 5, 2), atol=1e-12, rtol=0)
    assert found.score is None and found.landmarks_image.dtype == torch.float64


def test_heatmaps_come_with_a_score():
    one = module(Heatmap, AdaptiveWingLoss(), (5, 16, 16))
    landmarks, score, _ = one(batch().image)
    assert landmarks.shape == (3, 5, 2) and score.shape == (3, 5)
    assert torch.equal(score[0], one.network.last.amax((1, 2)))


def heatmaps() -> LandmarkModule:
    one = module(Heatmap, AdaptiveWingLoss(), (5, 16, 16))
    one.calibration = Calibration((0.0, 10.0), (8.0, 3.0))
    return one


def test_expected_errors_in_pixels_of_the_crop_and_of_the_image():
    one, data = heatmaps(), batch()
    found = one(data.image)
    torch.testing.assert_close(found.expected_error, 8 - 0.5 * found.score)
    turned = torch.tensor([[0.0, -3.0, 5.0], [3.0, 0.0, 5.0]], dtype=torch.float64)
    data = data._replace(crop_to_image=torch.stack([data.crop_to_image[0], turned, turned / 6]))
    in_image = one.predict_step(data, 0).expected_error
    assert in_image.dtype == torch.float32
    torch.testing.assert_close(in_image, found.expected_error * torch.tensor([2.0, 3.0, 0.5])[:, None])


def validated(one: LandmarkModule, fn: str = "fit", sanity_checking: bool = False) -> Calibration | None:
    """The calibration that a module has after validating a batch of 40 faces."""
    one._trainer = SimpleNamespace(state=SimpleNamespace(fn=fn), sanity_checking=sanity_checking)
    data = batch(40)
    with torch.no_grad():
        one.on_validation_batch_end(one.predict_step(data, 0), data, 0)
        one.on_validation_epoch_end()
    return one.calibration


def test_a_validation_while_training_calibrates_on_valid_landmarks():
    one, data = heatmaps(), batch(40)
    landmarks_crop, score, _ = one(data.image)
    distance = np.linalg.norm((landmarks_crop.double() - data.landmarks_crop.double()).detach(), axis=2)
    expected = Calibration.fit(score.detach().double().numpy()[data.valid], distance[data.valid])
    found = validated(one)
    assert found.scores == expected.scores and found.errors == pytest.approx(expected.errors, rel=1e-5)


def test_every_validation_calibrates_anew():
    one, fresh = heatmaps(), heatmaps()
    before = validated(one)
    for changed in (one, fresh):
        changed.network.last.data = changed.network.last.data.flip(-1) * 2
    assert validated(one) == validated(fresh) != before


def test_no_other_validation_calibrates():
    before = Calibration((0.0, 10.0), (8.0, 3.0))
    assert validated(heatmaps(), "validate") == before
    assert validated(heatmaps(), sanity_checking=True) == before
    assert validated(module()) is None


def test_a_training_step_makes_the_calibration_one_of_earlier_weights():
    one, checkpoint = heatmaps(), {}
    one.trainer = SimpleNamespace(global_step=0, log_every_n_steps=10)
    one.training_step(batch(), 0)
    one.on_save_checkpoint(checkpoint)
    assert one.calibration is None and checkpoint["wingmark"]["confidence"] is None


def test_the_calibration_comes_back_with_a_checkpoint():
    one, other, checkpoint = heatmaps(), heatmaps(), {}
    one.on_save_checkpoint(checkpoint)
    other.calibration = None
    other.on_load_checkpoint(checkpoint)
    assert other.calibration == one.calibration
    del checkpoint["wingmark"]["confidence"]  # as in earlier versions
    other.on_load_checkpoint(checkpoint)
    assert other.calibration is None


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"loss": AdaptiveWingLoss()}, "AdaptiveWingLoss expects heatmap; model.codec Coordinates makes"),
        ({"codec": Heatmap}, "WingLoss expects coordinates; model.codec Heatmap makes"),
        ({"codec": Heatmap, "loss": MSELoss()}, r"expects square maps \(B, 5, H, W\); the network gives \(B, 5, 2\)"),
        ({"shape": (5, 8, 8)}, r"Coordinates expects .*; the network gives \(B, 5, 8, 8\)"),
        (
            {"codec": Heatmap, "loss": MSELoss(), "shape": (6, 8, 8)},
            r"\(B, 5, H, W\); the network gives \(B, 6, 8, 8\)",
        ),
        ({"loss": WingLoss(reduction="none")}, r"model\.loss\.reduction is none"),
    ],
)
def test_parts_that_do_not_fit_are_refused_when_built(settings, says):
    with pytest.raises(ValueError, match=says):
        module(**settings)


def test_a_checkpoint_holds_plain_values():
    one, checkpoint = module(), {}
    one.config = {"compile": False}
    one.on_save_checkpoint(checkpoint)
    assert checkpoint["wingmark"] == {
        "format": 1,
        "model": {"compile": False},
        "schema": FIVE.to_dict(),
        "protocol": Protocol("p").to_dict(),
        "crop_size": SIZE,
        "confidence": None,
    }


def fitted(module: LandmarkModule, precision: str = "32-true", device: str = "cpu") -> None:
    """What Lightning does before fitting, on a machine with that device."""
    module._trainer = SimpleNamespace(precision=precision, strategy=SimpleNamespace(root_device=torch.device(device)))
    module.setup("fit")


def test_compile_says_what_is_missing(monkeypatch, caplog):
    monkeypatch.setattr("wingmark.model.compiler_fault", lambda device: "no C++ compiler")
    heatmap = functools.partial(module, Heatmap, AdaptiveWingLoss(), (5, 8, 8))
    with pytest.raises(ValueError, match=r"model\.compile is true, but .* no C\+\+ compiler; set it to false or auto"):
        fitted(heatmap(compile=True))
    with caplog.at_level("INFO", "wingmark.model"):
        fitted(heatmap())
    assert "running without, since torch.compile fails here: no C++ compiler" in caplog.text


def test_what_would_round_landmarks_is_refused():
    with pytest.raises(ValueError, match="choose bf16-mixed or 16-mixed"):
        fitted(module(), precision="16-true")
    with pytest.raises(ValueError, match=r"add --trainer\.accelerator cpu"):
        fitted(module(), device="mps")
