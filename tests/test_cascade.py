"""Two stages as one model: with perfect stages, and against the same stages run one after the other by files."""

import dataclasses
import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wingmark import schema
from wingmark.cascade import Cascade
from wingmark.codecs import Coordinates, Heatmap
from wingmark.confidence import Calibration
from wingmark.data.dataset import FaceDataset
from wingmark.data.regions import Regions
from wingmark.data.sources import Refined
from wingmark.geometry import apply, invert, warp
from wingmark.losses import MSELoss, WingLoss
from wingmark.model import CHECKPOINT_FORMAT, LandmarkModule
from wingmark.networks import FeatureNetwork, HeatmapHead, TimmNetwork
from wingmark.protocol import Protocol
from wingmark.schema import LandmarkSchema
from wingmark.types import Found

FIVE = schema.get("five")
FIRST, SECOND = Protocol("first", box="dataset", margin=1.2), Protocol("second", box="refined", margin=1.4)
FACE = torch.tensor([[-20.0, -15], [20, -15], [0, 5], [-14, 22], [15, 24]], dtype=torch.float64)


class Stage(nn.Module):
    """What a cascade asks of a stage, without weights."""

    def __init__(self, protocol: Protocol, crop_size: int, schema: LandmarkSchema = FIVE) -> None:
        super().__init__()
        self.protocol, self.crop_size, self.schema = protocol, crop_size, schema


def chart(size: int) -> torch.Tensor:
    """A picture (3, size, size) whose red tells x, whose green tells y, and whose blue tells that it is there.

    Rounded at random: on average it tells fractions too.
    """
    place = torch.linspace(0, 254, size).expand(size, size)
    random = torch.rand(2, size, size, generator=torch.Generator().manual_seed(0))
    colors = (torch.stack([place, place.T]) + random).floor()
    return torch.cat([colors, torch.full((1, size, size), 255.0)]).to(torch.uint8)


class Perfect(Stage):
    """Reads off a crop of `chart` where it was cut, and gives the landmarks `truth` (B, K, 2) of the chart."""

    truth: torch.Tensor

    def forward(self, image):
        self.found = torch.stack([self._find(*pair) for pair in zip(image, self.truth, strict=True)])
        return Found(self.found, None, None)

    def _find(self, crop, landmarks):
        y, x = np.mgrid[: crop.shape[1], : crop.shape[2]]
        whole = crop[2].numpy() == 255
        places = np.column_stack([x[whole], y[whole], np.ones(whole.sum())])
        colors = crop[:2].numpy()[:, whole].T / 254 * (self.wide - 1)
        crop_to_wide = np.linalg.lstsq(places, colors, rcond=None)[0].T
        return apply(torch.from_numpy(invert(crop_to_wide)), landmarks)


def perfect(faces: torch.Tensor, first_error: float = 0.0) -> Cascade:
    """A cascade that finds faces (B, K, 2) of a chart; its first stage may err by that many pixels of the chart."""
    cascade = Cascade(Perfect(FIRST, 64), Perfect(SECOND, 128))
    noise = torch.randn(faces.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for stage, error in ((cascade.first, first_error), (cascade.second, 0.0)):
        stage.wide, stage.truth = cascade.crop_size, faces + error * noise
    return cascade


def posed(roll: float, scale: float, shift: tuple[float, float] = (0.0, 0.0)) -> torch.Tensor:
    angle = np.radians(roll)
    turn = scale * torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return FACE @ turn.T + torch.tensor(shift) + 191.5


POSES = [(0, 1.0), (20, 2.0), (-35, 2.5), (80, 3.5), (180, 3.0)]


def test_the_wide_crop_keeps_the_detail_of_both_stages():
    cascade = perfect(posed(0, 1)[None])
    assert (cascade.crop_size, cascade.context, cascade.protocol) == (384, 2.0, FIRST)
    # The author's other way to train the second stage: on tight boxes, without the first.
    tight = Stage(Protocol("second", box="tight"), 128, dataclasses.replace(FIVE, name="five, by another name"))
    assert Cascade(Stage(FIRST, 256), tight).crop_size == 768


@pytest.mark.parametrize("first_error", [0.0, 3.0])
def test_perfect_stages_give_the_true_landmarks(first_error):
    faces = torch.stack([posed(*pose, shift=(9.0, -14.0)) for pose in POSES])
    cascade = perfect(faces, first_error)
    found, score, expected_error = cascade(chart(384).expand(5, 3, 384, 384))
    assert score is None and expected_error is None and found.dtype == torch.float64
    assert (found - faces).abs().max() < 0.1


def test_the_second_stage_sees_faces_upright_and_of_one_size():
    cascade = perfect(torch.stack([posed(*pose) for pose in POSES]))
    cascade(chart(384).expand(5, 3, 384, 384))
    seen = cascade.second.found
    side = (seen.amax(1) - seen.amin(1)).amax(1)
    # Half a pixel of the crop: the smallest face fills few colors of the chart.
    assert (side - 128 / 1.4).abs().max() < 0.5
    assert (seen - seen[:1]).abs().max() < 0.5
    assert (cascade.first.found - cascade.first.found[:1]).abs().max() > 20


def test_mixed_precision_does_not_move_crops():
    faces = torch.stack([posed(*pose) for pose in POSES])
    image = chart(384).expand(5, 3, 384, 384)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = perfect(faces)(image).landmarks_crop
    assert torch.equal(found, perfect(faces)(image)[0])


class Dots(Stage):
    """Finds the five dots of `DotFaces` by their colors, at their centers of mass."""

    def forward(self, image):
        red, green, blue = image.double().unbind(1)
        own = [red - blue, green - blue, blue - red - green, torch.minimum(red, blue), torch.minimum(green, blue)]
        weight = (torch.stack(own, 1) - 12).clamp(min=0)
        place = torch.arange(image.shape[-1], dtype=torch.float64)
        total = weight.sum((2, 3))
        x, y = (weight.sum(2) * place).sum(2) / total, (weight.sum(3) * place).sum(2) / total
        return Found(torch.stack([x, y], -1), total, None)


def samples_of(source, protocol: Protocol, size: int, context: float = 1.0) -> FaceDataset:
    return FaceDataset(Regions(source, source.faces("train"), protocol, size, 1.0, context), FIVE)


def landmarks_by(stage: nn.Module, samples: FaceDataset) -> np.ndarray:
    batch = [samples[index] for index in range(len(samples))]
    landmarks = stage(torch.stack([sample.image for sample in batch])).landmarks_crop
    return apply(torch.stack([sample.crop_to_image for sample in batch]), landmarks.double()).numpy()


def test_a_cascade_is_what_its_stages_are_one_after_the_other_by_files(dot_faces, tmp_path):
    source, first, second = dot_faces({"train": 20}), Dots(FIRST, 64), Dots(SECOND, 128)
    found = landmarks_by(first, samples_of(source, FIRST, 64))
    ids = [face.id for face in source.faces("train")]
    np.savez(tmp_path / "found.npz", id=ids, landmarks_image=found, tags=["train"] * len(ids))
    refined = Refined(source, str(tmp_path / "found.npz"))
    by_files = landmarks_by(second, samples_of(refined, SECOND, 128))

    cascade = Cascade(first, second)
    wide = samples_of(source, FIRST, cascade.crop_size, cascade.context)
    difference = np.abs(landmarks_by(cascade, wide) - by_files)
    true = np.stack([face.landmarks_image for face in source.faces("train")])
    # Pixels of the image; measured: 0.005, and 0.006 from the truth, where the first stage alone is 0.06 off.
    assert difference.max() < 0.01
    assert np.abs(by_files - true).max() < 0.01 and np.abs(found - true).max() > 0.02


def heatmaps(crop_size: int = 64, protocol: Protocol = FIRST) -> LandmarkModule:
    head = functools.partial(HeatmapHead, channels=16)
    network = functools.partial(FeatureNetwork, "test_resnet", head, out_indices=[1, 2, 3])
    return LandmarkModule(network, Heatmap, MSELoss(), FIVE, protocol, crop_size)


def coordinates(crop_size: int = 48, protocol: Protocol = SECOND) -> LandmarkModule:
    return LandmarkModule(
        functools.partial(TimmNetwork, "test_resnet"), Coordinates, WingLoss(), FIVE, protocol, crop_size
    )


@pytest.mark.parametrize(("make_first", "make_second"), [(heatmaps, coordinates), (coordinates, heatmaps)])
def test_stages_of_any_kind_one_by_one_and_together(make_first, make_second):
    torch.manual_seed(0)
    cascade = Cascade(make_first(64, FIRST), make_second(48, SECOND)).eval()
    image = torch.randint(0, 256, (6, 3, cascade.crop_size, cascade.crop_size), dtype=torch.uint8)
    together, score, _ = cascade(image)
    assert together.shape == (6, 5, 2) and (score is None) == (make_second is coordinates)
    assert not together.requires_grad and together.std(0).max() > 0
    alone = torch.cat([cascade(one[None])[0] for one in image])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-3)


def test_expected_errors_grow_with_the_second_crop():
    faces = torch.stack([posed(0, 1.0), posed(30, 2.0), posed(-60, 3.0)])
    cascade = perfect(faces)
    inner, own = cascade.second.forward, torch.tensor([[0.5, 1, 2, 3, 4]]).expand(3, 5)
    cascade.second.forward = lambda image: inner(image)._replace(expected_error=own)
    expected_error = cascade(chart(384).expand(3, 3, 384, 384)).expected_error
    # Side of the upright face times the margin 1.4, in 128 pixels of the second crop.
    upright = torch.stack([posed(0, scale) for scale in (1.0, 2.0, 3.0)])
    side = (upright.amax(1) - upright.amin(1)).amax(1)
    assert expected_error.dtype == torch.float32
    torch.testing.assert_close(expected_error.double(), own.double() * (1.4 * side / 128)[:, None], rtol=0.01, atol=0)


def test_a_checkpoint_holds_both_stages():
    cascade, checkpoint = Cascade(heatmaps(), coordinates()), {}
    cascade.first.calibration = Calibration((0.1, 0.9), (5.0, 1.0))
    cascade.on_save_checkpoint(checkpoint)
    about = checkpoint["wingmark"]
    confidences = [about["model"][stage]["confidence"] for stage in ("first", "second")]
    assert confidences == [{"scores": [0.1, 0.9], "errors": [5.0, 1.0]}, None]
    assert about["format"] == CHECKPOINT_FORMAT and about["model"]["context"] == 2.0
    assert [about["model"][stage]["crop_size"] for stage in ("first", "second")] == [64, 48]
    assert about["model"]["second"]["protocol"] == SECOND.to_dict()


def test_a_first_stage_that_finds_nothing_is_told():
    faces = posed(0, 1)[None]
    faces[0, 2] = torch.nan
    with pytest.raises(ValueError, match="first stage of the cascade finds landmarks that are not finite; train it"):
        perfect(faces)(chart(384)[None])


def test_absurd_landmarks_cost_no_memory():
    """A crop that steps over thousands of pixels is one gray, not a picture padded to thousands."""
    crops = warp(chart(384)[None], torch.tensor([[[1e6, 0, -3e7], [0, 1e6, -3e7]]], dtype=torch.float64), 64)
    assert crops.shape == (1, 3, 64, 64)


def test_the_first_stage_sees_the_middle_of_the_wide_crop():
    cascade = perfect(posed(0, 1)[None])
    seen = []
    cascade.first.register_forward_pre_hook(lambda stage, inputs: seen.append(inputs[0]))
    cascade(chart(384)[None])
    # 192 of 384 pixels, in blocks of two, at 1.5 blocks a pixel.
    blocks = chart(384)[:, 96:288, 96:288].float().unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).mean((2, 4))
    expected = F.interpolate(blocks[None], 64, mode="bilinear", align_corners=False)
    assert (seen[0] - expected).abs().max() < 1.1


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (Stage(SECOND, 64, schema.get("ibug68")), "landmarks of schema five, the second those of ibug68; train both"),
        (
            Stage(FIRST, 64),
            "trained on crops from the box dataset, .* train it by a protocol with box refined or tight",
        ),
    ],
)
def test_stages_that_do_not_fit_are_refused(second, says):
    with pytest.raises(ValueError, match=says):
        Cascade(Stage(FIRST, 64), second)


def test_stages_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="takes the one first that looks for faces by itself"):
        Cascade(Stage(SECOND, 64), Stage(Protocol("tight"), 64))


def test_a_markup_without_eyes_is_refused():
    blind = LandmarkSchema("blind", 1, (0,))
    with pytest.raises(ValueError, match="schema blind does not say where the eyes are"):
        Cascade(Stage(FIRST, 64, blind), Stage(SECOND, 64, blind))
