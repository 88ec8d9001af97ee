"""What torchmetrics promises of any metric: collections, forward, wrappers, precision, storing, plots, many epochs."""

import gc
import io
import itertools
import math

import numpy as np
import pytest
import torch
from matplotlib import pyplot
from torchmetrics import MetricCollection, MetricTracker, MinMaxMetric
from torchmetrics.wrappers import Running

from wingmark.metrics import (
    CEDAUC,
    CumulativeErrorDistribution,
    FaceErrors,
    FacePredictions,
    FailureRate,
    NormalizedMeanError,
)

K = 7
STRICT, LOOSE = 0.05, 0.1
NAMES = ["nme", "strict", "loose", "auc"]
every_grouping = pytest.mark.parametrize("groups", [True, False, [NAMES]], ids=["found", "none", "given"])


def collection(groups=True) -> MetricCollection:
    metrics = (NormalizedMeanError(), FailureRate(STRICT), FailureRate(LOOSE), CEDAUC(LOOSE))
    return MetricCollection(dict(zip(NAMES, metrics, strict=True)), compute_groups=groups)


def faces(count: int, seed: int = 0, valid_share: float = 0.8) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(seed)
    target = rng.uniform(0, 400, (count, K, 2))
    valid = rng.random((count, K)) < valid_share
    valid[:, 0] = True
    return {
        "prediction": torch.from_numpy(target + rng.normal(0, 4, target.shape) * rng.uniform(0, 2, (count, 1, 1))),
        "target": torch.from_numpy(target),
        "normalizer": torch.from_numpy(rng.uniform(40, 120, count)),
        "index": torch.arange(count),
        "valid": torch.from_numpy(valid),
    }


def parts(table: dict[str, torch.Tensor], size: int) -> list[dict[str, torch.Tensor]]:
    """Batches of that size."""
    starts = range(0, len(table["index"]), size)
    return [{name: column[start : start + size] for name, column in table.items()} for start in starts]


def by_loop(table: dict[str, torch.Tensor]) -> dict[str, float]:
    """NME, both failure rates and AUC, face by face and landmark by landmark."""
    prediction, target, normalizer, _, valid = (column.double().numpy() for column in table.values())
    nmes = []
    for face in range(len(target)):
        distances = [np.hypot(*(prediction[face, k] - target[face, k])) for k in range(K) if valid[face, k]]
        nmes.append(sum(distances) / len(distances) / normalizer[face])
    return {
        "nme": sum(nmes) / len(nmes),
        "strict": sum(nme > STRICT for nme in nmes) / len(nmes),
        "loose": sum(nme > LOOSE for nme in nmes) / len(nmes),
        "auc": sum(max(0.0, 1 - nme / LOOSE) for nme in nmes) / len(nmes),
    }


def assert_values(actual, table: dict[str, torch.Tensor]) -> None:
    assert {name: value.item() for name, value in actual.items()} == pytest.approx(by_loop(table), rel=0, abs=1e-12)


@every_grouping
@pytest.mark.parametrize("valid_share", [0.8, 1.0])  # with NaN, states are never found equal
def test_a_thousand_faces_equal_a_loop(groups, valid_share):
    table = faces(1000, valid_share=valid_share)
    expected = by_loop(table)
    assert 0 < expected["loose"] < expected["strict"] < 1
    metrics = collection(groups)
    for part in parts(table, 64):
        metrics.update(**part)
    assert_values(metrics.compute(), table)


@every_grouping
@pytest.mark.parametrize("calls", list(itertools.product(["update", "forward"], repeat=3)), ids="-".join)
def test_a_collection_may_be_updated_and_called_in_turn(groups, calls):
    table = faces(20, valid_share=1.0)
    metrics = collection(groups)
    for _ in range(2):
        for call, part in zip(calls, parts(table, 7), strict=True):
            value = getattr(metrics, call)(**part)
            if call == "forward":
                assert_values(value, part)
        assert_values(metrics.compute(), table)
        metrics.reset()


@every_grouping
@pytest.mark.parametrize("call", ["update", "forward"])
def test_failure_rates_that_begin_alike_stay_two(groups, call):
    metrics = collection(groups)
    target = torch.zeros(4, K, 2)
    for start, error in ((0, 0.0), (4, (STRICT + LOOSE) / 2)):
        prediction = target + torch.tensor([error, 0.0])
        getattr(metrics, call)(prediction, target, torch.ones(4), index=torch.arange(start, start + 4))
        values = metrics.compute()
        assert (values["strict"].item(), values["loose"].item()) == (0.0 if start == 0 else 0.5, 0.0)


def test_metrics_found_alike_share_their_states():
    metrics = collection()
    metrics.update(**faces(5, valid_share=1.0))
    assert len(metrics.compute_groups) == 1
    assert len({id(metric.error) for metric in metrics.values(copy_state=False)}) == 1


@pytest.mark.parametrize(
    ("call", "bad", "message"),
    [
        ("update", {"normalizer": torch.zeros(5)}, "normalizer must be positive"),
        ("forward", {"normalizer": torch.zeros(5)}, "normalizer must be positive"),
        ("forward", {"index": torch.tensor([5, 5, 6, 7, 8])}, "more than one normalizer"),
    ],
)
def test_a_refused_batch_leaves_nothing_behind(call, bad, message):
    """Even in `forward`, which sets the earlier faces aside."""
    table = faces(10)
    first, second = parts(table, 5)
    metric = NormalizedMeanError()
    metric.update(**first)
    with pytest.raises(ValueError, match=message):
        getattr(metric, call)(**(second | bad))
    metric(**second)
    assert metric.compute().item() == pytest.approx(by_loop(table)["nme"], abs=1e-12)


def test_wrappers_and_sums():
    table = faces(20)
    batches = parts(table, 5)
    running, least = Running(NormalizedMeanError(), window=2), MinMaxMetric(NormalizedMeanError())
    total = 100 * NormalizedMeanError() + FailureRate(LOOSE)
    for part in batches:
        running(**part)
        least(**part)
        total.update(**part)
    values = by_loop(table)
    last_two = {name: torch.cat([part[name] for part in batches[2:]]) for name in table}
    assert running.compute().item() == pytest.approx(by_loop(last_two)["nme"], abs=1e-12)
    assert least.compute()["min"].item() == pytest.approx(
        min(values["nme"], *(by_loop(part)["nme"] for part in batches)), abs=1e-12
    )
    assert total.compute().item() == pytest.approx(100 * values["nme"] + values["loose"], abs=1e-10)


def test_a_tracker_knows_which_epoch_was_best():
    tracker = MetricTracker(collection())
    epochs = [faces(30, seed) for seed in range(4)]
    for table in epochs:
        tracker.increment()
        tracker.update(**table)
    best, step = tracker.best_metric(return_step=True)
    for name, choose in {"nme": min, "strict": min, "loose": min, "auc": max}.items():
        values = [by_loop(table)[name] for table in epochs]
        assert best[name] == pytest.approx(choose(values), abs=1e-12)
        assert values[step[name]] == pytest.approx(choose(values), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_costs_no_more_than_its_rounding(dtype):
    table = faces(50)
    rounded = table | {"prediction": table["prediction"].to(dtype)}
    metrics = collection()
    metrics.update(**rounded)
    assert_values(metrics.compute(), rounded)
    largest = table["prediction"].abs().max() * torch.finfo(dtype).eps / 2
    bound = math.sqrt(2) * largest / table["normalizer"].min()
    assert 0 < abs(metrics["nme"].compute().item() - by_loop(table)["nme"]) < bound


def test_type_and_autocast_do_not_round_either():
    table = faces(20)
    metrics = collection()
    with torch.autocast("cpu", torch.bfloat16):
        for part in parts(table, 10):
            metrics.update(**part)
            metrics.set_dtype(torch.float16)
        assert_values(metrics.compute(), table)


def test_a_stored_collection_goes_on_where_it_was():
    table = faces(20)
    first, second = parts(table, 10)
    metrics, restored = collection(), collection()
    with torch.inference_mode():  # Lightning's
        metrics.update(**first)
    metrics.persistent(True)
    restored.persistent(True)
    file = io.BytesIO()
    torch.save(metrics.state_dict(), file)
    file.seek(0)
    restored.load_state_dict(torch.load(file, weights_only=True))
    for copy in (metrics.clone(), restored):
        copy.update(**second)
        assert_values(copy.compute(), table)
    assert_values(metrics.compute(), first)


def test_states_of_two_processes_can_be_merged():
    table = faces(20)
    one, other = (FailureRate(STRICT) for _ in range(2))
    for metric, part in zip((one, other), parts(table, 10), strict=True):
        metric.update(**part)
    one.merge_state(other)
    assert one.compute().item() == by_loop(table)["strict"]


def test_a_moved_collection_takes_all_states_along():
    metrics = collection()
    metrics.update(**faces(5, valid_share=1.0))
    metrics.compute()
    metrics.to("meta")
    for metric in metrics.values(copy_state=False):
        assert metric.device.type == metric._computed.device.type == "meta"
        assert {part.device.type for name in metric.columns for part in getattr(metric, name)} == {"meta"}


def test_epochs_leave_no_tensors_behind():
    def tensors() -> int:
        gc.collect()
        return sum(type(thing) is torch.Tensor for thing in gc.get_objects())

    table = faces(40)
    metrics, counts = collection(), []
    for epoch in range(50):
        for call, part in zip(itertools.cycle([metrics.update, metrics.forward]), parts(table, 10), strict=False):
            call(**part)
        assert_values(metrics.compute(), table)
        metrics.reset()
        if epoch in (1, 49):
            counts.append(tensors())
    assert counts[0] == counts[1]


def test_arguments_of_torchmetrics_are_passed_on():
    table = faces(10)
    for metric in (NormalizedMeanError(compute_on_cpu=True), FailureRate(LOOSE, dist_sync_on_step=True)):
        for part in parts(table, 5):
            metric(**part)
        name = "nme" if isinstance(metric, NormalizedMeanError) else "loose"
        assert metric.compute().item() == pytest.approx(by_loop(table)[name], abs=1e-12)
    for make in (FacePredictions, lambda **settings: CEDAUC(LOOSE, **settings)):
        with pytest.raises(ValueError, match="Unexpected keyword arguments: `treshold`"):
            make(treshold=1)


@pytest.fixture
def axes():
    pyplot.switch_backend("agg")
    yield pyplot.subplots()[1]
    pyplot.close("all")


def test_scalars_are_drawn_within_their_bounds(axes):
    metrics = collection()
    metrics.update(**faces(30))
    for name, (figure, own_axes) in zip(sorted(NAMES), metrics.plot(), strict=True):
        assert own_axes.figure is figure
        assert own_axes.lines[0].get_ydata() == metrics[name].compute()
        bounds = {float(y) for y in own_axes.collections[0].get_segments() for y in np.unique(y[:, 1])}
        assert bounds == ({0.0} if name == "nme" else {0.0, 1.0})
    series = [metrics["nme"](**part) for part in parts(faces(30), 10)]
    assert metrics["nme"].plot(series, ax=axes)[1] is axes
    assert axes.lines[0].get_ydata() == pytest.approx([value.item() for value in series])


@pytest.mark.parametrize("count", [1, 40])
def test_the_drawn_ced_is_the_share_of_faces_up_to_each_error(count, axes):
    metric = CumulativeErrorDistribution()
    metric.update(**faces(count))
    errors, _ = metric.compute()
    own_figure, own_axes = metric.plot()
    figure, given = metric.plot(metric.compute(), ax=axes)
    assert own_figure is own_axes.figure is not figure
    assert (figure, given) == (axes.figure, axes)
    for line in (own_axes.lines[0], given.lines[0]):
        assert line.get_drawstyle() == "steps-post"
        x, y = line.get_data()
        for percent in np.linspace(0, 100 * errors[-1] * 1.04, 97):
            height = y[np.searchsorted(x, percent, side="right") - 1]
            assert height == pytest.approx(100 * np.mean(100 * errors <= percent), abs=1e-9)
    assert (given.get_xlabel(), given.get_ylabel()) == ("NME [%]", "faces [%]")


@pytest.mark.parametrize("metric_class", [FaceErrors, FacePredictions])
def test_tables_are_not_drawn(metric_class):
    with pytest.raises(NotImplementedError):
        metric_class().plot()
