"""What a test says: one table, the files beside it, and what is wrong with them."""

import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wingmark.evaluation.confidence import Confidence
from wingmark.evaluation.plots import draw_ced, draw_landmark_errors, draw_reliability
from wingmark.evaluation.predictions import Predictions
from wingmark.evaluation.scores import Scores, failed_checks
from wingmark.files import whole_file
from wingmark.metrics.functional import face_nme

WORST_LANDMARKS = 5


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that is computed from predictions, as fractions of the normalizer.

    errors (N, K), NaN where no landmark is annotated; nme (N,) by face and landmark_errors (K,) by landmark, their
    means; scores by subset, `full` first; failed_checks in sentences; confidence, None without expected errors.
    """

    predictions: Predictions
    errors: np.ndarray
    nme: np.ndarray
    landmark_errors: np.ndarray
    scores: dict[str, Scores]
    failed_checks: list[str]
    confidence: Confidence | None

    @classmethod
    def of(cls, predictions: Predictions, split_faces: int | None = None) -> "Report":
        """Compute all from predictions; split_faces, the size of the tested split, is checked where it is known."""
        protocol, errors = predictions.protocol, predictions.errors()
        nme = face_nme(torch.from_numpy(errors)).numpy()
        annotated = predictions.valid.sum(0)
        total = errors.sum(axis=0, where=predictions.valid)
        landmark_errors = np.divide(total, annotated, where=annotated > 0, out=np.full_like(total, np.nan))
        scores = {
            name: Scores.of(nme[members], predictions.group[members], protocol.threshold)
            for name, members in predictions.subsets().items()
        }
        failed = failed_checks(scores, protocol, split_faces)
        confidence = None if predictions.expected_error is None else Confidence.of(predictions, nme)
        return cls(predictions, errors, nme, landmark_errors, scores, failed, confidence)

    def write(self, folder: Path, about: dict[str, Any]) -> None:
        """Write faces.csv, pictures and metrics.json; `about` stands in metrics.json beside the scores."""
        protocol = self.predictions.protocol
        self._write_faces(folder / "faces.csv")
        subsets = {name: self.nme[members] for name, members in self.predictions.subsets().items()}
        draw_ced(folder / "pictures" / "ced.png", subsets, protocol)
        draw_landmark_errors(folder / "pictures" / "landmarks.png", self.landmark_errors, self.predictions)
        content = {
            **about,
            "protocol": protocol.to_dict(),
            "protocol_digest": protocol.digest,
            "schema": self.predictions.schema.name,
            "scores": {name: asdict(scores) for name, scores in self.scores.items()},
            "landmark_errors": [None if np.isnan(error) else error for error in self.landmark_errors.tolist()],
            "failed_checks": self.failed_checks,
        }
        if self.confidence is not None:
            draw_reliability(folder / "pictures" / "reliability.png", self.confidence, protocol)
            content["confidence"] = self.confidence.numbers()
        with whole_file(folder / "metrics.json") as path:
            path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")

    def _write_faces(self, path: Path) -> None:
        found = self.predictions
        with whole_file(path) as temporary, open(temporary, "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["id", "group", "tags", "nme", "worst_landmark", "worst_error", "protocol"])
            for *face, nme, errors in zip(found.id, found.group, found.tags, self.nme, self.errors, strict=True):
                worst = np.nanargmax(errors)
                table.writerow([*face, f"{nme:.6f}", worst, f"{errors[worst]:.6f}", found.protocol.label])

    def print(self, title: str) -> None:
        """The table, percentiles, the worst landmarks, what the confidence is worth, and every failed check."""
        protocol, console = self.predictions.protocol, Console(highlight=False)
        console.print(f"{title}, protocol {protocol.label}, {protocol.crop_rule}", markup=False)
        groups = len(np.unique(self.predictions.group))
        faces = f"{len(self.nme)} faces of schema {self.predictions.schema.name} in {groups} groups"
        console.print(f"{faces}; 95 % intervals for other such faces", markup=False)
        console.print(self._table())
        percentiles = (f"P{p} {100 * getattr(self.scores['full'], f'p{p}'):.2f}" for p in (90, 95, 99))
        console.print(f"NME of full [%]: {', '.join(percentiles)}", markup=False)
        console.print(f"worst landmarks [%]: {', '.join(self._worst_landmarks())}", markup=False)
        for sentence in self.confidence.sentences() if self.confidence else ():
            console.print(sentence, markup=False)
        for sentence in self.failed_checks:
            console.print(f"CHECK FAILED: {sentence}", style="bold red", markup=False)

    def _table(self) -> Table:
        """Scores in percent, each with its 95 % interval."""
        limit = f"{100 * self.predictions.protocol.threshold:g}"
        table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
        table.add_column("[%]")
        for heading in ("faces", "NME, 95 %", f"FR@{limit}, 95 %", f"AUC@{limit}, 95 %"):
            table.add_column(heading, justify="right")
        for name, score in self.scores.items():
            cells = (
                _percent(score.nme, score.nme_interval),
                _percent(score.fr, score.fr_interval),
                _percent(score.auc, score.auc_interval),
            )
            table.add_row(escape(name), str(score.faces), *cells)
        return table

    def _worst_landmarks(self) -> list[str]:
        """The landmarks that are found worst, with a contour that each lies on."""
        order = np.argsort(-np.nan_to_num(self.landmark_errors, nan=-1.0))[:WORST_LANDMARKS]
        return [f"{k} {_contour_of(k, self.predictions)}{100 * self.landmark_errors[k]:.2f}" for k in order]


def _percent(value: float, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return f"{100 * value:.2f} few photos"
    return f"{100 * value:.2f} {100 * interval[0]:.2f}-{100 * interval[1]:.2f}"


def _contour_of(landmark: int, predictions: Predictions) -> str:
    names = [name for name, contour in predictions.schema.contours.items() if landmark in contour.indices]
    return f"({names[0]}) " if names else ""
