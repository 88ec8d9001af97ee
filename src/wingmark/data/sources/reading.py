"""What the readers of annotations share: naming what is wrong and where, and leaving it out on request."""

import csv
import json
import logging
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path, PureWindowsPath

import numpy as np

from wingmark.types import Box

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".gif", ".webp"})

SHOWN = 10  # of the faces that were left out; `wingmark inspect` lists all

_left_out: ContextVar[list[str] | None] = ContextVar("left_out", default=None)


@contextmanager
def entry(where: str | Path = "", way_out: str = "correct or remove it") -> Iterator[None]:
    """Around the reading of one face: a ValueError gets told where it arose and the way out.

    Without `where` the error has said so itself. Inside `leaving_out` it is noted there instead of raised, and reading
    goes on with the next face.
    """
    try:
        yield
    except ValueError as error:
        fault = f"{where}: {error}; {way_out}" if where else str(error)
        left_out = _left_out.get()
        if left_out is None:
            raise ValueError(fault) from error
        left_out.append(fault)


@contextmanager
def leaving_out() -> Iterator[list[str]]:
    """Gives the list of what every `entry` inside leaves out, one sentence each."""
    left_out = []
    token = _left_out.set(left_out)
    try:
        yield left_out
    finally:
        _left_out.reset(token)


def tell_left_out(what: str, left_out: list[str]) -> None:
    """Count what was left out, and name the first of it."""
    if left_out:
        shown = [*left_out[:SHOWN], *([f"and {len(left_out) - SHOWN} more"] if len(left_out) > SHOWN else [])]
        log.warning("data.on_error skip: %d %s are left out:\n%s", len(left_out), what, "\n".join(shown))


def missing_layout(source: str, root: Path, expected: str) -> FileNotFoundError:
    """The error for a root without the files that a source needs: what was expected, what is there, the way out."""
    found = sorted(os.listdir(root))[:8] if root.is_dir() else "no such folder"
    return FileNotFoundError(
        f"{source}: expected {expected} under {root}, found {found}; "
        "set data.source.init_args.root to the folder where the set was unpacked"
    )


def file_of_split(source: str, root: Path, files: dict[str, str | None], split: str) -> Path | None:
    """The annotations that a source was given for a split, relative to its root; None where it was given none."""
    if files[split] is None:
        return None
    path = root / files[split]
    if not path.is_file():
        raise FileNotFoundError(
            f"{source}: there is no file {path}; set data.source.init_args.root to the folder of the set and "
            f"data.source.init_args.{split} to a file in it, or to null where there is none"
        )
    return path


def tell_if_partial(source: str, split: str, count: int, published: int, root: Path) -> None:
    """Say so where a copy holds fewer faces than the full set."""
    if count < published:
        log.warning("%s %s: %d of %d faces found under %s: a partial copy", source, split, count, published, root)


def lines_of(path: Path) -> list[str]:
    """The lines of a list; told where the last one may be cut off."""
    tell_if_cut_off(path)
    return text_of(path).splitlines()


@cache  # a list of all splits is read for each
def tell_if_cut_off(path: Path) -> None:
    """Say so where a list does not end with a line end: half a number is a number too."""
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, 1), os.SEEK_END)
        end = file.read()
    if end not in (b"\n", b"\r", b""):
        log.warning("%s does not end with a line end: if the file was cut off, its last face is wrong", path)


def text_of(path: Path) -> str:
    """The text of an annotation file; what is no UTF-8 becomes a character that no number or name contains."""
    return path.read_text(encoding="utf-8-sig", errors="replace")


def read_csv(path: Path, columns: Callable[[list[str]], list[str]], read: Callable[[dict[str, str]], None]) -> None:
    """Hand every row below the header of a csv file to `read`, as its cells by column, stripped.

    columns: the names of the cells, from those in the header. Both raise ValueError where something is wrong.
    """
    tell_if_cut_off(path)
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.reader(file, skipinitialspace=True, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            if len(header) == 1 and (other := re.search(r"[;\t|\0]", header[0])):
                told = "it is not UTF-8" if other[0] == "\0" else f"columns are separated by {other[0]!r}"
                raise ValueError(f"{path}, line 1: {told}; save the table as UTF-8 with commas")
            names = columns(header)
            for row in filter(None, reader):
                with entry(f"{path}, line {reader.line_num}", "mend or remove it"):
                    if len(row) != len(names):
                        raise ValueError(f"{len(row)} cells, the header has {len(names)}")
                    if any("\n" in cell or "\r" in cell for cell in row):
                        raise ValueError("a cell goes on in the next line, a quotation mark is missing")
                    read(dict(zip(names, map(str.strip, row), strict=True)))
        except csv.Error as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}; mend or remove it") from error


@contextmanager
def parsing(path: Path, expected: str, way_out: str = "unpack it again") -> Iterator[None]:
    """Around a library that parses a file: damaged bytes make it raise anything; what is raised here is ValueError."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{path}: not a whole {expected} ({error}); {way_out}") from error


def json_of(path: Path) -> object:
    """The content of a JSON file; ValueError where it is damaged or cut off."""
    text = text_of(path)
    with parsing(path, "JSON file"):
        return json.loads(text, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):  # two records run together: the second would hide the first
        raise ValueError(f"an object with a key twice among {[key for key, _ in pairs][:8]}")
    return found


def is_number(value: object) -> bool:
    """Whether a value of a JSON file is a finite number."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def numbers(fields: Sequence[str]) -> np.ndarray:
    """The numbers that are written in `fields`, float64; ValueError for what is none."""
    # Python reads 1_0 as 10, and digits of other scripts.
    text = "".join(map(str, fields))
    if "_" in text or not text.isascii():
        wrong = next(field for field in map(str, fields) if "_" in field or not field.isascii())
        raise ValueError(f"could not convert string to float: {wrong!r}")
    try:
        found = np.array(fields, float)
    except TypeError as error:  # binary formats hold other things, too
        raise ValueError(f"expected numbers ({error})") from error
    if found.ndim != 1:
        raise ValueError(f"expected a row of numbers, got {found.shape}")
    return found


def finite(fields: Sequence[str]) -> np.ndarray:
    """The same; ValueError for one that is not finite, too."""
    found = numbers(fields)
    wrong = np.flatnonzero(~np.isfinite(found))
    if len(wrong):
        raise ValueError(f"expected finite numbers, got {fields[wrong[0]]!r}")
    return found


def box_from_corners(x_min: float, y_min: float, x_max: float, y_max: float) -> Box:
    """The box of an annotated rectangle; ValueError for one without area."""
    if not (x_min < x_max and y_min < y_max):
        raise ValueError(f"the rectangle {x_min:g} {y_min:g} {x_max:g} {y_max:g} (x_min y_min x_max y_max) has no area")
    return Box.from_corners(x_min, y_min, x_max, y_max)


def image_in(root: Path, name: str, allow_absolute: bool | None = None) -> Path:
    """The image that an annotation names by its path below `root`; ValueError where there is none.

    A path that leaves `root` by its words is refused, unless `allow_absolute`: annotations by others must not choose
    among all files of a machine. It is None where a source has no such setting. Links within `root` are followed.
    """
    windows = PureWindowsPath(name)  # to which both slashes and the letters of drives mean something
    if not allow_absolute and (windows.anchor or ".." in windows.parts):
        way_out = "" if allow_absolute is None else " (data.source.init_args.allow_absolute: true permits it)"
        raise ValueError(f"the image path {name!r} leaves the folder {root}{way_out}")
    path = root / name.replace("\\", "/")
    if not os.path.isfile(path):  # unlike Path.is_file, of names that no file can have too
        raise ValueError(f"there is no image {path}")
    return path


def files_of(folder: Path, ending: str) -> list[Path]:
    """The files of a folder whose names end so, in whatever case, by name; not the hidden ones that macOS adds."""
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    return [folder / name for name in names if name.lower().endswith(ending) and not name.startswith(".")]


def images_by_stem(folder: Path) -> dict[str, list[Path]]:
    """The images of a folder by their names without suffix, whatever its case: see `image_of`."""
    images = defaultdict(list)
    for path in files_of(folder, ""):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            images[path.stem].append(path)
    return images


def image_of(stem: str, images: dict[str, list[Path]]) -> Path:
    """The one image of that name among those of `images_by_stem`; ValueError where there is none, or are several."""
    found = images.get(stem, [])
    if len(found) != 1:
        raise ValueError(f"{' and '.join(p.name for p in found) or 'no image'} of the name {stem}, expected one image")
    return found[0]
