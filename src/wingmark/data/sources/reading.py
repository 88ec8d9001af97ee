"""What the readers of annotations share: naming what is wrong and where, and leaving it out on request."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import numpy as np

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".gif", ".webp"})

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


def missing_layout(source: str, root: Path, expected: str) -> FileNotFoundError:
    """The error for a root without the files that a source needs: what was expected, what is there, the way out."""
    found = sorted(os.listdir(root))[:8] if root.is_dir() else "no such folder"
    return FileNotFoundError(
        f"{source}: expected {expected} under {root}, found {found}; "
        "set data.source.init_args.root to the folder where the set was unpacked"
    )


def tell_if_partial(source: str, split: str, count: int, published: int, root: Path) -> None:
    """Say so where a copy holds fewer faces than the full set."""
    if count < published:
        log.warning("%s %s: %d of %d faces found under %s: a partial copy", source, split, count, published, root)


def text_of(path: Path) -> str:
    """The text of an annotation file; what is no UTF-8 becomes a character that no number or name contains."""
    return path.read_text(encoding="utf-8-sig", errors="replace")


def finite(fields: Sequence[str]) -> np.ndarray:
    """The numbers that are written in `fields`, float64; ValueError for one that is none or not finite."""
    numbers = np.array(fields, float)
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if len(wrong):
        raise ValueError(f"expected finite numbers, got {fields[wrong[0]]!r}")
    return numbers


def image_in(root: Path, name: str) -> Path:
    """The image that an annotation names by its path below `root`; ValueError where there is none."""
    path = Path(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"the image path {name!r} leaves the folder {root}")
    if not (root / path).is_file():
        raise ValueError(f"there is no image {root / path}")
    return root / path


def images_by_stem(folder: Path) -> dict[str, Path]:
    """The images of a folder by their names without suffix, whatever its case; ValueError where two share a name."""
    images = {}
    for file in sorted(os.listdir(folder)):
        path = folder / file
        if path.suffix.lower() in IMAGE_SUFFIXES:
            if path.stem in images:
                raise ValueError(f"{path} and {images[path.stem].name} could both be meant; remove one of them")
            images[path.stem] = path
    return images
