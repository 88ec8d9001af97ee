"""The modules: weights, masks, precision, reduction, refusals, compilation."""

import shutil

import pytest
import torch

from wingmark.losses import AdaptiveWingLoss, L1Loss, L2Loss, LandmarkLoss, MSELoss, SmoothL1Loss, WingLoss, functional

LOSSES = {
    L1Loss: functional.l1,
    L2Loss: functional.l2,
    MSELoss: functional.mse,
    SmoothL1Loss: functional.smooth_l1,
    WingLoss: functional.wing,
    AdaptiveWingLoss: functional.adaptive_wing,
}
every_loss = pytest.mark.parametrize("loss_class", LOSSES)
BAD = (float("nan"), float("inf"), -float("inf"))


def inputs(loss_class: type[LandmarkLoss], dtype=torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """Crop pixels (B,K,2), or heatmaps (B,K,H,W) where the loss is made for them alone."""
    generator = torch.Generator().manual_seed(3)
    if "coordinates" in loss_class.expects:
        target = 64 * torch.rand(4, 5, 2, generator=generator)
        return (target + 8 * torch.randn(4, 5, 2, generator=generator)).to(dtype), target.to(dtype)
    target = torch.rand(4, 5, 6, 7, generator=generator)
    return (target + 0.5 * torch.randn(4, 5, 6, 7, generator=generator)).to(dtype), target.to(dtype)


def per_landmark(mask: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A mask (B,K) with the axes of `like`."""
    return mask.reshape(*mask.shape, *[1] * (like.ndim - 2))


def loss_and_gradient(loss, prediction, target, weight=None):
    prediction = prediction.clone().requires_grad_()
    value = loss(prediction, target, weight)
    value.sum().backward()
    return value.detach(), prediction.grad


def test_what_each_loss_expects():
    both = {"coordinates", "heatmap"}
    assert {c.__name__: set(c.expects) for c in LOSSES} == {
        "L1Loss": both,
        "L2Loss": both,
        "MSELoss": both,
        "SmoothL1Loss": both,
        "WingLoss": {"coordinates"},
        "AdaptiveWingLoss": {"heatmap"},
    }


@every_loss
def test_reductions_without_weight(loss_class):
    prediction, target = inputs(loss_class, torch.float64)
    values = LOSSES[loss_class](prediction, target)
    assert torch.equal(loss_class(reduction="none")(prediction, target), values)
    for reduction, expected in {"sum": values.sum(), "mean": values.sum() / values.numel()}.items():
        loss = loss_class(reduction=reduction)(prediction, target)
        assert loss.shape == ()
        assert loss.dtype == torch.float64
        assert loss.item() == pytest.approx(expected.item(), rel=1e-14)
    assert torch.equal(loss_class()(prediction, target), loss_class(reduction="mean")(prediction, target))


@every_loss
@pytest.mark.parametrize("dense", [False, True])
def test_mean_is_over_elements_of_positive_weight(loss_class, dense):
    prediction, target = inputs(loss_class, torch.float64)
    weight = 11 * per_landmark(torch.rand(4, 5, dtype=torch.float64), prediction)
    weight[1, 2] = weight[3] = 0
    weight = weight.expand_as(prediction).contiguous() if dense else weight
    total, count = 0.0, 0
    for p, t, w in zip(
        prediction.flatten().tolist(),
        target.flatten().tolist(),
        weight.expand_as(prediction).flatten().tolist(),
        strict=True,
    ):
        if w > 0:
            total += w * LOSSES[loss_class](torch.tensor(p, dtype=torch.float64), torch.tensor(t).double()).item()
            count += 1
    assert loss_class()(prediction, target, weight).item() == pytest.approx(total / count, rel=1e-12)
    assert loss_class(reduction="sum")(prediction, target, weight).item() == pytest.approx(total, rel=1e-12)
    values = loss_class(reduction="none")(prediction, target, weight)
    assert torch.equal(values, weight * LOSSES[loss_class](prediction, target))


@every_loss
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_masked_inputs_change_nothing(loss_class, bad, reduction):
    prediction, target = inputs(loss_class)
    mask = torch.ones(4, 5, dtype=torch.bool)
    mask[0, 1] = mask[2, 3] = mask[3] = False
    broken_prediction, broken_target = prediction.clone(), target.clone()
    broken_prediction[0, 1] = broken_target[2, 3] = broken_prediction[3] = broken_target[3] = bad
    weight = per_landmark(mask, prediction)
    loss = loss_class(reduction=reduction)
    value, gradient = loss_and_gradient(loss, broken_prediction, broken_target, weight)
    expected_value, expected_gradient = loss_and_gradient(loss, prediction, target, weight)
    assert torch.equal(value, expected_value)
    assert torch.equal(gradient, expected_gradient)
    assert gradient[~mask].abs().sum() == 0
    assert gradient[mask].isfinite().all()


@every_loss
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_all_masked_is_zero_with_zero_gradient(loss_class, reduction):
    prediction, target = inputs(loss_class)
    weight = per_landmark(torch.zeros(4, 5), prediction)
    value, gradient = loss_and_gradient(
        loss_class(reduction=reduction), torch.full_like(prediction, float("nan")), target, weight
    )
    assert value.item() == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_inputs_and_autocast_compute_in_float32(loss_class, dtype, autocast):
    prediction, target = inputs(loss_class, dtype)
    expected, expected_gradient = loss_and_gradient(loss_class(), prediction.float(), target.float())
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        value, gradient = loss_and_gradient(loss_class(), prediction, target)
    assert value.dtype == torch.float32
    assert torch.equal(value, expected)
    assert torch.equal(gradient, expected_gradient.to(dtype))


@every_loss
def test_autocast_leaves_float32_inputs_alone(loss_class):
    prediction, target = inputs(loss_class)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss_class()(prediction, target)
    assert torch.equal(value, loss_class()(prediction, target))


@every_loss
def test_shapes_that_do_not_fit_are_refused(loss_class):
    prediction, target = inputs(loss_class)
    with pytest.raises(ValueError, match=r"prediction \(4, 5.*target \(1, 5"):
        loss_class()(prediction, target[:1])
    for weight in (torch.ones(4, 5), torch.ones(4, 3, *[1] * (target.ndim - 2)), torch.ones(())):
        with pytest.raises(ValueError, match=r"weight \(.*prediction and target \(4, 5"):
            loss_class()(prediction, target, weight)


def test_a_mask_without_the_last_axis_is_refused_where_it_would_broadcast():
    """(B,K) against (B,K,2) broadcasts along the wrong axes where B = K and K = 2."""
    with pytest.raises(ValueError, match=r"weight \(2, 2\)"):
        WingLoss()(torch.zeros(2, 2, 2), torch.zeros(2, 2, 2), torch.ones(2, 2))


@pytest.mark.parametrize(
    ("loss_class", "settings", "named"),
    [
        (WingLoss, {"w": 0.0}, "w must be positive, got 0.0"),
        (WingLoss, {"epsilon": -2.0}, "epsilon must be positive, got -2.0"),
        (WingLoss, {"epsilon": float("nan")}, "epsilon must be positive, got nan"),
        (AdaptiveWingLoss, {"alpha": 2.0}, "alpha must be above 2.*got 2.0"),
        (AdaptiveWingLoss, {"omega": 0.0}, "omega must be positive"),
        (AdaptiveWingLoss, {"epsilon": 0.0}, "epsilon must be positive"),
        (AdaptiveWingLoss, {"theta": 0.0}, "theta must be positive"),
        (L1Loss, {"reduction": "average"}, "reduction must be one of mean, sum, none, got 'average'"),
    ],
)
def test_settings_without_sense_are_refused(loss_class, settings, named):
    with pytest.raises(ValueError, match=named):
        loss_class(**settings)


@pytest.mark.parametrize(
    ("loss", "formula"),
    [
        (WingLoss(w=5.0, epsilon=0.5), lambda p, t: functional.wing(p, t, w=5.0, epsilon=0.5)),
        (
            AdaptiveWingLoss(alpha=2.3, omega=8.0, epsilon=0.7, theta=0.3),
            lambda p, t: functional.adaptive_wing(p, t, alpha=2.3, omega=8.0, epsilon=0.7, theta=0.3),
        ),
    ],
)
def test_settings_reach_the_formula(loss, formula):
    prediction, target = inputs(type(loss), torch.float64)
    assert loss(prediction, target).item() == pytest.approx(formula(prediction, target).mean().item(), rel=1e-14)


@every_loss
def test_traces_into_one_graph(loss_class):
    prediction, target = inputs(loss_class)
    weight = per_landmark(torch.ones(4, 5, dtype=torch.bool), prediction)
    weight[0, 0] = False
    loss = loss_class()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", torch.bfloat16):
        value, gradient = loss_and_gradient(compiled, prediction, target, weight)
    expected, expected_gradient = loss_and_gradient(loss, prediction, target, weight)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on a CPU builds its kernels with g++")
def test_compiles_to_kernels():
    prediction, target = inputs(AdaptiveWingLoss)
    weight = per_landmark(torch.ones(4, 5), prediction)
    loss = AdaptiveWingLoss()
    value, gradient = loss_and_gradient(torch.compile(loss, fullgraph=True), prediction, target, weight)
    expected, expected_gradient = loss_and_gradient(loss, prediction, target, weight)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, expected_gradient)
