"""Comparing methods that were tested on the same faces: tables, files and a picture of who is better."""

import csv
import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wingmark.evaluation.differences import SCORES, Row, rows_of
from wingmark.evaluation.methods import Method, Run, gather, known_by_any, paired
from wingmark.evaluation.plots import ced_steps
from wingmark.evaluation.scores import failed_counts
from wingmark.files import whole_file
from wingmark.protocol import Protocol
from wingmark.schema import LandmarkSchema


@dataclass(frozen=True, eq=False)
class Comparison:
    """Methods tested on the same N faces by the same protocol; the first is what the others are compared with.

    subsets: which faces (N,) belong to `full` and to every tag. rows: method by method, subset by subset.
    """

    protocol: Protocol
    id: np.ndarray
    group: np.ndarray
    subsets: dict[str, np.ndarray]
    methods: list[Method]
    rows: list[Row]

    @classmethod
    def of(
        cls, runs: Sequence[str | Path], protocol: Protocol | None = None, schema: LandmarkSchema | None = None
    ) -> "Comparison":
        """Compare run folders after `wingmark test`, or files of predictions; without a protocol the files' own counts.

        Raises FileNotFoundError, and ValueError where runs were not tested alike: see `methods.paired`.
        """
        if len(runs) < 2:
            raise ValueError(f"compare needs at least two runs, got {len(runs)}: wingmark compare RUN RUN ...")
        first, *others = [Run.read(Path(run), protocol, schema) for run in runs]
        read = [first, *(paired(first, other) for other in others)]
        group = known_by_any(read, "group", first.predictions.id)
        tags = known_by_any(read, "tags", np.full(len(group), ""))
        subsets = replace(first.predictions, tags=tags).subsets()
        protocol, methods = first.predictions.protocol, gather(read)
        rows = [
            row
            for position in range(len(methods))
            for subset, members in subsets.items()
            for row in rows_of(methods, position, subset, members, group, protocol.threshold)
        ]
        return cls(protocol, first.predictions.id, group, subsets, methods, rows)

    @property
    def note(self) -> str:
        """What the intervals know of the noise of training; empty where every method has several seeds."""
        single = [method.name for method in self.methods if len(method.seeds) == 1]
        if len(single) == len(self.methods):
            return "one seed each: noise of training is not included"
        if single:
            return f"one seed of {', '.join(single)}: noise of training is taken from the other method"
        return ""

    @property
    def failed_checks(self) -> list[str]:
        """What is wrong with the faces that were compared, in sentences."""
        return failed_counts({name: int(members.sum()) for name, members in self.subsets.items()}, self.protocol)

    def print(self) -> None:
        """The methods and their scores, and a table of differences for each but the first; letters stand for names."""
        console = Console(highlight=False)
        console.print(f"compare, protocol {self.protocol.label}", markup=False)
        console.print(f"{len(self.id)} faces in {len(np.unique(self.group))} groups", markup=False)
        for position, method in enumerate(self.methods):
            console.print(f"{_letter(position)} = {method.name}{_seeds(method)}", markup=False)
        console.print(self._table_of_scores())
        for position in range(1, len(self.methods)):
            console.print(f"{_letter(position)} against A")
            console.print(self._table_of_differences(position))
        if self.note:
            console.print(self.note, markup=False)
        for sentence in self.failed_checks:
            console.print(f"CHECK FAILED: {sentence}", style="bold red", markup=False)

    def _table_of_scores(self) -> Table:
        """Scores of all faces in percent, each with its 95 % interval."""
        headings = (heading for score in SCORES for heading in (self._heading(score), "95 %"))
        table = _table("[%]", "seeds", *headings)
        for position, method in enumerate(self.methods):
            rows = [row for row in self.rows if (row.method, row.subset) == (method.name, "full")]
            cells = [cell for row in rows for cell in (f"{100 * row.value:.2f}", _ends("{:.2f}-{:.2f}", row.interval))]
            table.add_row(_letter(position), str(len(method.seeds)), *cells)
        return table

    def _table_of_differences(self, position: int) -> Table:
        """Differences of one method to the first in percent points, by subset and score."""
        letter = _letter(position)
        table = _table("[%]", "", "A", letter, f"{letter} - A", "95 %", f"{letter} is")
        first, own = ([row for row in self.rows if row.method == self.methods[i].name] for i in (0, position))
        for a, b in zip(first, own, strict=True):
            table.add_row(
                escape(b.subset) if b.score == SCORES[0] else "",
                self._heading(b.score),
                f"{100 * a.value:.2f}",
                f"{100 * b.value:.2f}",
                f"{100 * b.difference:+.2f}",
                _ends("{:+.2f} to {:+.2f}", b.difference_interval),
                b.verdict,
            )
        return table

    def _heading(self, score: str) -> str:
        return "NME" if score == "nme" else f"{score.upper()}@{100 * self.protocol.threshold:g}"

    def write(self, folder: Path) -> None:
        """Write comparison.json (everything), comparison.csv (the rows, as fractions) and ced.png."""
        content = {
            "protocol": self.protocol.to_dict(),
            "protocol_digest": self.protocol.digest,
            "subsets": {
                name: {"faces": int(members.sum()), "groups": len(np.unique(self.group[members]))}
                for name, members in self.subsets.items()
            },
            "methods": [{"name": method.name, "runs": method.runs, "seeds": method.seeds} for method in self.methods],
            "rows": [asdict(row) for row in self.rows],
            "note": self.note,
            "failed_checks": self.failed_checks,
        }
        with whole_file(folder / "comparison.json") as path:
            path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
        with whole_file(folder / "comparison.csv") as path, open(path, "w", newline="") as file:
            table = csv.writer(file)
            ends = ("difference", "difference_low", "difference_high", "verdict")
            table.writerow(["method", "subset", "score", "value", "low", "high", *ends, "protocol"])
            for row in self.rows:
                own, other = (ends or (None, None) for ends in (row.interval, row.difference_interval))
                difference = (row.difference, *other, row.verdict)
                table.writerow([row.method, row.subset, row.score, row.value, *own, *difference, self.protocol.label])
        self._draw_ced(folder / "ced.png")

    def _draw_ced(self, path: Path) -> None:
        """The mean CED of each method, and thinner those of its seeds."""
        figure = Figure(figsize=(6, 4.2), dpi=120, layout="constrained")
        axes = figure.subplots()
        for position, method in enumerate(self.methods):
            color, count = f"C{position}", len(method.seeds)
            label = f"{method.name}, mean of {count} seeds" if count > 1 else method.name
            axes.step(*ced_steps(method.nme.ravel()), where="post", color=color, label=textwrap.fill(label, 40))
            for nme in method.nme if count > 1 else ():
                axes.step(*ced_steps(nme), where="post", color=color, linewidth=0.7, alpha=0.5)
        axes.set(xlim=(0, 100 * self.protocol.threshold), ylim=(0, 100), xlabel="NME [%]", ylabel="faces [%]")
        axes.set_title(f"{self.protocol.label}, {len(self.id)} faces")
        axes.grid(alpha=0.3)
        axes.legend(loc="best", fontsize=8)
        with whole_file(path) as temporary:
            figure.savefig(temporary)


def _ends(form: str, interval: tuple[float, float] | None) -> str:
    return form.format(*(100 * end for end in interval)) if interval else "few photos"


def _letter(position: int) -> str:
    return chr(ord("A") + position)


def _seeds(method: Method) -> str:
    if method.seeds == [None]:
        return ""
    return f" (seed{'s' * (len(method.seeds) > 1)} {', '.join(map(str, method.seeds))})"


def _table(*headings: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(headings[0], overflow="fold")
    for heading in headings[1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
