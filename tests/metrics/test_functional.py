"""The formulas of the metrics against loops in plain Python."""

import math

import numpy as np
import pytest
import torch

from wingmark.metrics import functional


def faces(count: int = 1000, landmarks: int = 11):
    """Prediction, target, normalizer, valid of random faces; a fifth of the landmarks is not valid and holds NaN."""
    rng = np.random.default_rng(count)
    target = rng.uniform(0, 400, (count, landmarks, 2))
    prediction = target + rng.normal(0, 6, target.shape) * rng.uniform(0.1, 2, (count, 1, 1))
    valid = rng.random((count, landmarks)) > 0.2
    valid[:, 0] = True
    target[~valid], prediction[~valid & (rng.random(valid.shape) > 0.5)] = np.nan, np.nan
    return tuple(torch.from_numpy(a) for a in (prediction, target, rng.uniform(40, 120, count), valid))


def reference_nmes(prediction, target, normalizer, valid) -> list[float]:
    nmes = []
    for b in range(len(target)):
        distances = [
            math.hypot(*(prediction[b, k] - target[b, k]).tolist()) for k in range(target.shape[1]) if valid[b, k]
        ]
        nmes.append(math.fsum(distances) / len(distances) / normalizer[b].item())
    return nmes


def test_errors_equal_a_loop():
    prediction, target, normalizer, valid = faces()
    errors = functional.face_errors(prediction, target, normalizer, valid)
    assert errors.dtype == torch.float64
    assert torch.equal(errors.isnan(), ~valid)
    for b, k in valid.nonzero()[::37].tolist():
        dx, dy = (prediction[b, k] - target[b, k]).tolist()
        assert errors[b, k].item() == pytest.approx(math.sqrt(dx * dx + dy * dy) / normalizer[b].item(), abs=1e-12)


@pytest.mark.parametrize("threshold", [0.05, 0.08, 0.1])
def test_data_set_numbers_equal_a_loop(threshold):
    table = faces()
    expected = reference_nmes(*table)
    nmes = functional.face_nme(functional.face_errors(*table))
    np.testing.assert_allclose(nmes, expected, rtol=0, atol=1e-12)
    assert functional.nme(nmes).item() == pytest.approx(math.fsum(expected) / 1000, abs=1e-12)
    failures = sum(e > threshold for e in expected)
    assert 0 < failures < 1000
    assert functional.failure_rate(nmes, threshold).item() == failures / 1000
    area = math.fsum(max(0.0, 1 - e / threshold) for e in expected) / 1000
    assert functional.auc(nmes, threshold).item() == pytest.approx(area, abs=1e-12)
    errors, shares = functional.ced(nmes)
    assert errors.tolist() == sorted(nmes.tolist())
    assert shares.tolist() == [(i + 1) / 1000 for i in range(1000)]


def test_half_the_landmarks_do_not_weigh_half():
    """The mean over faces of means over valid landmarks is not the mean over all valid landmarks."""
    errors = torch.tensor([[0.1, torch.nan, torch.nan], [0.2, 0.3, 0.4]], dtype=torch.float64)
    assert functional.nme(functional.face_nme(errors)).item() == pytest.approx((0.1 + 0.3) / 2, abs=1e-15)


def test_half_precision_inputs_are_raised_before_the_difference():
    target = torch.tensor([[[0.1, 60.0]]], dtype=torch.float16)
    prediction = torch.tensor([[[1000.5, 60.0]]], dtype=torch.float16)
    error = functional.face_errors(prediction, target, torch.tensor([1.0], dtype=torch.float16))
    assert error.item() == 1000.5 - target[0, 0, 0].item()


@pytest.mark.parametrize("threshold", [0.03, 0.08])
def test_auc_is_the_area_under_the_ced(threshold):
    nmes = functional.face_nme(functional.face_errors(*faces()))
    errors, shares = functional.ced(nmes)
    middles = (torch.arange(2_000_000, dtype=torch.float64) + 0.5) * threshold / 2_000_000
    count = torch.searchsorted(errors, middles, right=True)
    height = torch.cat([torch.zeros(1, dtype=torch.float64), shares])[count]
    assert functional.auc(nmes, threshold).item() == pytest.approx(height.mean().item(), abs=1e-6)


@pytest.mark.parametrize("threshold", [0.03, 0.08, 10.0])
def test_auc_identity(threshold):
    """AUC@t = 1 - NME / t + E[max(0, NME - t)] / t."""
    nmes = functional.face_nme(functional.face_errors(*faces()))
    excess = (nmes - threshold).clamp(min=0).mean()
    identity = 1 - functional.nme(nmes) / threshold + excess / threshold
    assert functional.auc(nmes, threshold).item() == pytest.approx(identity.item(), abs=1e-12)


def test_a_face_at_the_threshold_is_no_failure():
    t = 0.08
    nmes = torch.tensor([t, np.nextafter(t, 1), np.nextafter(t, 0), 0.5], dtype=torch.float64)
    assert functional.failure_rate(nmes, t).item() == 0.5
    assert functional.auc(nmes[:1], t).item() == 0


def test_failure_rate_is_what_the_ced_leaves():
    nmes = torch.tensor([0.03, 0.08, 0.08, 0.02, 0.2], dtype=torch.float64)  # a tie at the threshold
    errors, shares = functional.ced(nmes)
    upto = shares[torch.searchsorted(errors, torch.tensor(0.08, dtype=torch.float64), right=True) - 1]
    assert functional.failure_rate(nmes, 0.08).item() == pytest.approx(1 - upto.item(), abs=1e-15)


def test_shapes_that_do_not_fit_are_refused():
    prediction, target, normalizer, valid = faces(4, 3)
    index = torch.arange(4)
    refused = {
        r"prediction and target must both be \(B,K,2\), got \(4, 3, 2\) and \(1, 3, 2\)": (prediction, target[:1]),
        r"got \(4, 6\) and \(4, 6\)": (prediction.flatten(1), target.flatten(1)),
        r"got \(4, 2, 3\)": (prediction.mT, target.mT),
        r"normalizer must be \(4,\).*got \(4, 1\)": (prediction, target, normalizer[:, None]),
        r"valid must be \(4, 3\).*got \(4, 3, 1\)": (prediction, target, normalizer, valid[..., None]),
        r"index must be \(4,\).*got \(3,\)": (prediction, target, normalizer, valid, index[:3]),
    }
    for message, arguments in refused.items():
        with pytest.raises(ValueError, match=message):
            functional.face_errors(*(arguments if len(arguments) > 2 else (*arguments, normalizer)))


@pytest.mark.parametrize("index", [None, torch.tensor([40, 41, 42, 43])])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_broken_faces_are_named(index, bad):
    names = r"\[1, 3\]" if index is None else r"\[41, 43\]"

    def errors(which: str, value):
        inputs = dict(zip(("prediction", "target", "normalizer", "valid"), faces(4, 3), strict=True))
        rows = inputs[which].clone()
        rows[[1, 3]] = value
        return functional.face_errors(**{**inputs, which: rows}, index=index)

    for value in (0.0, -1.0, bad):
        with pytest.raises(ValueError, match=rf"normalizer must be positive.*{names}"):
            errors("normalizer", value)
    with pytest.raises(ValueError, match=rf"one landmark must be valid.*{names}"):
        errors("valid", False)
    with pytest.raises(ValueError, match=rf"predictions of valid landmarks.*{names}"):
        errors("prediction", bad)
    with pytest.raises(ValueError, match=rf"targets of valid landmarks.*{names}"):
        errors("target", bad)
