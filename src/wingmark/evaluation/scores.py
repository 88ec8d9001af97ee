"""The numbers of a report: scores with intervals, and the checks that they must pass."""

from dataclasses import dataclass

import numpy as np
import torch

from wingmark.evaluation.intervals import FEWEST_GROUPS, bootstrap_means, percentile_interval, wilson_interval
from wingmark.metrics import functional
from wingmark.protocol import Protocol


@dataclass(frozen=True)
class Scores:
    """Scores of a set of faces, as fractions, with 95 % intervals; FR and AUC at the protocol's threshold.

    p90, p95, p99: the NME that so many percent of the faces do not exceed. NME and AUC have no interval where there are
    too few photos to tell.
    """

    faces: int
    nme: float
    nme_interval: tuple[float, float] | None
    fr: float
    fr_interval: tuple[float, float]
    auc: float
    auc_interval: tuple[float, float] | None
    p90: float
    p95: float
    p99: float

    @classmethod
    def of(cls, nme: np.ndarray, group: np.ndarray, threshold: float) -> "Scores":
        """From the NME (N,) and the group (N,) of every face."""
        nmes = torch.from_numpy(nme)
        areas = np.maximum(0, 1 - nme / threshold)  # AUC is the mean of them
        nme_interval = auc_interval = None
        if len(np.unique(group)) >= FEWEST_GROUPS:
            draws = bootstrap_means(np.column_stack([nme, areas]), group)
            nme_interval, auc_interval = percentile_interval(draws[:, 0]), percentile_interval(draws[:, 1])
        p90, p95, p99 = np.quantile(nme, [0.90, 0.95, 0.99], method="inverted_cdf").tolist()
        return cls(
            faces=len(nme),
            nme=functional.nme(nmes).item(),
            nme_interval=nme_interval,
            fr=functional.failure_rate(nmes, threshold).item(),
            fr_interval=wilson_interval(int((nme > threshold).sum()), len(nme)),
            auc=functional.auc(nmes, threshold).item(),
            auc_interval=auc_interval,
            p90=p90,
            p95=p95,
            p99=p99,
        )


def failed_checks(scores: dict[str, Scores], protocol: Protocol, split_faces: int | None) -> list[str]:
    """What is wrong with the scores of `full` and of every tag, one sentence each; none where all is well.

    split_faces: how many faces the tested split has, None where only a file is known.
    """
    full, failed = scores["full"], []
    for name, score in scores.items():
        bound = 1 - score.nme / protocol.threshold  # of each face: max(0, 1 - NME / t) >= 1 - NME / t
        if not score.auc >= bound - 1e-9:
            failed.append(f"{name}: AUC {score.auc:.6f} lies below its bound 1 - NME/t = {bound:.6f}")
    if split_faces not in (None, full.faces):
        failed.append(f"{full.faces} faces were counted, the test split has {split_faces}")
    failed += failed_counts({name: score.faces for name, score in scores.items()}, protocol)
    if protocol.parts:
        failed += _failed_sums(scores, protocol.parts)
    return failed


def failed_counts(faces: dict[str, int], protocol: Protocol) -> list[str]:
    """Whether the numbers of faces, of `full` and by tag, are those of the protocol's list."""
    found = {name: faces.get(name, 0) for name in protocol.faces}
    if found == protocol.faces:
        return []
    counts = ", ".join(f"{name} {found[name]} of {count}" for name, count in protocol.faces.items())
    return [f"these are not the faces of the published test list, do not compare: {counts}"]


def _failed_sums(scores: dict[str, Scores], names: tuple[str, ...]) -> list[str]:
    """Full must be the mean of its parts, weighted by their faces."""
    full, parts = scores["full"], [scores[name] for name in names if name in scores]
    counted, together = sum(part.faces for part in parts), " and ".join(names)
    if counted != full.faces:
        return [f"{together} have {counted} faces together, full has {full.faces}"]
    means = {key: sum(part.faces * getattr(part, key) for part in parts) / counted for key in ("nme", "fr", "auc")}
    return [
        f"{key.upper()} of full is {getattr(full, key):.6f}, the weighted mean of {together} is {mean:.6f}"
        for key, mean in means.items()
        if not abs(mean - getattr(full, key)) <= 1e-9
    ]
