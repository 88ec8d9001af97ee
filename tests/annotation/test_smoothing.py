"""The One-Euro filter against the paper's algorithm, and the jitter figure against signals whose value is known."""

import math

import numpy as np
import pytest

from wingmark.annotation.smoothing import Jitter, OneEuro, face_size


def walk(frames: int, landmarks: int) -> np.ndarray:
    random = np.random.default_rng(0)
    start = random.uniform(100, 200, (landmarks, 2))
    return start + np.cumsum(random.normal(0, 2, (frames, 1, 2)), 0) + random.normal(0, 1, (frames, landmarks, 2))


def paper(values: list[float], sizes: list[float], seconds: list[float], min_cutoff: float, beta: float) -> list[float]:
    """Algorithm 1 of the paper on one coordinate, step by step, in face sizes, and back in pixels."""

    def alpha(cutoff: float, te: float) -> float:
        tau = 1.0 / (2.0 * math.pi * cutoff)
        return 1.0 / (1.0 + tau / te)

    result, last, dx_last = [], None, 0.0
    for x, size, te in zip(values, sizes, seconds, strict=True):
        if last is None:
            last = x
        else:
            dx = (x - last) / size / te
            a = alpha(1.0, te)
            dx_last = a * dx + (1 - a) * dx_last
            a = alpha(min_cutoff + beta * abs(dx_last), te)
            last = a * x + (1 - a) * last
        result.append(last)
    return result


@pytest.mark.parametrize(("min_cutoff", "beta"), [(1.0, 10.0), (0.3, 0.0), (2.5, 40.0)])
def test_one_euro_is_the_papers_algorithm_on_every_coordinate(min_cutoff, beta):
    frames = walk(40, 5)
    seconds = [1 / 25] * 40
    seconds[17] = 3 / 25  # two frames could not be decoded
    smooth = OneEuro(min_cutoff, beta)
    found = np.array([smooth(frame, te) for frame, te in zip(frames, seconds, strict=True)])
    sizes = [math.sqrt(np.ptp(f[:, 0]) * np.ptp(f[:, 1])) for f in frames]
    for k in range(5):
        for axis in range(2):
            expected = paper(frames[:, k, axis].tolist(), sizes, seconds, min_cutoff, beta)
            np.testing.assert_allclose(found[:, k, axis], expected, rtol=0, atol=1e-9)


def test_one_euro_does_the_same_at_any_resolution():
    frames = walk(20, 5)
    small, large = OneEuro(1.0, 10.0), OneEuro(1.0, 10.0)
    for frame in frames:
        np.testing.assert_allclose(large(4 * frame, 0.04), 4 * small(frame, 0.04))


def percent(frames: np.ndarray) -> float | None:
    jitter = Jitter()
    for frame in frames:
        jitter.update(frame)
    return Jitter.percent([jitter])


SQUARE = np.array([(100, 100), (200, 100), (200, 200), (100, 200)], float)  # face size 100


def test_jitter_of_one_trembling_landmark():
    frames = np.stack([SQUARE] * 12)
    frames[:, 0] += [(0.3, -0.4)]
    frames[::2, 0] -= [(0.6, -0.8)]  # it jumps by 1 px to and fro, 0.5 around its place
    # Its second difference is 2 px long; less the mean of the four, 1.5, and 0.5 of each other one.
    sizes = [face_size(frame) for frame in frames[1:-1]]
    total = sum((1.5**2 + 3 * 0.5**2) / size**2 for size in sizes)
    assert percent(frames) == pytest.approx(100 * math.sqrt(total / (6 * 4 * len(sizes))), rel=1e-9)
    assert percent(frames) == pytest.approx(100 * math.sqrt(3 / 24) / 100, rel=0.01)


def test_jitter_of_independent_noise_is_the_length_of_that_noise():
    random = np.random.default_rng(0)
    base = random.uniform(0, 100, (50, 2))
    base[:2] = (-50, -50), (150, 150)  # face size 200
    noise = random.normal(0, 0.2, (400, 50, 2))
    noise[:, :2] = 0
    shared = random.normal(0, 5, (400, 1, 2))  # of a shaking camera
    expected = 100 * 0.2 * math.sqrt(2) * math.sqrt(48 / 50) / 200
    assert percent(base + noise + shared) == pytest.approx(expected, rel=0.03)


def test_what_moves_as_a_whole_does_not_jitter():
    steps = np.array([(0.5 * t * t, 3.0 * t) for t in range(9)])
    assert percent(SQUARE + steps[:, None]) == pytest.approx(0, abs=1e-9)


def test_jitter_takes_three_frames_of_one_face():
    assert percent(np.stack([SQUARE] * 2)) is None
    assert Jitter.percent([]) is None
    still, jumping = Jitter(), Jitter()
    for number in range(5):
        still.update(SQUARE)
        jumping.update(SQUARE * [1 if number % 2 else 1.01, 1])
    assert Jitter.percent([still, jumping]) == pytest.approx(Jitter.percent([jumping]) / math.sqrt(2))
