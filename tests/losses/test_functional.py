"""The formulas against the papers' numbers and against loops in plain Python."""

import math

import numpy as np
import pytest
import torch

from wingmark.losses import functional

FORMULAS = ("l1", "l2", "mse", "smooth_l1", "wing", "adaptive_wing")


def reference(name: str, prediction: float, target: float) -> float:
    """One number by the text of the papers, with their default settings."""
    d = abs(prediction - target)
    if name == "l1":
        return d
    if name in ("l2", "mse"):
        return d * d / 2 if name == "l2" else d * d
    if name == "smooth_l1":
        return 0.5 * d * d if d < 1 else d - 0.5
    if name == "wing":
        w, epsilon = 10.0, 2.0
        return w * math.log(1 + d / epsilon) if d < w else d - (w - w * math.log(1 + w / epsilon))
    alpha, omega, epsilon, theta = 2.1, 14.0, 1.0, 0.5
    p = alpha - target
    a = omega * (1 / (1 + (theta / epsilon) ** p)) * p * (theta / epsilon) ** (p - 1) * (1 / epsilon)
    c = theta * a - omega * math.log(1 + (theta / epsilon) ** p)
    return omega * math.log(1 + (d / epsilon) ** p) if d < theta else a * d - c


def double(values) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def random_inputs(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """1,000 pairs on both sides of every branch: pixels of a crop, or heatmap values for Adaptive Wing."""
    rng = np.random.default_rng(7)
    if name == "adaptive_wing":
        return double(rng.uniform(-0.5, 1.5, 1000)), double(rng.uniform(0, 1, 1000))
    target = rng.uniform(0, 64, 1000)
    return double(target + rng.normal(0, 1, 1000) * rng.choice([0.1, 1, 20], 1000)), double(target)


def gradient(name: str, prediction, target) -> torch.Tensor:
    prediction = double(prediction).requires_grad_()
    getattr(functional, name)(prediction, double(target)).sum().backward()
    return prediction.grad


@pytest.mark.parametrize("name", FORMULAS)
def test_equals_the_paper(name):
    prediction, target = random_inputs(name)
    expected = [reference(name, p, t) for p, t in zip(prediction.tolist(), target.tolist(), strict=True)]
    torch.testing.assert_close(getattr(functional, name)(prediction, target), double(expected), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", FORMULAS)
def test_gradient_equals_finite_differences(name):
    prediction, target = random_inputs(name)
    h = 1e-6
    numeric = [
        (reference(name, p + h, t) - reference(name, p - h, t)) / (2 * h)
        for p, t in zip(prediction.tolist(), target.tolist(), strict=True)
    ]
    torch.testing.assert_close(gradient(name, prediction, target), double(numeric), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", FORMULAS)
def test_gradcheck(name):
    prediction, target = (tensor[:50].clone() for tensor in random_inputs(name))
    assert torch.autograd.gradcheck(getattr(functional, name), (prediction.requires_grad_(), target))


@pytest.mark.parametrize("name", FORMULAS)
def test_no_error_gives_zero_and_a_zero_gradient(name):
    target = double([0.0, 0.2, 0.5, 0.8, 1.0])
    assert getattr(functional, name)(target, target).tolist() == [0.0] * 5
    assert gradient(name, target, target).tolist() == [0.0] * 5


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("d", [1e-30, 1e-3, 1e4, 1e18])
def test_gradient_is_finite_for_tiny_and_huge_errors(name, d):
    prediction = torch.tensor([d, -d], requires_grad=True)  # float32: powers of the larger ones overflow
    getattr(functional, name)(prediction, torch.zeros(2)).sum().backward()
    assert prediction.grad.isfinite().all()


def test_wing_golden_values():
    d = double([10 - 1e-12, 10.0, 25.0])
    values = functional.wing(d, torch.zeros_like(d))
    torch.testing.assert_close(values, double([17.917595, 17.917595, 25 + 7.917595]), rtol=0, atol=5e-7)
    slopes = gradient("wing", [1e-12, 10 - 1e-9, 10 + 1e-9], [0.0] * 3)
    torch.testing.assert_close(slopes, double([5.0, 10 / 12, 1.0]), rtol=0, atol=1e-9)


@pytest.mark.parametrize("scale", [1 / 64, 1 / 128, 1 / 256])
def test_wing_scales_exactly_with_its_settings(scale):
    prediction, target = random_inputs("wing")
    scaled = functional.wing(prediction * scale, target * scale, w=10 * scale, epsilon=2 * scale)
    assert torch.equal(scaled / scale, functional.wing(prediction, target))


@pytest.mark.parametrize(
    ("target", "slope", "c", "at_theta", "at_one", "gradient_001", "gradient_01"),
    [
        (0.0, 11.1214, 2.6255, 2.9352, 8.4959, 0.185, 2.317),
        (0.2, 11.2423, 2.2976, 3.3235, 8.9447, 0.422, 3.307),
        (0.5, 11.1127, 1.5651, 3.9912, 9.5475, 1.412, 5.489),
        (0.8, 10.5133, 0.4849, 4.7717, 10.0284, 4.560, 8.686),
        (1.0, 9.7978, -0.4615, 5.3605, 10.2594, 9.656, 11.332),
    ],
)
def test_adaptive_wing_golden_values(target, slope, c, at_theta, at_one, gradient_001, gradient_01):
    y = double([target] * 3)
    theta, one, two = functional.adaptive_wing(y + double([0.5, 1.0, 2.0]), y).tolist()
    measured = [theta, one, two - one, (two - one) - one]
    assert measured == pytest.approx([at_theta, at_one, slope, c], abs=1.01e-4)  # C: last digit of A and of the value
    assert gradient("adaptive_wing", y[:2] + double([0.01, 0.1]), y[:2]).tolist() == pytest.approx(
        [gradient_001, gradient_01], abs=5e-4
    )


@pytest.mark.parametrize("target", [0.0, 0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("sign", [-1, 1])
def test_adaptive_wing_is_smooth_at_theta(target, sign):
    y = double([target] * 2)
    prediction = y + sign * double([0.5 - 1e-9, 0.5 + 1e-9])
    below, above = functional.adaptive_wing(prediction, y).tolist()
    slope_below, slope_above = gradient("adaptive_wing", prediction, y).tolist()
    assert above - below == pytest.approx(0, abs=3e-8)
    assert slope_above - slope_below == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize(("target", "clamped"), [(1.2, 1.0), (2.5, 1.0), (-0.1, 0.0)])
def test_adaptive_wing_clamps_its_target(target, clamped):
    prediction = [-0.2, 0.3, clamped, target]
    assert gradient("adaptive_wing", prediction, [target] * 4).tolist() == (
        gradient("adaptive_wing", prediction, [clamped] * 4).tolist()
    )
    value = functional.adaptive_wing(double(prediction), double([target] * 4))
    assert torch.equal(value, functional.adaptive_wing(double(prediction), double([clamped] * 4)))
    assert value.isfinite().all()
