"""What expected errors are worth: whether they are as large as the real ones, and whether they tell bad faces."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from wingmark.evaluation.predictions import Predictions

BINS = 15


@dataclass(frozen=True, eq=False)
class Confidence:
    """Expected against real errors of all valid landmarks, V, and the order that they put N faces into.

    expected, real (V,): in pixels of the images, sorted by the expected ones. nme, doubt (N,): the score of each face,
    and its expected error averaged over all landmarks as a share of the found face's longer side. That share is known
    without any annotation; in pixels alone, large photos would count as doubtful.
    """

    expected: np.ndarray
    real: np.ndarray
    nme: np.ndarray
    doubt: np.ndarray

    @classmethod
    def of(cls, predictions: Predictions, nme: np.ndarray) -> "Confidence":
        """From predictions that have expected errors, and the NME (N,) of their faces."""
        found, valid = predictions.landmarks_image, predictions.valid
        expected = predictions.expected_error[valid].astype(float)
        real = np.linalg.norm(found[valid] - predictions.target[valid], axis=1)
        order = np.argsort(expected, kind="stable")
        # A method may leave out what is not annotated. All landmarks in one pixel are no face.
        side = np.maximum((np.nanmax(found, axis=1) - np.nanmin(found, axis=1)).max(1), 1.0)
        return cls(expected[order], real[order], nme, predictions.expected_error.mean(1, dtype=float) / side)

    @cached_property
    def bins(self) -> np.ndarray:
        """Mean expected error, mean real error and number of landmarks of bins with about as many each, (Q, 3)."""
        count = min(BINS, len(self.expected))
        parts = zip(np.array_split(self.expected, count), np.array_split(self.real, count), strict=True)
        return np.array([(expected.mean(), real.mean(), len(real)) for expected, real in parts])

    @cached_property
    def risks(self) -> dict[str, np.ndarray]:
        """The NME of the n faces that come first (N,), n from 1 on: by expected error, in the best order, in none."""
        return {
            "expected error": risk_coverage(self.nme, self.doubt),
            "best order": risk_coverage(self.nme, self.nme),
            "no order": risk_coverage(self.nme, np.zeros_like(self.nme)),
        }

    def numbers(self) -> dict[str, float]:
        """The means, how far the bins are off on average, and the areas under the risk-coverage curves (AURC)."""
        expected, real, landmarks = self.bins.T
        own, best, none = (risk.mean() for risk in self.risks.values())
        numbers = {
            "expected_error_px": self.expected.mean(),
            "real_error_px": self.real.mean(),
            "calibration_error_px": np.average(abs(expected - real), weights=landmarks),
            "aurc": own,
            "aurc_best_order": best,
            "aurc_no_order": none,
        }
        return {name: float(number) for name, number in numbers.items()}

    def sentences(self) -> list[str]:
        """The numbers for people, in lines of up to 80 columns."""
        expected, real, off, own, best, none = self.numbers().values()
        return [
            f"expected error {expected:.2f} px, real {real:.2f} px, in {len(self.bins)} bins off by {off:.2f} px",
            f"NME of the surest faces, over all shares [%]: {100 * own:.2f}, "
            f"at best {100 * best:.2f}, unsorted {100 * none:.2f}",
        ]


def risk_coverage(nme: np.ndarray, doubt: np.ndarray) -> np.ndarray:
    """The mean NME (N,) of the n faces with the least doubt, n from 1 to N (El-Yaniv and Wiener, JMLR 2010).

    Faces of equal doubt come in random order: the expected mean.
    """
    _, place, count = np.unique(doubt, return_inverse=True, return_counts=True)
    mean_of_equals = np.bincount(place, nme) / count
    return np.cumsum(np.repeat(mean_of_equals, count)) / np.arange(1, len(nme) + 1)
