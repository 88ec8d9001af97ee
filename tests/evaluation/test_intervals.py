import numpy as np
import pytest

from wingmark.evaluation.intervals import Z, bootstrap_means, percentile_interval, wilson_interval


def test_bootstrap_against_a_loop():
    """The same random numbers, faces gathered one by one."""
    random = np.random.default_rng(3)
    group = np.array(["b", "a", "c", "a", "c", "c", "d"])
    values = random.random((7, 2))
    found = bootstrap_means(values, group, draws=50, seed=5)
    names, numbers = sorted(set(group)), np.random.default_rng(5)
    for draw in range(50):
        faces = [i for g in numbers.integers(4, size=4) for i in range(7) if group[i] == names[g]]
        for column in range(2):
            mean = sum(values[i, column] for i in faces) / len(faces)
            assert found[draw, column] == pytest.approx(mean, rel=1e-12)


def test_faces_of_a_photo_are_drawn_together():
    """Four copies of every face tell nothing new: the interval is that of one copy."""
    random = np.random.default_rng(0)
    values, group = random.random((50, 1)), np.arange(50)
    once = bootstrap_means(values, group)
    four_times = bootstrap_means(np.repeat(values, 4, axis=0), np.repeat(group, 4))
    assert np.allclose(once, four_times, rtol=1e-12)
    alone = bootstrap_means(np.repeat(values, 4, axis=0), np.arange(200))
    assert alone.std() < 0.6 * once.std()  # as 200 different faces they would seem twice as sure


def test_one_face_has_no_spread():
    assert percentile_interval(bootstrap_means(np.array([[0.3]]), np.array(["a"]))[:, 0]) == (0.3, 0.3)


@pytest.mark.parametrize(("failures", "faces"), [(0, 50), (1, 135), (5, 100), (50, 100), (135, 135)])
def test_wilson_ends_are_where_the_share_is_just_refused(failures, faces):
    """At its ends p the interval touches |share - p| = Z * sqrt(p * (1 - p) / faces), the definition."""
    for end, p in zip(["low", "high"], wilson_interval(failures, faces), strict=True):
        if (failures, end) in ((0, "low"), (faces, "high")):
            assert p == {"low": 0.0, "high": 1.0}[end]
        else:
            assert abs(failures / faces - p) == pytest.approx(Z * (p * (1 - p) / faces) ** 0.5, rel=1e-9)


def test_wilson_golden_values():
    assert wilson_interval(5, 100) == pytest.approx((0.0215437, 0.1117505), abs=1e-6)
    assert wilson_interval(0, 50) == pytest.approx((0, 0.0713476), abs=1e-6)


# NMEs of faces are about log-normal; the spread of their logarithm was 0.31 and 0.28 in two runs on 300W.
MEDIAN, SPREAD, THRESHOLD = 0.04, 0.35, 0.08


@pytest.mark.parametrize("faces", [135, pytest.param(554, marks=pytest.mark.long)])
def test_intervals_cover(faces):
    """Of 1,000 test sets, 93 to 97 % of the intervals hold the true score (FR, which comes in steps: 93 % or more).

    The standard error of such a share of 1,000 is 0.7 %.
    """
    population = MEDIAN * np.exp(SPREAD * np.random.default_rng(1).standard_normal(4_000_000))
    truth = [population.mean(), np.maximum(0, 1 - population / THRESHOLD).mean(), (population > THRESHOLD).mean()]
    held = np.zeros(3)
    for sample in range(1000):
        nme = MEDIAN * np.exp(SPREAD * np.random.default_rng([faces, sample]).standard_normal(faces))
        draws = bootstrap_means(
            np.column_stack([nme, np.maximum(0, 1 - nme / THRESHOLD)]), np.arange(faces), seed=sample
        )
        intervals = [percentile_interval(draws[:, 0]), percentile_interval(draws[:, 1])]
        intervals.append(wilson_interval(int((nme > THRESHOLD).sum()), faces))
        held += [low <= true <= high for (low, high), true in zip(intervals, truth, strict=True)]
    nme, auc, fr = held / 1000
    assert 0.93 <= nme <= 0.97 and 0.93 <= auc <= 0.97 and fr >= 0.93, (nme, auc, fr)
