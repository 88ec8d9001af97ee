"""The IBUG `.pts` text format of 300W and its relatives."""

import re
from math import isfinite
from pathlib import Path

import numpy as np

from wingmark.data.sources.reading import numbers

_HEADER = re.compile(r"n_points\s*:\s*([0-9]{1,9})\s*\{")


def read_pts(path: Path, num_landmarks: int) -> np.ndarray:
    """The points (K, 2) float64 of a `.pts` file as they are written, which in 300W means counted from 1.

    Everything between the braces is split on white space: blanks, line ends and the version line vary between
    files. Raises ValueError naming file and line where the file does not hold `num_landmarks` finite points.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    header = _HEADER.search(text)
    body, closing, _ = text[header.end() :].partition("}") if header else ("", "", "")
    if not closing:
        raise ValueError(
            f"{path}: not a whole .pts file, expected `n_points: {num_landmarks}` and then the points between "
            "{ and }; replace the file or remove it"
        )
    if int(header[1]) != num_landmarks:
        raise ValueError(
            f"{path}, line {_line(text, header.start())}: n_points is {header[1]}, expected {num_landmarks}; "
            "replace the file or remove it"
        )
    found = []
    for line, content in enumerate(body.split("\n"), start=_line(text, header.end())):
        try:
            row = numbers(content.split()).tolist()
        except ValueError as error:
            raise ValueError(f"{path}, line {line}: {error}; replace the file or remove it") from error
        if not all(map(isfinite, row)):
            raise ValueError(f"{path}, line {line}: {content.strip()!r} is not finite; replace the file or remove it")
        found += row
    if len(found) != 2 * num_landmarks:
        raise ValueError(
            f"{path}, line {_line(text, header.end())}: {len(found)} numbers between {{ and }}, expected "
            f"{2 * num_landmarks} ({num_landmarks} points x y); replace the file or remove it"
        )
    return np.array(found).reshape(num_landmarks, 2)


def image_beside(path: Path, images: dict[str, list[Path]]) -> Path:
    """The image of an annotation file: that of the same stem, among those of `images_by_stem`. ValueError without."""
    found = images.get(path.stem, [])
    if len(found) != 1:
        fault = " and ".join(image.name for image in found) + " could both be meant" if found else "no image"
        raise ValueError(f"{path}: {fault} of that name beside it; keep one image, or remove this file")
    return found[0]


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
