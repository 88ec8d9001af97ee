"""From the score of a heatmap to the error to expect, learned on faces that the network was not trained on."""

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

log = logging.getLogger(__name__)

CELL = 32  # landmarks: the mean error of fewer is mostly chance, above all at the ends, where nothing pools them
FEWEST = 4 * CELL
KNOTS = 32


@dataclass(frozen=True)
class Calibration:
    """The expected error of a landmark as a function of its score: straight lines between knots, constant outside.

    scores: of the knots, ascending. errors: expected there, in pixels of the crop, descending.
    """

    scores: tuple[float, ...]
    errors: tuple[float, ...]

    @classmethod
    def fit(cls, score: np.ndarray, error: np.ndarray) -> "Calibration | None":
        """Isotonic regression of the errors (N,) on the scores (N,): the higher the score, the lower the error.

        Landmarks with about the same score are averaged, 32 at a time, then their means are pooled until they descend
        (pool adjacent violators: Ayer and others, Annals of Mathematical Statistics 1955), and blocks with about the
        same error joined, so that at most 32 knots are left. None for fewer landmarks than can tell, with a log line.
        """
        if len(score) < FEWEST:
            log.info("expected errors are not calibrated: %d landmarks for validation, at least %d", len(score), FEWEST)
            return None
        order = np.argsort(score, kind="stable")
        score, error = score[order], error[order]
        # Equal scores share a cell: their order says nothing. The last cell takes what is left over.
        cell = np.minimum(np.searchsorted(score, score) // CELL, len(score) // CELL - 1)
        cells = _means(cell, score, error)
        blocks = _means(isotonic_blocks(cells[1], cells[2]), *cells)
        levels = np.log(np.maximum(blocks[1], 1e-3))  # pixels: less is no error
        width = (levels[0] - levels[-1]) / KNOTS
        joined = np.minimum((levels[0] - levels) // width, KNOTS - 1) if width else np.zeros(len(levels))
        scores, errors, _ = _means(joined, *blocks)
        return cls(tuple(scores.tolist()), tuple(errors.tolist()))

    def __call__(self, score: Tensor) -> Tensor:
        """The expected error for scores of any shape, float32 in pixels of the crop."""
        scores, errors = (score.new_tensor(knots, dtype=torch.float64) for knots in (self.scores, self.errors))
        # How much of each piece lies below the score; a search for the right piece cannot be exported.
        pieces = (score.float()[..., None] - scores[:-1].float()) / scores.diff().float()
        return errors[0].float() + (pieces.clamp(0, 1) * errors.diff().float()).sum(-1)

    def to_dict(self) -> dict[str, list[float]]:
        return {name: list(values) for name, values in asdict(self).items()}

    @classmethod
    def from_dict(cls, fields: dict[str, Iterable[float]]) -> "Calibration":
        return cls(**{name: tuple(values) for name, values in fields.items()})


def isotonic_blocks(value: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Numbers (N,) of the blocks, counted from 0, whose means are the closest to values (N,) that only descend."""
    blocks: list[tuple[float, float, int]] = []  # mean, weight, values
    for block in zip(value.tolist(), weight.tolist(), [1] * len(value), strict=True):
        while blocks and blocks[-1][0] <= block[0]:
            (above, more, count), (mean, weights, values) = blocks.pop(), block
            total = more + weights
            block = ((more * above + weights * mean) / total, total, count + values)
        blocks.append(block)
    return np.repeat(np.arange(len(blocks)), [count for _, _, count in blocks])


def _means(group: np.ndarray, score: np.ndarray, error: np.ndarray, weight: np.ndarray | None = None) -> tuple:
    """Mean score and mean error of each group of neighbors, and its weight; group (N,) never descends."""
    weight = np.ones(len(score)) if weight is None else weight
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    total = np.add.reduceat(weight, starts)
    return *(np.add.reduceat(weight * values, starts) / total for values in (score, error)), total
