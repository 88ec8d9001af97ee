"""The metric classes in one process: agreement with the formulas, order, repeats, life cycle."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from wingmark.metrics import (
    CEDAUC,
    CumulativeErrorDistribution,
    FaceErrors,
    FacePredictions,
    FailureRate,
    NormalizedMeanError,
    ScoredErrors,
    functional,
)

K = 7
MAKERS = {
    "nme": NormalizedMeanError,
    "fr": lambda: FailureRate(0.08),
    "auc": lambda: CEDAUC(0.08),
    "ced": CumulativeErrorDistribution,
    "errors": FaceErrors,
}
every_metric = pytest.mark.parametrize("name", MAKERS)


def batch(count: int, seed: int = 0) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(seed)
    target = rng.uniform(0, 400, (count, K, 2))
    valid = rng.random((count, K)) > 0.2
    valid[:, 0] = True
    return {
        "prediction": torch.from_numpy(target + rng.normal(0, 5, target.shape)),
        "target": torch.from_numpy(target),
        "normalizer": torch.from_numpy(rng.uniform(40, 120, count)),
        "index": torch.arange(count),
        "valid": torch.from_numpy(valid),
    }


def rows(faces: dict[str, torch.Tensor], which) -> dict[str, torch.Tensor]:
    return {name: column[which] for name, column in faces.items()}


def expected(name: str, faces: dict[str, torch.Tensor]):
    errors = functional.face_errors(**faces)
    nmes = functional.face_nme(errors)
    return {
        "nme": lambda: functional.nme(nmes),
        "fr": lambda: functional.failure_rate(nmes, 0.08),
        "auc": lambda: functional.auc(nmes, 0.08),
        "ced": lambda: functional.ced(nmes),
        "errors": lambda: (faces["index"], errors),
    }[name]()


def assert_same(actual, wanted) -> None:
    """Bit for bit, shapes and types included."""
    if isinstance(wanted, tuple):
        for a, w in zip(actual, wanted, strict=True):
            assert_same(torch.from_numpy(a), w)
    else:
        torch.testing.assert_close(actual, wanted, rtol=0, atol=0, equal_nan=True)


@every_metric
@pytest.mark.parametrize("count", [1, 13])
def test_equals_the_formula_in_any_order_with_repeats(name, count):
    faces = batch(count)
    metric = MAKERS[name]()
    arrival = np.random.default_rng(1).permutation(np.repeat(np.arange(count), 3))
    for part in np.array_split(arrival, 5):
        metric.update(**rows(faces, part))
    assert_same(metric.compute(), expected(name, faces))


@every_metric
def test_without_index_faces_are_numbered_by_arrival(name):
    faces = batch(9)
    metric, calls = MAKERS[name](), MAKERS[name]()
    for start in range(0, 9, 4):
        part = rows(faces, slice(start, start + 4))
        del part["index"]
        metric.update(**part)
        calls(**part)  # forward, which updates from an empty state and merges
    assert_same(metric.compute(), expected(name, faces))
    assert_same(calls.compute(), expected(name, faces))


def test_forward_gives_the_value_of_the_batch():
    faces = batch(9)
    metric = NormalizedMeanError()
    metric.update(**rows(faces, slice(0, 5)))
    assert_same(metric(**rows(faces, slice(5, 9))), expected("nme", rows(faces, slice(5, 9))))
    assert_same(metric.compute(), expected("nme", faces))


def test_all_landmarks_are_valid_by_default():
    faces = batch(5)
    del faces["valid"]
    metric = FaceErrors()
    metric.update(**faces)
    assert_same(metric.compute(), (faces["index"], functional.face_errors(**faces)))
    assert not np.isnan(metric.compute()[1]).any()


def test_a_repeated_face_counts_once_its_first_time():
    """Another batch gives slightly other predictions: no reason to stop."""
    faces = batch(4)
    metric = FaceErrors()
    metric.update(**faces)
    again = rows(faces, [2, 0])
    again["prediction"] = again["prediction"] + 1e-3
    metric.update(**again)
    assert_same(metric.compute(), expected("errors", faces))


@every_metric
def test_two_faces_under_one_index_are_refused(name):
    faces = batch(6)
    faces["index"] = torch.tensor([4, 5, 6, 4, 8, 6])
    metric = MAKERS[name]()
    metric.update(**faces)
    with pytest.raises(ValueError, match=r"index \[4, 6\] came with more than one normalizer"):
        metric.compute()


@every_metric
def test_no_faces_are_refused(name):
    metric = MAKERS[name]()
    with pytest.raises(ValueError, match="no faces"), pytest.warns(UserWarning, match="before the ``update``"):
        metric.compute()
    metric.update(**batch(0))
    with pytest.raises(ValueError, match="no faces"):
        metric.compute()


@pytest.mark.parametrize("index", [[0, -1, 2], [0.0, 1.0, 2.0]])
def test_an_index_that_is_none_is_refused(index):
    with pytest.raises(ValueError, match="index must be 3 integers from 0 on"):
        NormalizedMeanError().update(**{**batch(3), "index": torch.tensor(index)})


def test_some_faces_with_index_and_some_without_are_refused():
    metric = NormalizedMeanError()
    metric.update(**batch(3))
    metric.update(**{**batch(3), "index": None})
    with pytest.raises(ValueError, match="some faces came with an index and some without"):
        metric.compute()


@pytest.mark.parametrize("metric_class", [FailureRate, CEDAUC])
@pytest.mark.parametrize("threshold", [0.0, -0.1, float("nan")])
def test_thresholds_must_be_positive(metric_class, threshold):
    with pytest.raises(ValueError, match="threshold must be positive"):
        metric_class(threshold)


def test_which_way_is_better():
    assert [MAKERS[name]().higher_is_better for name in MAKERS] == [False, False, True, None, None]
    assert not any(MAKERS[name]().is_differentiable for name in MAKERS)


@every_metric
@pytest.mark.parametrize(
    "convert",
    [
        lambda module: module.half(),
        lambda module: module.float(),
        lambda module: module.to(torch.bfloat16),
        lambda module: module.to("cpu", torch.float16),
    ],
)
def test_precision_of_the_module_does_not_round_the_faces(name, convert):
    faces = batch(13)
    module = nn.ModuleDict({"metric": MAKERS[name](), "layer": nn.Linear(2, 2)})
    convert(module)
    module["metric"].update(**rows(faces, slice(0, 7)))
    convert(module)
    module["metric"].update(**rows(faces, slice(7, 13)))
    assert_same(module["metric"].compute(), expected(name, faces))


def test_states_follow_the_module_to_its_device():
    metric = NormalizedMeanError()
    metric.update(**batch(3))
    module = nn.ModuleDict({"metric": metric}).to("meta")
    assert {part.device.type for name in metric.columns for part in getattr(module["metric"], name)} == {"meta"}


@every_metric
def test_reset_clone_and_pickle(name):
    first, second = batch(5, seed=1), batch(6, seed=2)
    metric = MAKERS[name]()
    metric.update(**first)
    clone, pickled = metric.clone(), pickle.loads(pickle.dumps(metric))
    metric.reset()
    metric.update(**second)
    assert_same(metric.compute(), expected(name, second))
    for copy in (clone, pickled):
        assert_same(copy.compute(), expected(name, first))


def test_states_are_in_no_checkpoint_unless_asked_for():
    faces = batch(5)
    metric, restored = NormalizedMeanError(), NormalizedMeanError()
    metric.update(**faces)
    assert metric.state_dict() == {}
    metric.persistent(True)
    restored.persistent(True)
    restored.load_state_dict(metric.state_dict())
    restored.update(**rows(faces, slice(0, 2)))
    assert_same(restored.compute(), expected("nme", faces))


def test_kept_rows_are_copies():
    faces = batch(5)
    wanted = expected("errors", {name: column.clone() for name, column in faces.items()})
    metric = FaceErrors()
    metric.update(**faces)
    for column in faces.values():
        column.zero_()
    assert_same(metric.compute(), wanted)


@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize("columns", [(), ("score",), ("score", "expected_error")])
def test_predictions_are_sorted_and_each_face_comes_once(count, columns):
    landmarks = torch.rand(count, K, 2, dtype=torch.float64) * 400
    given = {name: torch.rand(count, K) for name in columns}
    metric = FacePredictions()
    for start in (0, 1):
        order = torch.arange(count).flip(0)[start:]
        metric.update(10 + order, landmarks[order], **{name: column[order] for name, column in given.items()})
    index, found, *others = metric.compute()
    assert_same((index, found), (10 + torch.arange(count), landmarks))
    for name, other in zip(("score", "expected_error"), others, strict=True):
        assert np.array_equal(other, given[name].numpy()) if name in given else other is None


def test_predictions_of_wrong_shape_are_refused():
    index, landmarks = torch.arange(3), torch.zeros(3, K, 2)
    with pytest.raises(ValueError, match=r"landmarks_image must be \(B,K,2\), got \(3, 14\)"):
        FacePredictions().update(index, landmarks.flatten(1))
    with pytest.raises(ValueError, match=r"score must be \(3, 7\).*got \(3, 1\)"):
        FacePredictions().update(index, landmarks, torch.zeros(3, 1))
    with pytest.raises(ValueError, match=r"expected_error must be \(3, 7\).*got \(7,\)"):
        FacePredictions().update(index, landmarks, torch.zeros(3, K), torch.zeros(K))
    with pytest.raises(ValueError, match="index must be 3 integers"):
        FacePredictions().update(index[:2], landmarks)


def test_scored_errors_of_valid_landmarks_of_every_face_once():
    score, error, valid = torch.rand(6, K), torch.rand(6, K, dtype=torch.float64), torch.rand(6, K) > 0.3
    error[~valid] = 1e6  # whatever was computed where nothing is annotated
    metric = ScoredErrors()
    for rows in ([4, 1, 0], [5, 2, 1], [3, 0]):
        metric.update(torch.tensor(rows), score[rows], error[rows], valid[rows])
    found_score, found_error = metric.compute()
    pairs = [(score[n, k].item(), error[n, k].item()) for n in range(6) for k in range(K) if valid[n, k]]
    assert list(zip(found_score.tolist(), found_error.tolist(), strict=True)) == pairs
    assert found_score.dtype == found_error.dtype == np.float64
