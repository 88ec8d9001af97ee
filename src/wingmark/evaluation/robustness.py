"""How much a score depends on the face box: the same faces, cut in other ways, by the same model.

The crop strays from the protocol's by known amounts, one kind at a time (all are shares, 0.3 is 30 %):

    shift     its center moves by this share of the box's longer side, in any direction
    scale     its side is multiplied by 1 + share, or divided by it
    rotation  it is turned by this share of a quarter turn (30 % are 27 degrees), either way

or is made from another of the face's boxes, with the protocol's margin. Boxes from different origins differ in
size, so the margin leaves more or less around the face: that is part of what is measured. Errors are divided by the
protocol's normalizer throughout.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from pytorch_lightning import LightningModule, Trainer
from torch.utils.data import DataLoader, Dataset

from wingmark.data import LandmarkDataModule
from wingmark.data.dataset import FaceDataset
from wingmark.data.regions import Regions
from wingmark.data.sources.source import Source
from wingmark.evaluation.intervals import bootstrap_means, percentile_interval, wilson_interval
from wingmark.evaluation.predictions import Predictions
from wingmark.evaluation.scores import failed_counts
from wingmark.files import whole_file
from wingmark.progress import progress
from wingmark.protocol import Protocol
from wingmark.transforms import GeometryJitter
from wingmark.types import Batch, Box, Face

JITTERS = ("shift", "scale", "rotation")
LEVELS = (0.05, 0.1, 0.2, 0.3)
QUARTER_TURN = 90.0
THIRTY_PERCENT = {"shift": "0.3 box sides", "scale": "x 1.3 or / 1.3", "rotation": "27 degrees"}
SEED = 0  # the same for all runs: every model meets the same crops


class ExactJitter(GeometryJitter):
    """Strays by exactly `rotation` degrees, `scale` and `shift`; only the side is drawn from the face's generator.

    A face goes to the same side whatever the amounts, so the points of a curve are paired.
    """

    def sample(self, random: np.random.Generator) -> dict:
        angle = random.uniform(0, 2 * np.pi)
        larger, clockwise = random.random(2) < 0.5
        return {
            "rotation": self.rotation if clockwise else -self.rotation,
            "scale": 1 + self.scale if larger else 1 / (1 + self.scale),
            "shift": (self.shift * np.cos(angle), self.shift * np.sin(angle)),
        }


@dataclass(frozen=True)
class Crop:
    """One way to cut every face: around which of its boxes, and how far from there."""

    box: str
    jitter: Literal["none", "shift", "scale", "rotation"] = "none"
    level: float = 0.0

    def geometry(self, margin: float) -> ExactJitter | None:
        """What the level means for the crop, whose side is `margin` times that of the box."""
        amount = {"shift": self.level / margin, "scale": self.level, "rotation": self.level * QUARTER_TURN}
        return None if self.jitter == "none" else ExactJitter(**{self.jitter: amount[self.jitter]})


def crops_of(faces: list[Face], protocol: Protocol) -> tuple[list[Crop], list[str]]:
    """The protocol's own crop, those that stray from it, and one for each further box that all faces have.

    The second list says in sentences which boxes were left out.
    """
    crops = [Crop(protocol.box)]
    crops += [Crop(protocol.box, jitter, level) for jitter in JITTERS for level in LEVELS]
    left_out = []
    for box in sorted({"tight"}.union(*(face.boxes for face in faces)) - {protocol.box}):
        lacking = [face.id for face in faces if box != "tight" and not _has_area(face.boxes.get(box))]
        if lacking:
            left_out.append(
                f"box {box} is left out: {len(lacking)} of {len(faces)} faces lack it or its area, such as {lacking[0]}"
            )
        else:
            crops.append(Crop(box))
    return crops, left_out


def _has_area(box: Box | None) -> bool:
    return box is not None and box.width > 0 and box.height > 0


class _LastImage:
    """In place of a source: keeps the images of the last face, so that all its crops of a size cost one decoding."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.face: Face | None = None

    def read_image(self, face: Face, reduce: int) -> np.ndarray:
        if face is not self.face:
            self.face, self.images = face, {}
        if reduce not in self.images:
            self.images[reduce] = self.source.read_image(face, reduce)
        return self.images[reduce]


class FaceCrops(Dataset):
    """Items are batches: the crops of one face, in the order of `crops`."""

    def __init__(self, data: LandmarkDataModule, faces: list[Face], crops: list[Crop]) -> None:
        source = _LastImage(data.source)
        self.datasets = []
        for crop in crops:
            geometry = crop.geometry(data.protocol.margin * data.context)
            protocol = replace(data.protocol, box=crop.box)
            reach = geometry.reach if geometry else 1.0
            regions = Regions(source, faces, protocol, data.crop_size, reach, data.context)
            self.datasets.append(FaceDataset(regions, data.schema, seed=SEED, geometry=geometry))

    def __len__(self) -> int:
        return len(self.datasets[0])

    def __getitem__(self, index: int) -> Batch:
        return Batch(*map(torch.stack, zip(*(dataset[index] for dataset in self.datasets), strict=True)))


@dataclass(frozen=True)
class CropScores:
    """Scores of a crop as fractions, with 95 % intervals; `difference` is its NME less that of the protocol's crop."""

    nme: float
    nme_interval: tuple[float, float]
    difference: float
    difference_interval: tuple[float, float]
    fr: float
    fr_interval: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Robustness:
    """NME of every face in every crop, (N, C); the first crop is the protocol's own.

    left_out: the boxes that were not tried, and why; failed_checks: as in the report of a test.
    """

    protocol: Protocol
    crops: list[Crop]
    left_out: list[str]
    failed_checks: list[str]
    nme: np.ndarray
    group: np.ndarray  # (N,)

    @cached_property
    def scores(self) -> list[CropScores]:
        """One for each crop. Intervals of differences are paired: the same faces are drawn for both crops."""
        draws, failed = bootstrap_means(self.nme, self.group), self.nme > self.protocol.threshold
        return [
            CropScores(
                nme=float(self.nme[:, c].mean()),
                nme_interval=percentile_interval(draws[:, c]),
                difference=float((self.nme[:, c] - self.nme[:, 0]).mean()),
                difference_interval=percentile_interval(draws[:, c] - draws[:, 0]),
                fr=float(failed[:, c].mean()),
                fr_interval=wilson_interval(int(failed[:, c].sum()), len(failed)),
            )
            for c in range(len(self.crops))
        ]


def measure(model: LightningModule, data: LandmarkDataModule, trainer: Trainer) -> Robustness:
    """Find the landmarks of every test face in every crop. One process."""
    faces, protocol = data.faces("test"), data.protocol
    crops, left_out = crops_of(faces, protocol)
    loader: Any = DataLoader(FaceCrops(data, faces, crops), batch_size=None, num_workers=data.num_workers)
    found = trainer.predict(model, progress(loader, f"Cutting every face in {len(crops)} ways", len(faces)))
    landmarks_image = torch.stack([prediction.landmarks_image for prediction in found]).cpu().numpy()  # (N, C, K, 2)
    by_crop = [
        Predictions.of_faces(faces, data.schema, protocol, landmarks_image[:, c], None) for c in range(len(crops))
    ]
    nme = np.column_stack([predictions.nme() for predictions in by_crop])
    counts = {name: int(members.sum()) for name, members in by_crop[0].subsets().items()}
    failed_checks = failed_counts(counts, protocol)
    return Robustness(protocol, crops, left_out, failed_checks, nme, by_crop[0].group)


def draw(path: Path, found: Robustness) -> None:
    """NME and FR over the level of each jitter, and what each box changes, with 95 % intervals."""
    several_boxes = any(crop.box != found.protocol.box for crop in found.crops)
    widths = (3, 3, 2) if several_boxes else (3, 3)
    figure = Figure(figsize=(1.5 * sum(widths), 4.2), dpi=120, layout="constrained")
    nme_axes, fr_axes, *box_axes = figure.subplots(1, len(widths), width_ratios=widths)
    for jitter in JITTERS:
        chosen = [c for c, crop in enumerate(found.crops) if c == 0 or crop.jitter == jitter]
        levels = [100 * found.crops[c].level for c in chosen]
        for axes, score in ((nme_axes, "nme"), (fr_axes, "fr")):
            values, intervals = _percent(found, chosen, score)
            axes.plot(levels, values, marker="o", markersize=4, label=f"{jitter} (30 % = {THIRTY_PERCENT[jitter]})")
            axes.fill_between(levels, *intervals, alpha=0.2, linewidth=0)
    # A strong shift would flatten all else on a linear axis.
    nme_axes.set(xlabel="level [%]", ylabel="NME [%], logarithmic", yscale="log")
    nme_axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    nme_axes.yaxis.set_major_formatter("{x:g}")
    nme_axes.yaxis.set_minor_locator(NullLocator())
    nme_axes.legend(loc="upper left", fontsize=8)
    fr_axes.set(xlabel="level [%]", ylabel=f"FR@{100 * found.protocol.threshold:g} [%]", ylim=(0, None))
    for axes in box_axes:
        _draw_boxes(axes, found)
    for axes in (nme_axes, fr_axes, *box_axes):
        axes.grid(alpha=0.3)
    protocol = found.protocol
    crop = protocol.crop_rule
    figure.suptitle(f"robustness against the face box: {protocol.label}, {crop}, {len(found.nme)} faces", fontsize=10)
    with whole_file(path) as temporary:
        figure.savefig(temporary)


def _draw_boxes(axes: Axes, found: Robustness) -> None:
    """Changes, not NMEs: they are paired, so their intervals tell boxes apart that overlap in the NME."""
    chosen = [c for c, crop in enumerate(found.crops) if crop.jitter == "none"]
    changes, intervals = _percent(found, chosen, "difference")
    axes.axhline(0, color="0.5", linestyle="--", linewidth=1)
    axes.errorbar(range(len(chosen)), changes, np.abs(intervals - changes), fmt="o", capsize=4, color="0.2")
    names = [
        f"{found.crops[c].box}\nNME {100 * found.scores[c].nme:.2f}\nFR {100 * found.scores[c].fr:.2f}" for c in chosen
    ]
    names[0] += "\n(protocol)"
    axes.set_xticks(range(len(chosen)), names, fontsize=8)
    axes.set(ylabel="change of the NME [percentage points]", xlim=(-0.5, len(chosen) - 0.5))


def _percent(found: Robustness, chosen: list[int], score: str) -> tuple[np.ndarray, np.ndarray]:
    """A score of some crops (C,) and its intervals (2, C), in percent."""
    scores = [found.scores[c] for c in chosen]
    values, intervals = ([getattr(one, name) for one in scores] for name in (score, f"{score}_interval"))
    return 100 * np.array(values), 100 * np.array(intervals).T
