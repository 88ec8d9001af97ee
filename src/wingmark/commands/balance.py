"""See what repeating faces of rare poses (data.balancing) does to the training faces of a recipe, before training.

Give the recipe with --config and any setting after it, as for `wingmark fit`. The picture shows the poses before and
after, the shapes along the component taken for the pose, and those along the first components: if the chosen one
does not turn the face, set --data.balancing.axis to one that does. Nothing is trained; no image is read.
"""

import argparse
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import wingmark.run
from wingmark.data import PoseBalancing
from wingmark.data.balancing import Poses
from wingmark.evaluation.poses import draw


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"{parser.prog} [-h] --config RECIPE [any setting of fit] [--output FOLDER]"
    parser.set_defaults(settings=[])
    parser.add_argument("--output", type=Path, default=Path("balance"), metavar="FOLDER", help="default: balance")


def run(arguments: argparse.Namespace) -> Poses:
    """Print the table and write pose_balancing.png."""
    settings = wingmark.run.resolve(["fit", *arguments.settings])
    if settings["data"]["source"] is None:
        raise ValueError("balance needs the faces of a recipe: give --config RECIPE, as for `wingmark fit`")
    data = wingmark.run.build_data(settings)
    balancing = data.balancing or PoseBalancing()
    poses = data.poses(balancing)
    path = arguments.output / "pose_balancing.png"
    draw(path, poses, data.schema)
    if data.balancing is None:
        print(f"data.balancing is null: no face is repeated yet. Shown are the defaults,\n{balancing}")
    _print(poses, balancing.max_repeats)
    print(path)
    return poses


def _print(poses: Poses, max_repeats: int) -> None:
    share, correlation = poses.shares[poses.axis - 1], poses.yaw_correlations[poses.axis - 1]
    before, after = len(poses.repeats), poses.repeats.sum()
    console = Console(highlight=False)
    console.print(f"{before:,} training faces are shown {after:,} times an epoch, {after / before:.2f} times as many")
    console.print(
        f"poses by component {poses.axis}: {100 * share:.1f} % of the variance, correlation with yaw {correlation:.2f}"
    )
    if abs(correlation) < 0.5:
        console.print("the component hardly goes with yaw: look at the picture, and see data.balancing.axis")
    console.print(_table(poses, max_repeats))


def _table(poses: Poses, max_repeats: int) -> Table:
    """The bins, in standard deviations (sd) of the component's coefficient."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in (f"{'pose' if poses.signed else '|pose|'} in sd", "faces", "repeats", "shown"):
        table.add_column(heading, justify="right")
    edges = poses.edges / poses.pose.std()
    for bin, faces in enumerate(poses.faces_by_bin):
        repeats = poses.repeats_by_bin[bin]
        table.add_row(
            f"{edges[bin]:.2f} to {edges[bin + 1]:.2f}",
            f"{faces:,}",
            f"{repeats} (most)" if repeats == max_repeats else f"{repeats}" if faces else "",
            f"{faces * repeats:,}",
        )
    return table
