"""Plots of a test: CED curves, errors on the mean face, and expected against real errors."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from wingmark.evaluation.confidence import Confidence
from wingmark.evaluation.predictions import FACES_AT_ONCE, Predictions
from wingmark.files import whole_file
from wingmark.protocol import Protocol


def draw_ced(path: Path, nme_by_name: dict[str, np.ndarray], protocol: Protocol) -> None:
    """Cumulative error distributions: the share of faces (y) with an NME up to x, one curve per name."""
    figure = Figure(figsize=(6, 4.2), dpi=120, layout="constrained")
    axes = figure.subplots()
    limit = 100 * protocol.threshold
    for name, nme in nme_by_name.items():
        axes.step(*ced_steps(nme), where="post", label=f"{name} ({len(nme)} faces)")
    axes.set(xlim=(0, limit), ylim=(0, 100), xlabel="NME [%]", ylabel="faces [%]", title=protocol.label)
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=8)
    with whole_file(path) as temporary:
        figure.savefig(temporary)


def ced_steps(nme: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The CED of NMEs (N,), a fraction, as x and y in percent for `step(where="post")`; it goes on past any limit."""
    return np.array([0, *np.sort(100 * nme), 1e4]), np.array([*np.linspace(0, 100, len(nme) + 1), 100])


def draw_landmark_errors(path: Path, landmark_errors: np.ndarray, predictions: Predictions) -> None:
    """The mean error of every landmark (K,), a fraction of the normalizer, as a color on the mean face."""
    mean = mean_face(predictions)
    figure = Figure(figsize=(5, 4.6), dpi=120, layout="constrained")
    axes = figure.subplots()
    for contour in predictions.schema.contours.values():
        line = mean[[*contour.indices, *(contour.indices[:1] if contour.closed else ())]]
        axes.plot(*line.T, color="0.8", linewidth=1, zorder=1)
    percent = 100 * landmark_errors
    dots = axes.scatter(*mean.T, c=percent, s=45, cmap="YlOrRd", edgecolors="0.3", linewidths=0.4, zorder=2, vmin=0)
    for k in np.argsort(-np.nan_to_num(percent, nan=-1))[:5]:
        axes.annotate(f"{k}", mean[k], xytext=(4, 4), textcoords="offset points", fontsize=8)
    axes.set(aspect="equal", title=f"mean error of each landmark\n{predictions.protocol.label}")
    axes.title.set_fontsize(9)
    axes.invert_yaxis()
    axes.axis("off")
    figure.colorbar(dots, ax=axes, shrink=0.8, label="error over the normalizer [%]")
    with whole_file(path) as temporary:
        figure.savefig(temporary)


def mean_face(predictions: Predictions) -> np.ndarray:
    """The true landmarks (K, 2) averaged over faces, each centered and divided by its normalizer."""
    total, seen = np.zeros(predictions.target.shape[1:]), predictions.valid.sum(0)[:, None]
    for start in range(0, len(predictions.id), FACES_AT_ONCE):
        part = slice(start, start + FACES_AT_ONCE)
        target, valid = predictions.target[part], predictions.valid[part][..., None]
        centered = target - target.mean(axis=1, keepdims=True, where=valid)
        total += (centered / predictions.normalizer[part][:, None, None]).sum(axis=0, where=valid)
    return np.divide(total, seen, where=seen > 0, out=np.full_like(total, np.nan))


def draw_reliability(path: Path, confidence: Confidence, protocol: Protocol) -> None:
    """Expected against real errors in bins of equal size, and the NME of the faces kept, the surest ones first."""
    figure = Figure(figsize=(10, 4.4), dpi=120, layout="constrained")
    bins, curves = figure.subplots(1, 2)
    expected, real, landmarks = confidence.bins.T
    limit = 1.05 * max(expected.max(), real.max())
    bins.plot([0, limit], [0, limit], color="0.6", linewidth=1, label="expected = real")
    low, high = (f"{count:.0f}" for count in (landmarks.min(), landmarks.max()))
    each = low if low == high else f"{low} to {high}"
    bins.plot(expected, real, "o-", markersize=5, label=f"{len(landmarks)} bins of {each} landmarks")
    labels = {"xlabel": "expected error [px of the image]", "ylabel": "real error [px of the image]"}
    bins.set(xlim=(0, limit), ylim=(0, limit), aspect="equal", title=protocol.label, **labels)
    kept = 100 * np.arange(1, len(confidence.nme) + 1) / len(confidence.nme)
    for name, risk in confidence.risks.items():
        curves.plot(kept, 100 * risk, label=f"{name}, area {100 * risk.mean():.2f} %")
    curves.set(xlim=(0, 100), ylim=(0, None), xlabel="faces kept, the surest first [%]", ylabel="their NME [%]")
    curves.set_title(f"risk and coverage, {len(confidence.nme)} faces")
    for axes in (bins, curves):
        axes.title.set_fontsize(9)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    with whole_file(path) as temporary:
        figure.savefig(temporary)
