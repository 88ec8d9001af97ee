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
from rich.table import Table

from wingmark.evaluation.differences import SCORES, Row, rows_of
from wingmark.evaluation.methods import Method, Run, gather, known_by_any, paired
from wingmark.files import whole_file
from wingmark.protocol import Protocol
from wingmark.schema import LandmarkSchema

FAR = 1e4  # percent: right of every picture


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
        return f"one seed of {', '.join(single)}: noise of training taken from the other methods" if single else ""

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

    def _table_of_scores(self) -> Table:
        """Scores of all faces in percent, each with its 95 % interval."""
        headings = (heading for score in SCORES for heading in (self._heading(score), "95 %"))
        table = _table("[%]", "seeds", *headings)
        for position, method in enumerate(self.methods):
            rows = [row for row in self.rows if (row.method, row.subset) == (method.name, "full")]
            cells = [
                cell
                for row in rows
                for cell in (f"{100 * row.value:.2f}", "{:.2f}-{:.2f}".format(*(100 * end for end in row.interval)))
            ]
            table.add_row(_letter(position), str(len(method.seeds)), *cells)
        return table

    def _table_of_differences(self, position: int) -> Table:
        """Differences of one method to the first in percent points, by subset and score."""
        letter = _letter(position)
        table = _table("[%]", "", "A", letter, f"{letter} - A", "95 %", f"{letter} is")
        first, own = ([row for row in self.rows if row.method == self.methods[i].name] for i in (0, position))
        for a, b in zip(first, own, strict=True):
            table.add_row(
                b.subset if b.score == SCORES[0] else "",
                self._heading(b.score),
                f"{100 * a.value:.2f}",
                f"{100 * b.value:.2f}",
                f"{100 * b.difference:+.2f}",
                "{:+.2f} to {:+.2f}".format(*(100 * end for end in b.difference_interval)),
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
        }
        with whole_file(folder / "comparison.json") as path:
            path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
        with whole_file(folder / "comparison.csv") as path, open(path, "w", newline="") as file:
            table = csv.writer(file)
            ends = ("difference", "difference_low", "difference_high", "verdict")
            table.writerow(["method", "subset", "score", "value", "low", "high", *ends])
            for row in self.rows:
                own, other = row.interval, row.difference_interval or (None, None)
                table.writerow(
                    [row.method, row.subset, row.score, row.value, *own, row.difference, *other, row.verdict]
                )
        self._draw_ced(folder / "ced.png")

    def _draw_ced(self, path: Path) -> None:
        """The mean CED of each method, and thinner those of its seeds."""
        figure = Figure(figsize=(6, 4.2), dpi=120, layout="constrained")
        axes = figure.subplots()
        for position, method in enumerate(self.methods):
            color, count = f"C{position}", len(method.seeds)
            label = f"{method.name}, mean of {count} seeds" if count > 1 else method.name
            axes.step(*_ced(method.nme.ravel()), where="post", color=color, label=textwrap.fill(label, 40))
            for nme in method.nme if count > 1 else ():
                axes.step(*_ced(nme), where="post", color=color, linewidth=0.7, alpha=0.5)
        axes.set(xlim=(0, 100 * self.protocol.threshold), ylim=(0, 100), xlabel="NME [%]", ylabel="faces [%]")
        axes.set_title(f"{self.protocol.label}, {len(self.id)} faces")
        axes.grid(alpha=0.3)
        axes.legend(loc="best", fontsize=8)
        with whole_file(path) as temporary:
            figure.savefig(temporary)


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


def _ced(nme: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the step function: NME and the share of faces up to it, both in percent."""
    return np.array([0, *np.sort(100 * nme), FAR]), np.array([*np.linspace(0, 100, len(nme) + 1), 100])
