"""What is noise in the difference of two methods, and what is not.

Methods are compared face by face: an interval of the difference is far narrower than the two intervals of the scores
suggest, since what is hard for one method is mostly hard for the other. Two sources of noise go into it:

- other test faces: bootstrap over groups, the same draws for all methods;
- other trainings: seeds of one method differ. The spread is pooled over all methods that have several seeds, as in an
  analysis of variance, since two or three seeds alone know it badly: with f degrees of freedom in all, a difference of
  two means over n seeds each strays by s * sqrt(2 / n) times Student's t with f degrees of freedom. Where every method
  has one seed, nothing is known of this noise.

Each row stands for itself: of twenty rows without any true difference one or two are expected outside the noise. In
1000 simulated tests of two equal methods with log-normal NMEs, the NME interval held 0 in 86 % with 6 groups, 91 % with
10, 93 % with 20 and 100, 94 % with 50; that of FR in 95 % or more.
"""

from dataclasses import dataclass, replace

import numpy as np

from wingmark.evaluation.intervals import DRAWS, bootstrap_means, percentile_interval, wilson_interval
from wingmark.evaluation.methods import Method

SCORES = ("nme", "fr", "auc")
# Five groups all on one side happen by chance in 2 of 2^5 cases, more than the 5 % that a verdict may err in.
FEWEST_GROUPS = 6


@dataclass(frozen=True)
class Row:
    """One score of one method on one subset, as fractions with 95 % intervals, and its difference to the first method.

    by_seed: the score of every training; value is their mean. The last three are None for the first method itself.
    verdict: `better`, `worse`, `within noise` or `too few groups`.
    """

    method: str
    subset: str
    score: str
    value: float
    interval: tuple[float, float]
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
    noise = seed_noise([method.face_scores(threshold)[:, members].mean(1) for method in methods])
    # No score lies outside these, whatever t says.
    score_draws = np.clip(draws[:, :3] + noise[position], 0, [np.inf, 1, 1])
    difference_draws = np.clip(draws[:, 3:] + noise[position] - noise[0], [-np.inf, -1, -1], [np.inf, 1, 1])
    groups = len(np.unique(group))
    rows = []
    for column, score in enumerate(SCORES):
        value, interval = float(mean[:, column].mean()), percentile_interval(score_draws[:, column])
        if score == "fr" and len(own) == 1:
            interval = wilson_interval(int(own[0, :, column].sum()), len(group))  # as in the report of this run
        row = Row(methods[position].name, subset, score, value, interval, tuple(by_seed[:, column].tolist()))
        if position > 0:
            low, high = percentile_interval(difference_draws[:, column])
            row = replace(
                row,
                difference=float(difference[:, column].mean()),
                difference_interval=(low, high),
                verdict=_verdict(score, low, high, groups),
            )
        rows.append(row)
    return rows


def seed_noise(by_seed: list[np.ndarray]) -> np.ndarray:
    """Draws (M, DRAWS, C) of how far the mean over its seeds may lie from that over all seeds, for each of M methods.

    by_seed: the scores (S, C) of each method's S seeds. All 0 where no method has several.
    """
    counts = np.array([len(scores) for scores in by_seed])
    freedom = int((counts - 1).sum())
    if freedom == 0:
        return np.zeros((len(by_seed), DRAWS, by_seed[0].shape[1]))
    squares = sum(((scores - scores.mean(0)) ** 2).sum(0) for scores in by_seed)
    random = np.random.default_rng(1)  # a stream that the bootstrap does not use
    sigma = np.sqrt(squares / random.chisquare(freedom, size=(DRAWS, 1)))
    return sigma * random.standard_normal((len(by_seed), DRAWS, 1)) / np.sqrt(counts)[:, None, None]


def _verdict(score: str, low: float, high: float, groups: int) -> str:
    if groups < FEWEST_GROUPS:
        return "too few groups"
    if low <= 0 <= high:
        return "within noise"
    return "better" if (low > 0) == (score == "auc") else "worse"
