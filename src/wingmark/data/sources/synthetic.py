"""Drawn faces with exact landmarks: the default source, and the test bed of everything that learns.

No picture of a person and no download is involved: random numbers make a 3D head (`face_model`), and its picture is
drawn when it is asked for (`face_render`).
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from wingmark import schema as schemas
from wingmark.data.sources.face_cover import Occluder, make_occluder
from wingmark.data.sources.face_model import LAYOUTS, Head, landmarks
from wingmark.data.sources.face_person import make_up, mix
from wingmark.data.sources.face_population import TAG_RATES, Draws, draw_expressions, draw_people, draw_poses
from wingmark.data.sources.face_render import render
from wingmark.data.sources.source import SPLITS, Source, Split
from wingmark.geometry import fractions_to_pixels, shrink, tight_box
from wingmark.types import Box, Face

PICTURES = 4  # of one person, one after the other
STREAMS = ("person", "paint", "pose", "picture", "occluder")  # of random numbers, each for a use of its own


def detector_box(box: Box, draws: np.ndarray) -> Box:
    """The box as a detector might give it: center and sides off by a few percent. `draws` are four normal numbers."""
    x, y = box.x + 0.025 * box.width * draws[0], box.y + 0.025 * box.height * draws[1]
    width, height = box.width * np.exp(0.03 * draws[2]), box.height * np.exp(0.03 * draws[3])
    return Box(float(x), float(y), float(width), float(height))


class SyntheticFaces(Source):
    """Faces made of numbers: same seed, same faces, on every machine; no person is in two splits.

    schema: `ibug68` or `wflw98`, both read from the same geometry.
    train, val, test: how many faces each split has.
    image_size: side of the square pictures in pixels. Landmarks scale with it.
    seed: other faces for another seed.

    Four pictures in a row show one person, who is their `group`: the same shape, colors and hair, with another
    expression, pose, light and place. Tags are those of WFLW and say what was drawn: `pose` (yaw of 25 degrees or
    more), `expression` (more than a smile), `illumination` (hard light), `make-up`, `occlusion` (sunglasses, a mask, a
    hand, a card), `blur` (of focus or motion). `occluded` marks the landmarks behind the occluder; hair and clear
    glasses do not count. The box `dataset` is the tight one with a detector's inaccuracy.
    """

    def __init__(
        self,
        schema: Literal["ibug68", "wflw98"] = "ibug68",
        train: int = 4000,
        val: int = 400,
        test: int = 400,
        image_size: int = 160,
        seed: int = 0,
    ):
        if schema not in LAYOUTS:
            raise ValueError(f"data.source.schema: SyntheticFaces knows {' and '.join(LAYOUTS)}, not {schema!r}")
        self.counts = {"train": train, "val": val, "test": test}
        for split, count in self.counts.items():
            if count < 0:
                raise ValueError(f"data.source.{split}: a split cannot have {count} faces; give 0 or more")
        self.schema = schemas.get(schema)
        self.image_size = image_size
        self.seed = seed

    def faces(self, split: Split) -> list[Face]:
        """The faces of a split; their images are drawn by `read_image` and need not exist as files."""
        if split not in self.counts:
            raise ValueError(f"SyntheticFaces has the splits {', '.join(SPLITS)}, not {split!r}")
        if not self.counts[split]:
            return []
        heads, _, jitter, tags = self._draw(split, range(self.counts[split]))
        fractions = landmarks(heads, self.schema.name)
        return [
            self._face(split, index, heads, fractions[index], jitter[index], tags[index])
            for index in range(self.counts[split])
        ]

    def _face(self, split: Split, index: int, heads: Head, fractions, jitter, tags: frozenset[str]) -> Face:
        points = fractions_to_pixels(fractions, self.image_size)
        covered = np.zeros(len(points), bool)
        if "occlusion" in tags:
            covered = self._occluder(split, index, _one(heads, index)).covers(fractions)
        name = f"{split}/{index:06d}"
        return Face(
            id=f"{name}#0",
            image=Path(name),
            landmarks_image=points,
            occluded=covered,
            group=f"{split}/person{index // PICTURES:06d}",
            boxes={"dataset": detector_box(tight_box(points), jitter)},
            tags=tags,
        )

    def image_version(self, face: Face) -> str:
        """Other for another seed, size, or way of drawing: a picture in a cache shows what would be drawn today."""
        return f"{self.seed} {self.image_size} {_drawing_version()}"

    def read_image(self, face: Face, reduce: int = 1) -> np.ndarray:
        """Draw the face that the id names: (image_size, image_size, 3) uint8 RGB, in blocks of `reduce` pixels."""
        split, number = face.id.removesuffix("#0").split("/")
        index = int(number)
        heads, feminine, _, (tags,) = self._draw(split, [index])
        head, generator = _one(heads, 0), self._generator(split, index, "picture")
        paint = mix(self._generator(split, index // PICTURES, "paint"), bool(feminine[0, 0]))
        image = render(
            head,
            self.image_size,
            make_up(paint, generator) if "make-up" in tags else paint,
            generator,
            hard_light="illumination" in tags,
            blurred="blur" in tags,
            occluder=self._occluder(split, index, head) if "occlusion" in tags else None,
        )
        return shrink(image, reduce)[0]

    def _generator(self, split: Split, number: int, use: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, SPLITS.index(split), number, STREAMS.index(use)])

    def _occluder(self, split: Split, index: int, head: Head) -> Occluder:
        return make_occluder(head, self._generator(split, index, "occluder"))

    def _draw(self, split: Split, indices: Sequence[int]) -> tuple[Head, np.ndarray, np.ndarray, list]:
        """The heads of N faces, who is a woman (N, 1), four normal numbers for the box (N, 4), and the tags."""
        persons = Draws([self._generator(split, index // PICTURES, "person") for index in indices])
        pictures = Draws([self._generator(split, index, "pose") for index in indices])
        people, feminine = draw_people(persons), persons.uniform() < 0.5
        carried = {tag: pictures.uniform() < rate for tag, rate in TAG_RATES.items()}
        carried["make-up"] = feminine & (pictures.uniform() < 2 * TAG_RATES["make-up"])
        heads = draw_poses(pictures, draw_expressions(pictures, people, carried["expression"]), carried["pose"])
        tags = [frozenset(tag for tag in TAG_RATES if carried[tag][i, 0]) for i in range(len(indices))]
        return heads, feminine, np.hstack([pictures.normal() for _ in range(4)]), tags


@cache
def _drawing_version() -> str:
    """A digest of the code that draws."""
    here = Path(__file__)
    code = b"".join(path.read_bytes() for path in [here, *sorted(here.parent.glob("face_*.py"))])
    return hashlib.sha256(code).hexdigest()


def _one(heads: Head, index: int) -> Head:
    """One of N heads, in plain numbers."""
    return Head(*(float(values[index, 0]) for values in heads))
