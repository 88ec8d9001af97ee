"""COCO's JSON: a list of images, and annotations that name theirs by number."""

import reprlib
from pathlib import Path

import numpy as np

from wingmark.data.sources.reading import is_number, json_of
from wingmark.types import Box


def read_coco(path: Path) -> tuple[dict[str, str], list[dict]]:
    """The file names of the images by their ids, and the annotations in the order of the file.

    Raises ValueError where the file is no whole JSON, has not these two lists, or gives two images one id.
    """
    content = json_of(path)
    lists = [content.get(key) if isinstance(content, dict) else None for key in ("images", "annotations")]
    if not all(isinstance(rows, list) and all(isinstance(row, dict) for row in rows) for rows in lists):
        raise ValueError(f"{path}: expected COCO's lists `images` and `annotations`; choose another file")
    images, annotations = lists
    if not all(type(image.get("id")) in (int, str) and isinstance(image.get("file_name"), str) for image in images):
        raise ValueError(f"{path}: each of the images needs an id and a file_name; write it again")
    names = {str(image["id"]): image["file_name"] for image in images}
    if len(names) < len(images):
        raise ValueError(f"{path}: {len(images)} images share {len(names)} ids; give each image an id of its own")
    return names, annotations


def image_name(annotation: dict, names: dict[str, str]) -> str:
    """The file name of an annotation's image; ValueError where the list of images lacks it."""
    number = annotation.get("image_id")
    if type(number) not in (int, str) or str(number) not in names:
        raise ValueError(f"image_id {reprlib.repr(number)} is none of the images")
    return names[str(number)]


def numbers(annotation: dict, key: str, count: int) -> np.ndarray:
    """The finite numbers (count,) float64 of a field, one or a list; ValueError where it holds something else."""
    if key not in annotation:
        raise ValueError(f"there is no {key}")
    values = annotation[key] if isinstance(annotation[key], list) else [annotation[key]]
    found = sum(map(is_number, values))
    if not found == len(values) == count:
        raise ValueError(f"{key} must hold {count} finite numbers, got {found} and {len(values) - found} other values")
    return np.array(values, float)


def coco_box(annotation: dict, key: str) -> Box:
    """The box of a field `x_min y_min width height`; ValueError for one without area."""
    x, y, width, height = numbers(annotation, key, 4).tolist()
    if not (width > 0 and height > 0):
        raise ValueError(f"{key} {[x, y, width, height]} (x_min y_min width height) has no area")
    return Box.from_corners(x, y, x + width, y + height)
