"""Measure how much the scores of a run depend on the face box, on its test faces.

NME and FR are given for crops that are shifted, scaled or turned by 5 to 30 %, and for crops made from the other boxes
of the faces. 30 % are 30 % of the box's longer side (shift), 1.3 times as large or as small (scale), and 27 degrees,
30 % of a quarter turn (rotation). Relative paths in the run's config count from the current folder.
"""

import argparse
import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import wingmark.run
from wingmark.evaluation.robustness import SEED, THIRTY_PERCENT, Robustness, draw, measure
from wingmark.files import whole_file
from wingmark.foreign import read_checkpoint
from wingmark.training import quiet_libraries


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="folder made by `wingmark fit`")


def run(arguments: argparse.Namespace) -> Robustness:
    """Print the table and write robustness.json, robustness.csv and pictures/robustness.png into the run."""
    quiet_libraries()
    folder = arguments.run
    data = wingmark.run.load_data(folder)
    model = wingmark.run.load(folder)
    # As `wingmark test --run` would: on the run's accelerator, with its precision.
    settings = wingmark.run.settings_of(folder)["trainer"]
    trainer = Trainer(
        accelerator=settings["accelerator"],
        precision=settings["precision"],
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    checkpoint = read_checkpoint(folder / "checkpoints" / "best.ckpt")
    data.refuse_seen(checkpoint["LandmarkDataModule"], "test")
    found = measure(model, data, trainer)
    draw(folder / "pictures" / "robustness.png", found)
    _write(folder, found)
    _print(found)
    print(f"{folder}: robustness.json, robustness.csv, pictures/robustness.png")
    return found


def _write(folder: Path, found: Robustness) -> None:
    rows = [{**asdict(crop), **asdict(scores)} for crop, scores in zip(found.crops, found.scores, strict=True)]
    content = {
        "checkpoint": str(folder / "checkpoints" / "best.ckpt"),
        "protocol": found.protocol.to_dict(),
        "protocol_digest": found.protocol.digest,
        "faces": len(found.nme),
        "seed": SEED,
        "crops": rows,
        "left_out": found.left_out,
        "failed_checks": found.failed_checks,
    }
    with whole_file(folder / "robustness.json") as path:
        path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    flat = [{**_flat(row), "protocol": found.protocol.label} for row in rows]
    with whole_file(folder / "robustness.csv") as path, open(path, "w", newline="") as file:
        table = csv.DictWriter(file, flat[0])
        table.writeheader()
        table.writerows(flat)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Intervals as two columns, `_low` and `_high`."""
    cells: dict[str, Any] = {}
    for key, value in row.items():
        name = key.removesuffix("_interval")
        cells |= {f"{name}_low": value[0], f"{name}_high": value[1]} if name != key else {key: value}
    return cells


def _print(found: Robustness) -> None:
    console = Console(highlight=False)
    console.print(f"robustness on {len(found.nme)} faces, protocol {found.protocol.label}", markup=False)
    console.print(_table(found))
    protocol = found.protocol
    console.print(f"protocol's crop: {protocol.crop_rule}, the margin of all boxes", markup=False)
    console.print(f"30 %: {', '.join(' '.join(item) for item in THIRTY_PERCENT.items())}", markup=False)
    for sentence in found.left_out:
        console.print(sentence, markup=False)
    for sentence in found.failed_checks:
        console.print(f"CHECK FAILED: {sentence}", style="bold red", markup=False)


def _table(found: Robustness) -> Table:
    """Scores in percent, the change of the NME and FR with their 95 % intervals."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("[%]")
    for heading in ("level", "NME", "change", "95 %", f"FR@{100 * found.protocol.threshold:g}", "95 %"):
        table.add_column(heading, justify="right")
    for crop, score in zip(found.crops, found.scores, strict=True):
        own = crop == found.crops[0]
        name = f"box {crop.box}" if crop.jitter == "none" else crop.jitter
        low, high = (f"{100 * end:+.2f}" for end in score.difference_interval)
        table.add_row(
            "protocol's crop" if own else name,
            f"{100 * crop.level:g}",
            f"{100 * score.nme:.2f}",
            "" if own else f"{100 * score.difference:+.2f}",
            "" if own else f"{low} to {high}",
            f"{100 * score.fr:.2f}",
            "-".join(f"{100 * end:.2f}" for end in score.fr_interval),
        )
    return table
