"""What `test` leaves in the run folder and prints: scores, tables, pictures."""

import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from wingmark.data.dataset import FaceDataset
from wingmark.evaluation.pictures import draw_ced, draw_sheet
from wingmark.evaluation.predictions import Predictions
from wingmark.files import whole_file
from wingmark.metrics import functional
from wingmark.protocol import Protocol
from wingmark.types import Face


@dataclass(frozen=True)
class Scores:
    """Scores of a set of faces, as fractions; FR and AUC at the protocol's threshold."""

    faces: int
    nme: float
    fr: float
    auc: float

    @classmethod
    def of(cls, nme: np.ndarray, threshold: float) -> "Scores":
        """From the NME of every face (N,)."""
        nmes = torch.from_numpy(nme)
        fr, auc = functional.failure_rate(nmes, threshold), functional.auc(nmes, threshold)
        return cls(len(nme), functional.nme(nmes).item(), fr.item(), auc.item())


def write_report(
    folder: Path, dataset: FaceDataset, index: np.ndarray, predictions: Predictions, about: dict
) -> dict[str, Scores]:
    """Write predictions.npz, faces.csv, metrics.json and pictures/ into `folder`; return the scores by subset.

    index (N,): the faces of the data set that were predicted. about: what stands in metrics.json beside the scores.
    """
    faces, protocol = [dataset.faces[i] for i in index], dataset.protocol
    errors = predictions.errors()
    nme = np.nanmean(errors, axis=1)
    subsets = {"all": np.ones(len(faces), bool)}
    for tag in sorted(set().union(*(face.tags for face in faces))):
        subsets[tag] = np.array([tag in face.tags for face in faces])
    scores = {name: Scores.of(nme[members], protocol.threshold) for name, members in subsets.items()}

    predictions.save(folder / "predictions.npz")
    _write_faces(folder / "faces.csv", faces, errors, nme)
    draw_ced(folder / "pictures" / "ced.png", {"all": nme}, protocol)
    draw_sheet(folder / "pictures" / "faces.jpg", dataset, index, predictions, nme)
    with whole_file(folder / "metrics.json") as path:
        content = {**about, "scores": {name: asdict(score) for name, score in scores.items()}}
        path.write_text(json.dumps(content, indent=2) + "\n")
    return scores


def _write_faces(path: Path, faces: list[Face], errors: np.ndarray, nme: np.ndarray) -> None:
    with whole_file(path) as temporary, open(temporary, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "group", "tags", "nme", "worst_landmark", "worst_error"])
        for face, error, mean in zip(faces, errors, nme, strict=True):
            worst = int(np.nanargmax(error))
            row = [face.id, face.group, ";".join(sorted(face.tags)), f"{mean:.6f}", worst, f"{error[worst]:.6f}"]
            table.writerow(row)


def print_report(folder: Path, protocol: Protocol, scores: dict[str, Scores]) -> None:
    """Print the table of scores and where to look for more."""
    limit = f"{100 * protocol.threshold:g}"
    table = Table(title=f"test, {protocol.name}, box {protocol.box} x {protocol.margin:g}", title_justify="left")
    table.add_column("subset")
    for heading in ("faces", "NME [%]", f"FR@{limit} [%]", f"AUC@{limit} [%]"):
        table.add_column(heading, justify="right")
    for name, score in scores.items():
        numbers = (100 * score.nme, 100 * score.fr, 100 * score.auc)
        table.add_row(name, str(score.faces), *(f"{number:.2f}" for number in numbers))
    console = Console()
    console.print(table)
    console.print(f"{folder}: metrics.json, faces.csv, predictions.npz, pictures/ced.png, pictures/faces.jpg")
