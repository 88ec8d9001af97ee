"""Codec and loss as one: value and gradient in one pass, eager and compiled."""

import copy
import pickle

import pytest
import torch

from wingmark import schema
from wingmark.codecs import Coordinates, DilatedLossMap, Heatmap
from wingmark.losses import AdaptiveWingLoss, MSELoss, WingLoss
from wingmark.objective import Objective

COFW = schema.get("cofw29")
SIZE = 64


def batch(faces=3, missing=True):
    generator = torch.Generator().manual_seed(0)
    landmarks = torch.rand(faces, 29, 2, generator=generator) * 70 - 4
    valid = torch.rand(faces, 29, generator=generator) > 0.1
    valid[0] = True
    landmarks[~valid] = torch.nan
    return landmarks, valid


def heatmap(target="subpixel"):
    return Heatmap(target=target, loss_map=DilatedLossMap(), boundary="paper", schema=COFW)


def maps(seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(3, 30, 16, 16, generator=generator) * 1.4 - 0.2).to(dtype).requires_grad_()


def plain(objective, output):
    """Loss and gradient the ordinary way: a target, a loss, autograd."""
    landmarks, valid = batch()
    loss = objective.loss(output, *objective.codec.encode(landmarks, valid, output.shape, SIZE))
    (gradient,) = torch.autograd.grad(3 * loss, output)
    return loss.detach(), gradient


def in_one_pass(objective, *outputs):
    losses = objective(outputs, *batch(), SIZE)
    gradients = torch.autograd.grad([3 * loss for loss in losses], outputs)
    return [(loss.detach(), gradient) for loss, gradient in zip(losses, gradients, strict=True)]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("loss", [AdaptiveWingLoss, MSELoss])
def test_one_pass_gives_loss_and_gradient_of_every_output(loss, reduction):
    objective, outputs = Objective(heatmap(), loss(reduction=reduction)), (maps(0), maps(1))
    for found, output in zip(in_one_pass(objective, *outputs), outputs, strict=True):
        torch.testing.assert_close(found, plain(objective, output), rtol=1e-6, atol=1e-9)


def test_coordinates_go_the_same_way():
    objective = Objective(Coordinates(schema=COFW), WingLoss())
    output = torch.zeros(3, 29, 2, requires_grad=True)
    ((loss, gradient),) = in_one_pass(objective, output)
    torch.testing.assert_close((loss, gradient), plain(objective, output))
    valid = batch()[1]
    assert loss.isfinite() and (gradient[~valid] == 0).all() and (gradient[valid] != 0).all()


def test_nothing_valid_is_a_loss_of_zero():
    output, nowhere, never = maps(), torch.full((3, 29, 2), torch.nan), torch.zeros(3, 29, dtype=torch.bool)
    (loss,) = Objective(heatmap(), AdaptiveWingLoss())([output], nowhere, never, SIZE)
    loss.backward()
    assert loss == 0 and not output.grad.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_floats_give_the_gradient_of_single_ones_rounded(dtype):
    """Also where a mean over many cells makes it smaller than a half float holds, if the scaler multiplies it up."""
    objective, half = Objective(heatmap(), AdaptiveWingLoss()), maps(dtype=dtype)
    single = half.detach().float().requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        (loss,) = objective([half], *batch(), SIZE)
    assert loss.dtype == torch.float32
    (loss * 2**16).backward()
    (expected,) = objective([single], *batch(), SIZE)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
    (expected * 2**16).backward()
    assert half.grad.isfinite().all()
    torch.testing.assert_close(half.grad.float(), single.grad, rtol=2 * torch.finfo(dtype).eps, atol=1e-6)


def test_the_gradient_can_be_had_once():
    output = maps()
    (loss,) = Objective(heatmap(), AdaptiveWingLoss())([output], *batch(), SIZE)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_what_lies_between_landmarks_and_loss_is_small():
    """What is stored for the compiled loss, beside an output of 30 maps: less than 4 of them."""
    landmarks, valid = batch()
    sketch = heatmap().sketch(landmarks, valid, torch.Size([3, 30, 64, 64]), SIZE)
    assert sum(part.numel() for part in sketch) < 4 * 3 * 64 * 64


def test_a_batch_without_faces_is_a_loss_of_zero():
    output = torch.zeros(0, 30, 16, 16, requires_grad=True)
    (loss,) = Objective(heatmap(), AdaptiveWingLoss())(
        [output], torch.zeros(0, 29, 2), torch.zeros(0, 29, dtype=torch.bool), SIZE
    )
    loss.backward()
    assert loss == 0 and output.grad.shape == output.shape


@pytest.mark.parametrize("shape", [(3, 1, 16, 16), (3, 30, 1, 1), (1, 30, 16, 16), (3, 30, 8, 8)], ids=str)
def test_outputs_of_several_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="all outputs of a network must have one shape"):
        Objective(heatmap(), AdaptiveWingLoss())([maps(), torch.zeros(shape)], *batch(), SIZE)


def test_channels_last_outputs_give_the_same():
    objective, output = Objective(heatmap(), AdaptiveWingLoss()), maps()
    last = output.detach().to(memory_format=torch.channels_last).requires_grad_()
    (expected,), (found,) = in_one_pass(objective, output), in_one_pass(objective, last)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda objective: pickle.loads(pickle.dumps(objective))])
def test_a_copy_is_an_objective_of_its_own_and_not_compiled(duplicate, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function, **options: compiled.append(function) or None)
    objective = Objective(heatmap(), AdaptiveWingLoss())
    (expected,) = in_one_pass(objective, maps())
    objective.compile()
    copied = duplicate(objective)
    assert len(compiled) == 2
    torch.testing.assert_close(in_one_pass(copied, maps()), [expected])
    copied.loss.omega = 7.0
    torch.testing.assert_close(in_one_pass(copied, maps())[0][0], expected[0] / 2)


@pytest.mark.long
@pytest.mark.parametrize("target", ["subpixel", "floored"])
def test_the_compiled_objective_gives_the_same_in_one_graph(target):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    objective, output = Objective(heatmap(target), AdaptiveWingLoss()), maps()
    (expected,) = in_one_pass(objective, output)
    objective.compile()
    (found,) = in_one_pass(objective, output)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    fewer = output.detach()[:2].requires_grad_()
    landmarks, valid = (part[:2] for part in batch())
    eager = objective.loss(fewer, *objective.codec.encode(landmarks, valid, fewer.shape, SIZE))
    torch.testing.assert_close(objective([fewer], landmarks, valid, SIZE)[0], eager, rtol=1e-5, atol=0)
    assert not torch._dynamo.utils.counters["graph_break"]
