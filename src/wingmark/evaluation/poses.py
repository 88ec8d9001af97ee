"""The picture of pose-based data balancing: poses before and after, and shapes along the components."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from wingmark.data.balancing import Poses
from wingmark.files import whole_file
from wingmark.schema import LandmarkSchema

STEPS = (-2.5, -1.25, 0.0, 1.25, 2.5)  # standard deviations
COMPONENTS = 3
BEFORE, AFTER = "#33658a", "#f2b45a"


def draw(path: Path, poses: Poses, schema: LandmarkSchema) -> None:
    """The poses, the shapes along the component taken for them, and along the first components to choose another."""
    components = list(dict.fromkeys([poses.axis - 1, *range(min(COMPONENTS, len(poses.components)))]))
    figure = Figure(figsize=(9, 3.4 + 2.1 * len(components)), dpi=120, layout="constrained")
    top, *rows = figure.subfigures(1 + len(components), 1, height_ratios=(3.4, *[2.1] * len(components)))
    _draw_histogram(top.subplots(), poses)
    shapes = np.stack([_shapes(poses, component) for component in components])
    low, high = shapes.min((0, 1, 2)), shapes.max((0, 1, 2))  # one scale for all
    for row, component, along in zip(rows, components, shapes, strict=True):
        for axes in _draw_shapes(row, poses, component, along, schema):
            axes.set(aspect="equal", xlim=(low[0], high[0]), ylim=(high[1], low[1]))
    with whole_file(path) as temporary:
        figure.savefig(temporary)


def _draw_histogram(axes: Axes, poses: Poses) -> None:
    """The coefficients of all faces, each counted once and as often as it comes; a bar for each bin."""
    scale = poses.pose.std()
    edges = poses.edges / scale if poses.signed else np.array([*-poses.edges[:0:-1], *poses.edges]) / scale
    for weights, color, name in ((poses.repeats, AFTER, "after"), (np.ones_like(poses.repeats), BEFORE, "before")):
        label = f"{name}: {weights.sum():,} faces an epoch"
        axes.hist(poses.pose / scale, edges, weights=weights, color=color, edgecolor="white", label=label)
    both_sides = "" if poses.signed else "; both sides share their bins"
    xlabel = f"coefficient of component {poses.axis} [sd]{both_sides}"
    axes.set(xlabel=xlabel, ylabel="faces", xlim=(edges[0], edges[-1]))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)


def _shapes(poses: Poses, component: int) -> np.ndarray:
    """The mean shape moved along a component step by step, (steps, K, 2)."""
    deviation = poses.coefficients[:, component].std()
    return poses.mean + deviation * np.array(STEPS)[:, None, None] * poses.components[component]


def _draw_shapes(
    figure: SubFigure, poses: Poses, component: int, shapes: np.ndarray, schema: LandmarkSchema
) -> list[Axes]:
    """The shapes along a component, one beside the other."""
    chosen = component == poses.axis - 1
    name = f"component {component + 1}{', chosen' if chosen else ''}"
    share, correlation = 100 * poses.shares[component], poses.yaw_correlations[component]
    title = f"{name}: {share:.1f} % of the variance, correlation with yaw {correlation:.2f}"
    figure.suptitle(title, fontsize=10, fontweight="bold" if chosen else None)
    row = list(figure.subplots(1, len(STEPS)))
    for axes, shape, step in zip(row, shapes, STEPS, strict=True):
        for contour in schema.contours.values():
            line = shape[[*contour.indices, *(contour.indices[:1] if contour.closed else ())]]
            axes.plot(*line.T, color="0.55", linewidth=0.8, clip_on=False)
        axes.scatter(*shape.T, s=4, color=BEFORE, zorder=2, clip_on=False)
        axes.set_title(f"{step:+g} sd" if step else "mean", fontsize=8)
        axes.axis("off")
    return row
