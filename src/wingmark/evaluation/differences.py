"""What is noise in the difference of two methods, and what is not.

Methods are compared face by face: an interval of the difference is far narrower than the two intervals of the scores
suggest, since what is hard for one method is mostly hard for the other. Two sources of noise go into it:

- other test faces: bootstrap over groups, the same draws for all methods;
- other trainings: seeds of one method differ. Two or three of them know this spread badly, so it is pooled over the two
  methods, as if it were the same for both: with f degrees of freedom in all, the difference of two means over n seeds
  each strays by s * sqrt(2 / n) times Student's t with f degrees of freedom. One seed each tells nothing about it.

The interval of a single score is that of a report: other test faces, not other trainings.

Each row stands for itself: of twenty rows without any true difference one or two are expected outside the noise. In
1000 simulated tests of two equal methods with log-normal NMEs, the NME interval held 0 in 86 % with 6 groups, 91 % with
10, 93 % with 20 and 100, 94 % with 50; that of FR in 95 % or more.
"""

from dataclasses import dataclass, replace

import numpy as np

from wingmark.evaluation.intervals import (
    DRAWS,
    FEWEST_GROUPS,
    bootstrap_means,
    percentile_interval,
    wilson_interval,
)
from wingmark.evaluation.methods import Method

SCORES = ("nme", "fr", "auc")
# Five faces that all change to one side happen by chance in 2 of 2^5 cases, more than the 5 % a verdict may err in.
FEWEST_CHANGED = 6


@dataclass(frozen=True)
class Row:
    """One score of one method on one subset, as fractions with 95 % intervals, and its difference to the first method.

    by_seed: the score of every training; value is their mean. The last three are None for the first method itself.
    verdict: `better`, `worse`, `within noise` or `too few photos`, of which NME and AUC have no interval either.
    """

    method: str
    subset: str
    score: str
    value: float
    interval: tuple[float, float] | None
    by_seed: tuple[float, ...]
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None
    verdict: str | None = None


def rows_of(
    methods: list[Method], position: int, subset: str, members: np.ndarray, group: np.ndarray, threshold: float
) -> list[Row]:
    """The rows of the method at `position` on a subset, one per score."""
    own, first = (methods[i].face_scores(threshold)[:, members] for i in (position, 0))
    group, by_seed = group[members], own.mean(1)
    mean, difference = own.mean(0), own.mean(0) - first.mean(0)
    draws = bootstrap_means(np.hstack([mean, difference]), group)
    # No difference of two shares lies outside +-1, whatever t says.
    difference_draws = np.clip(draws[:, 3:] + seed_noise(first.mean(1), by_seed), [-np.inf, -1, -1], [np.inf, 1, 1])
    rows = []
    for column, score in enumerate(SCORES):
        value, interval = float(mean[:, column].mean()), percentile_interval(draws[:, column])
        if score == "fr":
            interval = wilson_interval(value * len(group), len(group))
        elif len(np.unique(group)) < FEWEST_GROUPS:
            interval = None
        row = Row(methods[position].name, subset, score, value, interval, tuple(by_seed[:, column].tolist()))
        if position > 0:
            low, high = percentile_interval(difference_draws[:, column])
            row = replace(
                row,
                difference=float(difference[:, column].mean()),
                difference_interval=(low, high),
                verdict=_verdict(score, low, high, group, difference[:, column]),
            )
        rows.append(row)
    return rows


def seed_noise(*by_seed: np.ndarray) -> np.ndarray:
    """Draws (DRAWS, C) of how far the difference of two methods' means may lie from that over all possible seeds.

    by_seed: the scores (S, C) of each method's S seeds. All 0 where neither has several.
    """
    counts = np.array([len(scores) for scores in by_seed])
    freedom = int((counts - 1).sum())
    if freedom == 0:
        return np.zeros((DRAWS, by_seed[0].shape[1]))
    squares = sum(((scores - scores.mean(0)) ** 2).sum(0) for scores in by_seed)
    spread = np.sqrt(squares / freedom * (1 / counts).sum())
    return spread * np.random.default_rng(1).standard_t(freedom, size=(DRAWS, 1))  # a stream of its own


def _verdict(score: str, low: float, high: float, group: np.ndarray, difference: np.ndarray) -> str:
    if len(np.unique(group)) < FEWEST_GROUPS:
        return "too few photos"
    if low <= 0 <= high or len(np.unique(group[difference != 0])) < FEWEST_CHANGED:
        return "within noise"
    return "better" if (low > 0) == (score == "auc") else "worse"
