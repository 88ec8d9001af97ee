"""Pictures by which labels are judged: faces with their landmarks, faces with findings, and the mean shape."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from wingmark.data.sources import Source
from wingmark.evaluation.labels import Shapes
from wingmark.evaluation.pictures import TRUE_COLOR, draw_landmarks, write_picture
from wingmark.files import whole_file
from wingmark.geometry import apply, invert, warp
from wingmark.protocol import Protocol
from wingmark.schema import LandmarkSchema
from wingmark.types import Face

LARGE, MIDDLE, TILE = 768, 384, 192  # pixels
WIDTH = 1536
FONT = cv2.FONT_HERSHEY_SIMPLEX
MIRRORED_COLOR, OCCLUDED_COLOR, NUMBER_COLOR = (255, 170, 60), (255, 50, 50), (255, 255, 120)


def draw_faces(path: Path, faces: Sequence[Face], source: Source, protocol: Protocol) -> None:
    """Faces (one or more) in the protocol's crop, with contours; occluded landmarks are red.

    The first is shown large with numbers, beside it the same mirrored, its landmarks renamed as the schema says; four
    more with numbers; the others small, the last four of these mirrored, too.
    """
    large = [_tile(faces[0], source, protocol, LARGE, mirrored=mirrored, numbered=True) for mirrored in (False, True)]
    numbered = [_tile(face, source, protocol, MIDDLE, numbered=True) for face in faces[1:5]]
    small = [
        _tile(face, source, protocol, TILE, mirrored=place >= len(faces) - 4)
        for place, face in enumerate(faces[5:], start=5)
    ]
    _write_sheet(path, [np.hstack(large), *_rows(numbered, MIDDLE), *_rows(small, TILE)])


def draw_findings(path: Path, faces: dict[str, Sequence[Face]], source: Source, protocol: Protocol) -> None:
    """A row of faces for each kind of finding, with numbers."""
    rows = []
    for kind, found in faces.items():
        tiles = [_tile(face, source, protocol, MIDDLE, numbered=True) for face in found[: WIDTH // MIDDLE]]
        _caption(tiles[0], kind)
        rows += _rows(tiles, MIDDLE)
    _write_sheet(path, rows)


def draw_mean_shape(path: Path, shapes: Shapes, schema: LandmarkSchema) -> None:
    """The mean shape with numbers; over it its mirror image, renamed, which lies on it where the schema is right."""
    figure = Figure(figsize=(10, 10), dpi=120, layout="constrained")
    axes = figure.subplots()
    mean = np.where(shapes.annotated[:, None], shapes.mean, np.nan)  # what is NaN is not drawn
    for points, color, name in (
        (shapes.mirrored(schema.flip), "#f2b45a", "mirrored, landmarks renamed"),
        (mean, "#33658a", f"mean shape of {len(shapes.rows):,} faces, {schema.name}"),
    ):
        for contour in schema.contours.values():
            line = [*contour.indices, *(contour.indices[:1] if contour.closed else ())]
            axes.plot(*points[line].T, color=color, linewidth=0.9)
        axes.scatter(*points.T, s=12, color=color, label=name, zorder=2)
    offsets = 9 * _outward(mean, shapes.annotated, schema) * [1, -1]  # points of the page go up
    for number in np.flatnonzero(shapes.annotated):
        at = {"xytext": offsets[number], "textcoords": "offset points", "ha": "center", "va": "center"}
        axes.annotate(str(number), mean[number], fontsize=8, **at)
    axes.set(aspect="equal")
    axes.invert_yaxis()
    axes.axis("off")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.04), ncols=2, frameon=False)
    with whole_file(path) as temporary:
        figure.savefig(temporary)


def _tile(
    face: Face, source: Source, protocol: Protocol, size: int, *, mirrored: bool = False, numbered: bool = False
) -> np.ndarray:
    """The face in the protocol's crop of `size` pixels; mirrored, its landmarks are renamed."""
    to_image = protocol.crop_to_image(face, size, flip=mirrored)
    tile = warp(source.read_image(face), to_image, size)
    order = source.schema.flip if mirrored else slice(None)
    points, valid = apply(invert(to_image), face.landmarks_image[order]), face.valid[order]
    draw_landmarks(tile, points, valid, source.schema, MIRRORED_COLOR if mirrored else TRUE_COLOR)
    for x, y in points[valid & face.occluded[order]]:
        cv2.circle(tile, (round(x), round(y)), 2, OCCLUDED_COLOR, -1, cv2.LINE_AA)
    if numbered:
        offsets = 11 * _outward(points, valid, source.schema)
        for number in np.flatnonzero(valid):
            x, y = points[number] + offsets[number] - [4 * len(str(number)), -4]
            _write(tile, str(number), (round(x), round(y)), NUMBER_COLOR)
    if mirrored:
        _caption(tile, "mirrored")
    return tile


def _outward(points: np.ndarray, known: np.ndarray, schema: LandmarkSchema) -> np.ndarray:
    """Directions (K, 2) away from the middle of the contour that a landmark lies on, where its number has room."""
    middle = np.tile(points[known].mean(0), (len(points), 1))
    for contour in reversed(schema.contours.values()):
        line = [i for i in contour.indices if known[i]]
        if line:
            middle[line] = points[line].mean(0)
    away = np.where(known[:, None], points - middle, 0)
    return away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-9)


def _rows(tiles: list[np.ndarray], side: int) -> list[np.ndarray]:
    columns, blank = WIDTH // side, np.full((side, side, 3), 255, np.uint8)
    tiles = tiles + [blank] * (-len(tiles) % columns)
    return [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]


def _write_sheet(path: Path, rows: Iterable[np.ndarray]) -> None:
    write_picture(path, np.vstack(list(rows)))


def _caption(tile: np.ndarray, text: str) -> None:
    (width, height), _ = cv2.getTextSize(text, FONT, 0.45, 1)
    cv2.rectangle(tile, (0, 0), (width + 8, height + 8), (0, 0, 0), -1)
    _write(tile, text, (4, height + 3), (255, 255, 255))


def _write(tile: np.ndarray, text: str, at: tuple[int, int], color: tuple[int, int, int]) -> None:
    """Small text with a dark rim, to be read on any picture."""
    for rim, shade in ((2, (0, 0, 0)), (1, color)):
        cv2.putText(tile, text, at, FONT, 0.45, shade, rim, cv2.LINE_AA)
