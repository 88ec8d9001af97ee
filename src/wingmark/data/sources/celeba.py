"""CelebA: five landmarks on 202,599 aligned faces of celebrities."""

from pathlib import Path
from typing import ClassVar

import wingmark.schema
from wingmark.data.sources.reading import entry, finite, image_in, lines_of, missing_layout, tell_if_partial
from wingmark.data.sources.source import Source, Split
from wingmark.types import Face

LANDMARKS, PARTITION, PEOPLE = "list_landmarks_align_celeba", "list_eval_partition", "identity_CelebA"
IMAGES = ("Img/img_align_celeba", "img_align_celeba/img_align_celeba", "img_align_celeba")
CODES: dict[Split, str] = {"train": "0", "val": "1", "test": "2"}


class CelebA(Source):
    """The aligned images of CelebA (Liu et al., Deep Learning Face Attributes in the Wild, 2015):

        root/Img/img_align_celeba/*.jpg           root/Eval/list_eval_partition.txt
        root/Anno/list_landmarks_align_celeba.txt root/Anno/identity_CelebA.txt

    or the lists in root and the images in root/img_align_celeba, as torchvision has them and, with lists in CSV, the
    mirror on Kaggle. The five landmarks are whole pixels, taken as counted from 0. There are no boxes. The group is
    the person, or the image where the file of identities is missing; no person is in two of the splits.
    """

    published_counts: ClassVar[dict[Split, int]] = {"train": 162_770, "val": 19_867, "test": 19_962}

    def __init__(self, root: str) -> None:
        self.root = Path(root)
        self.schema = wingmark.schema.get("five")

    def faces(self, split: Split) -> list[Face]:
        path, partition, people = map(self._list, (LANDMARKS, PARTITION, PEOPLE))
        images = next((self.root / name for name in IMAGES if (self.root / name).is_dir()), None)
        if not (path and partition and images):
            raise missing_layout("CelebA", self.root, f"Anno/{LANDMARKS}.txt, Eval/{PARTITION}.txt and {IMAGES[0]}")
        codes, persons = _table(partition), people and _table(people)
        faces, listed = [], set()
        for number, (name, *numbers) in _rows(path, header=2):
            with entry(f"{path}, line {number}"):
                code = _value(codes, name, partition)
                if code not in CODES.values() or name in listed:
                    raise ValueError(f"{name} must be listed once and have 0, 1 or 2 in {partition}, got {code!r}")
                listed.add(name)
                if code == CODES[split]:
                    group = f"person {_value(persons, name, people)}" if people else name
                    faces.append(self._face(image_in(images, name), numbers, group))
        if not listed:
            raise ValueError(f"{path}: no image is listed; unpack it again")
        tell_if_partial("CelebA", split, len(faces), self.published_counts[split], self.root)
        return faces

    def _list(self, name: str) -> Path | None:
        """Where a list lies, in the original format rather than in CSV."""
        places = [self.root / folder / f"{name}{end}" for end in (".txt", ".csv") for folder in ("Anno", "Eval", "")]
        return next((place for place in places if place.is_file()), None)

    def _face(self, image: Path, numbers: list[str], group: str) -> Face:
        if len(numbers) != 10:
            raise ValueError(f"expected an image and 10 coordinates, got {len(numbers)}")
        return Face(
            id=f"{image.relative_to(self.root).as_posix()}#0",
            image=image,
            landmarks_image=finite(numbers).reshape(5, 2),
            group=group,
        )


def _rows(path: Path, header: int = 0) -> list[tuple[int, list[str]]]:
    """The rows of a list: number of the line and fields. A text has `header` lines above them, a CSV file has one."""
    lines = lines_of(path)
    if path.suffix == ".csv":
        lines, header = [line.replace(",", " ") for line in lines], 1
    if any(Path(line.split(" ")[0]).suffix for line in lines[:header]):
        raise ValueError(f"{path}, line 1: an image where {header} lines of heading belong; unpack it again")
    return [(n, line.split()) for n, line in enumerate(lines, start=1) if n > header and line.strip()]


def _table(path: Path) -> dict[str, list[str]]:
    rows = _rows(path)
    table = {name: fields for _, (name, *fields) in rows}
    if len(table) < len(rows):
        raise ValueError(f"{path}: {len(rows)} lines name {len(table)} images; unpack it again")
    return table


def _value(table: dict[str, list[str]], name: str, path: Path) -> str:
    """What a list of two columns, read by `_table`, says of an image."""
    if len(table.get(name, ())) != 1:
        raise ValueError(f"expected a line `{name} <number>` in {path}")
    return table[name][0]
