"""See what is in a data set and what is wrong with it: a table, pictures of its labels, and a check of all of them.

Give a recipe with --config and any setting after it, as for `wingmark fit`, or just a source:
--data.source configs/sources/wflw.yaml --data.source.init_args.root PATH. Every image is decoded, by
data.num_workers processes. Splits are those of the source, before data.holdout cuts any.
"""

import argparse
import csv
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import wingmark.run
from wingmark.data import LandmarkDataModule
from wingmark.data.sources.source import SPLITS, Source
from wingmark.evaluation.contact_sheet import draw_faces, draw_findings, draw_mean_shape
from wingmark.evaluation.inspection import FEW_FACES, Finding, inspect, often_coincident
from wingmark.evaluation.labels import Labels
from wingmark.files import whole_file

# What shows a whole face, for any schema: five landmarks span little of it.
TIGHT = {"name": "inspect/box-size/v1", "box": "tight", "margin": 1.6, "normalizer": "box_size"}
HIDDEN = {"unreadable image", "no extent", "no box"}  # findings for which a face cannot be drawn


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        f"{parser.prog} [-h] --config RECIPE [any setting of fit] [--output FOLDER] [--strict] [--faces COUNT]"
    )
    parser.set_defaults(settings=[])
    parser.add_argument("--output", type=Path, default=Path("inspect"), metavar="FOLDER", help="default: inspect")
    parser.add_argument("--strict", action="store_true", help="exit status 1 where there are findings not known before")
    parser.add_argument("--faces", type=int, default=48, metavar="COUNT", help="in each picture; default: 48")


def run(arguments: argparse.Namespace) -> list[Finding]:
    """Print the tables and write findings.csv and the pictures."""
    if arguments.faces < 1:
        raise ValueError(f"--faces is how many faces a picture shows, 1 or more, got {arguments.faces}")
    settings = wingmark.run.resolve(["fit", *arguments.settings])
    if settings["data"]["source"] is None:
        raise ValueError("inspect needs faces: give --config RECIPE as for `wingmark fit`, or --data.source FILE")
    settings["data"]["protocol"] = settings["data"]["protocol"] or TIGHT
    data = wingmark.run.build_data(settings)
    labels, findings = inspect(data.source, data.protocol.box, data.num_workers, data.boxes)
    _write(arguments.output / "findings.csv", findings)
    pictures = _draw(arguments.output, data, labels, findings, arguments.faces)
    console = Console(highlight=False)
    console.print(_contents(labels, data.source))
    console.print(_summary(findings))
    for sentence in _remarks(labels):
        console.print(sentence, markup=False)
    console.print(f"{arguments.output}: findings.csv, {', '.join(pictures)}", markup=False)
    new = [finding for finding in findings if not finding.known]
    if arguments.strict and new:
        findings_csv = arguments.output / "findings.csv"
        sys.exit(f"wingmark: findings that were not known before: {len(new)}, see {findings_csv}")
    return findings


def _write(path: Path, findings: list[Finding]) -> None:
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(Finding._fields)
        table.writerows(findings)


def _draw(folder: Path, data: LandmarkDataModule, labels: Labels, findings: list[Finding], count: int) -> list[str]:
    """The names of the pictures, of those faces that can be drawn."""
    hidden = {(finding.split, finding.face) for finding in findings if finding.kind in HIDDEN}
    drawable = {
        (split, face.id): face
        for split, face in zip(labels.splits, labels.faces, strict=True)
        if (split, face.id) not in hidden
    }
    sheets = {f"faces_{split}.png": [face for (of, _), face in drawable.items() if of == split] for split in SPLITS}
    by_kind = defaultdict(list)
    for finding in findings:
        if (finding.split, finding.face) in drawable:
            by_kind[finding.kind].append(drawable[finding.split, finding.face])
    for name in (*sheets, "findings.png"):
        (folder / name).unlink(missing_ok=True)  # of an earlier inspection
    for name, faces in sheets.items():
        if faces:
            chosen = np.random.default_rng(0).permutation(len(faces))[:count]
            draw_faces(folder / name, [faces[i] for i in chosen], data.source, data.protocol)
    if by_kind:
        draw_findings(folder / "findings.png", by_kind, data.source, data.protocol)
    draw_mean_shape(folder / "mean_shape.png", labels.shapes, labels.schema)
    return sorted(path.name for path in folder.glob("[!.]*.png"))


def _contents(labels: Labels, source: Source) -> Table:
    """What each split holds."""
    splits = [split for split in SPLITS if split in labels.splits or split in source.published_counts]
    columns = {split: _describe(labels, source, split) for split in splits}
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(f"{type(source).__name__}, {labels.schema.name}")
    for split in splits:
        table.add_column(split, justify="right")
    for name in dict.fromkeys(name for column in columns.values() for name in column):
        table.add_row(escape(name), *(column.get(name, "") for column in columns.values()))
    return table


def _describe(labels: Labels, source: Source, split: str) -> dict[str, str]:
    rows = np.flatnonzero(np.array(labels.splits) == split)
    faces = [labels.faces[row] for row in rows]
    content = {"faces": f"{len(rows):,}"}
    if source.published_counts:
        content["  published"] = f"{source.published_counts.get(split, 0):,}"
    if not faces:
        return content
    sizes = np.array(list({labels.images[row].digest: labels.images[row][:2] for row in rows}.values()))
    valid, occluded = (np.stack([getattr(face, name) for face in faces]) for name in ("valid", "occluded"))
    content |= {
        "groups (photos, or persons)": f"{len({face.group for face in faces}):,}",
        "image width (min, median, max) [px]": _quantiles(sizes[:, 0], (0, 0.5, 1)),
        "image height": _quantiles(sizes[:, 1], (0, 0.5, 1)),
        "face side (5 %, median, 95 %) [px]": _quantiles(labels.tight_sides[rows].max(1), (0.05, 0.5, 0.95)),
        "eye distance": _quantiles(labels.eye_distances[rows], (0.05, 0.5, 0.95)),
        "landmarks occluded": f"{100 * occluded.mean():.1f} %",
        "landmarks not valid": f"{100 * (1 - valid.mean()):.1f} %",
    }
    tags = Counter(tag for face in faces for tag in face.tags)
    return content | {f"tag {tag}": f"{count:,}" for tag, count in sorted(tags.items())}


def _quantiles(values: np.ndarray, shares: tuple[float, ...]) -> str:
    known = values[np.isfinite(values)]
    return " ".join(f"{value:.0f}" for value in np.quantile(known, shares)) if len(known) else ""


def _summary(findings: list[Finding]) -> Table:
    """How many findings of each kind, and the first of them."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("finding")
    table.add_column("faces", justify="right")
    table.add_column("known", justify="right")
    table.add_column("first", overflow="fold")
    for kind in dict.fromkeys(finding.kind for finding in findings):
        found = [finding for finding in findings if finding.kind == kind]
        known = sum(bool(finding.known) for finding in found)
        first = ": ".join(part for part in (found[0].face, found[0].value) if part)
        table.add_row(kind, f"{len(found):,}", f"{known:,}" if known else "", escape(first))
    if not findings:
        table.add_row("none", "", "", "")
    return table


def _remarks(labels: Labels) -> Iterator[str]:
    """What the tables do not tell."""
    shapes = labels.shapes
    if len(shapes.rows) < FEW_FACES:
        yield f"unusual shapes were not looked for: that takes {FEW_FACES} faces or more"
    else:
        gap = np.nanmax(np.linalg.norm(shapes.mean - shapes.mirrored(labels.schema.flip), axis=1))
        yield f"mean shape and its mirror image, renamed, lie up to {100 * gap:.1f} % of the face apart"
    often = often_coincident(labels)
    if often:
        pairs = ", ".join(f"{i}={j} ({100 * share:.0f} %)" for (i, j), share in list(often.items())[:6])
        yield f"{len(often)} pairs of landmarks often coincide, which is no finding: {pairs}"
