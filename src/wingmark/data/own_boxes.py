"""Face boxes of one's own, from a detector for example, for any data set."""

import logging
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

from wingmark.data.sources.reading import box_from_corners, finite, read_csv
from wingmark.data.sources.source import Split
from wingmark.types import Box, Face

log = logging.getLogger(__name__)

COLUMNS = ("id", "x_min", "y_min", "x_max", "y_max")


def with_own_boxes(faces: dict[Split, list[Face]], path: Path) -> dict[Split, list[Face]]:
    """The faces of all splits, with the box `file` where a csv file has a row for them.

    The file has a header and the columns id, x_min, y_min, x_max and y_max, in pixels counted from 0. id is that of the
    face, or the path of its image where it is the only face on it. A face without a row has no such box, which a
    protocol with the box `file` then asks for. Raises FileNotFoundError, and ValueError (file, line).
    """
    boxes = read_boxes(path)
    everyone = [face for of_split in faces.values() for face in of_split]
    alone = Counter(face.image for face in everyone)
    ids = {f.id: image for f in everyone if alone[f.image] == 1 and (image := f.id.rpartition("#")[0]) in boxes}
    ids |= {face.id: face.id for face in everyone if face.id in boxes}
    if not ids:
        raise ValueError(
            f"{path} (data.boxes) has a box for none of {len(everyone)} faces; its ids are such as "
            f"{next(iter(boxes))!r}, those of the faces such as {everyone[0].id if everyone else None!r}"
        )

    if unused := set(boxes) - set(ids.values()):
        log.warning("%s: %d of %d boxes are of no face, such as %s", path, len(unused), len(boxes), min(unused))

    def with_box(face: Face) -> Face:
        return replace(face, boxes={**face.boxes, "file": boxes[ids[face.id]]}) if face.id in ids else face

    return {split: [with_box(face) for face in of_split] for split, of_split in faces.items()}


def read_boxes(path: Path) -> dict[str, Box]:
    """The boxes by the id of their row."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; set data.boxes to a csv file of boxes, or to null")
    boxes = {}

    def read(cells: dict[str, str]) -> None:
        if cells["id"] in boxes:
            raise ValueError(f"{cells['id']!r} came before")
        boxes[cells["id"]] = box_from_corners(*finite([cells[column] for column in COLUMNS[1:]]).tolist())

    read_csv(path, partial(_columns, path), read)
    if not boxes:
        raise ValueError(f"{path} (data.boxes), line 2: no box below the header; add one row per face")
    return boxes


def _columns(path: Path, header: list[str]) -> list[str]:
    if any(header.count(column) != 1 for column in COLUMNS):
        raise ValueError(
            f"{path}, line 1: the header must have the columns {','.join(COLUMNS)} once each, got {header[:8]}; mend it"
        )
    return header
