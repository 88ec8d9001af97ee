"""What is to be annotated: images by path, or a video, and the boxes given for images."""

import glob
import logging
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wingmark.data.own_boxes import read_boxes
from wingmark.data.sources.reading import IMAGE_SUFFIXES
from wingmark.types import Box

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageInput:
    """Images below a folder.

    names: their paths relative to `root`, with slashes, sorted: what they are called in all results.
    """

    root: Path
    names: list[str]


@dataclass(frozen=True)
class VideoInput:
    """A video file or a webcam.

    source: path, or number of the webcam.
    stem: what its frames are called in results: `stem/000001` is the first one.
    """

    source: Path | int
    stem: str


def find_input(text: str) -> ImageInput | VideoInput:
    """What INPUT of the command means: an image, a folder, a pattern such as `photos/*.jpg`, a video, or `webcam`.

    A folder is taken with its subfolders; hidden files are not. `webcam:1` is the second camera. A path that exists is
    never a pattern or a webcam. Raises FileNotFoundError where there is no such file, ValueError where no image is.
    """
    path = Path(text)
    if path.is_dir():
        files = [file for file in path.rglob("*") if not any(part[0] == "." for part in file.relative_to(path).parts)]
        return ImageInput(path, _names(path, files, f"the folder {path} holds no image, nor do its subfolders"))
    if path.is_file():
        if path.suffix.lower() in IMAGE_SUFFIXES:
            return ImageInput(path.parent, [path.name])
        return VideoInput(path, path.stem)
    if camera := re.fullmatch(r"webcam(?::(\d+))?", text):
        return VideoInput(int(camera[1] or 0), "webcam")
    if glob.has_magic(text):
        files = [Path(file) for file in glob.glob(text, recursive=True)]
        # The folder down to the first part with a wildcard.
        parts = path.parts[: next(i for i, part in enumerate(path.parts) if glob.has_magic(part))]
        return ImageInput(Path(*parts), _names(Path(*parts), files, f"no image matches {text!r}"))
    raise FileNotFoundError(f"there is no {text}; give an image, a folder, a pattern in quotes, a video, or webcam")


def _names(root: Path, files: list[Path], fault: str) -> list[str]:
    names = sorted(
        file.relative_to(root).as_posix() for file in files if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()
    )
    if not names:
        raise ValueError(f"{fault}; they end in {' '.join(sorted(IMAGE_SUFFIXES))}, and videos are taken one at a time")
    return names


def boxes_of(is_name: Callable[[str], bool], example: str, path: Path) -> dict[str, list[Box]]:
    """The boxes of each image that has some, from a csv file of `wingmark.data.own_boxes`.

    Its ids are the names of the images, of which there is an example, with `#n` where an image has several faces.
    Raises FileNotFoundError, and ValueError (file, line), also where no image has a box.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; give --boxes a csv file with id,x_min,y_min,x_max,y_max")
    boxes, unknown = defaultdict(list), []
    for name, box in read_boxes(path).items():
        image = name if is_name(name) else name.rpartition("#")[0]
        if is_name(image):
            boxes[image].append(box)
        else:
            unknown.append(name)
    if unknown:
        log.warning("%s: %d boxes are of no image to annotate, such as %r", path, len(unknown), unknown[0])
    if not boxes:
        raise ValueError(
            f"{path} has a box for none of the images; its ids are such as {unknown[0]!r}, those of the images such as "
            f"{example!r}"
        )
    return dict(boxes)
