"""Drawn faces with exact landmarks: the default source, and the test bed of everything that learns.

No picture of a person and no download is involved: random numbers make a 3D head (`face_model`), and its picture is
drawn when it is asked for (`face_render`).
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from wingmark import schema as schemas
from wingmark.data.sources.face_model import LAYOUTS, Head, landmarks
from wingmark.data.sources.face_render import render
from wingmark.data.sources.face_scene import Occluder, make_occluder
from wingmark.data.sources.source import SPLITS, Source, Split
from wingmark.geometry import fractions_to_pixels, shrink, tight_box
from wingmark.types import Box, Face

# How much the measures of a head differ from person to person: standard deviations, in units of `face_model`.
SPREAD = {
    "half_width": 0.035,
    "chin": 0.05,
    "skull": 0.03,
    "jaw": 0.2,
    "eye_x": 0.014,
    "eye_half_width": 0.010,
    "eye_half_height": 0.009,
    "eye_slant": 0.012,
    "brow_y": 0.018,
    "brow_thickness": 0.013,
    "brow_arch": 0.018,
    "brow_slant": 0.012,
    "nose_length": 0.028,
    "nose_half_width": 0.018,
    "nose_height": 0.035,
    "mouth_y": 0.018,
    "mouth_half_width": 0.020,
    "upper_lip": 0.013,
    "lower_lip": 0.015,
}
# How many faces carry each tag; a face can carry several.
TAG_RATES = {"pose": 0.15, "expression": 0.25, "illumination": 0.12, "make-up": 0.12, "occlusion": 0.15, "blur": 0.10}


class Draws:
    """The random numbers of N faces, handed out column by column, (N, 1) each."""

    def __init__(self, generators: list[np.random.Generator]):
        self._normal = iter(np.stack([g.standard_normal(40) for g in generators]).clip(-2.5, 2.5).T[..., None])
        self._uniform = iter(np.stack([g.random(40) for g in generators]).T[..., None])

    def normal(self) -> np.ndarray:
        """Standard normal numbers, cut at 2.5."""
        return next(self._normal)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        return low + (high - low) * next(self._uniform)

    def sign(self) -> np.ndarray:
        return np.where(next(self._uniform) < 0.5, -1.0, 1.0)


def draw_expression(draws: Draws, strong: np.ndarray) -> dict[str, np.ndarray]:
    """Fields of `Head`. A strong expression is one of: open mouth, laugh, closed eyes, wink, frown, surprise."""
    kind = np.where(strong, np.floor(draws.uniform(0, 6)), -1)
    amount, left = draws.uniform(), draws.sign() > 0
    opened, laugh, closed, wink, frown, surprise = (kind == k for k in range(6))
    gap = np.where(draws.uniform() < 0.2, draws.uniform(0.02, 0.05), 0.0)
    gap = np.where(opened | surprise, 0.12 + 0.15 * amount, np.where(laugh, 0.05 + 0.08 * amount, gap))
    smile = np.where(laugh, 0.9 + 0.4 * amount, np.where(frown, -0.8, 0.25 + 0.25 * draws.normal()))
    lopsided = 0.12 * draws.normal()
    raised = np.where(surprise, 0.08, np.where(frown, -0.045, 0.012 * draws.normal()))
    raised_more = 0.008 * draws.normal()
    lid = np.where(surprise, 1.3, np.where(laugh, 0.75, 1 + 0.08 * draws.normal()))
    return {
        "mouth_gap": gap,
        "smile_right": smile + lopsided,
        "smile_left": smile - lopsided,
        "brow_raise_right": raised + raised_more,
        "brow_raise_left": raised - raised_more,
        "lid_right": np.where(closed | (wink & ~left), 0.05, lid),
        "lid_left": np.where(closed | (wink & left), 0.05, lid),
        "gaze_x": 0.02 * draws.normal(),
        "gaze_y": 0.006 * draws.normal(),
    }


def draw_heads(draws: Draws, turned: np.ndarray, expressive: np.ndarray) -> Head:
    """N heads, some turned far to the side, some with a strong expression."""
    mean = Head()
    shape = {name: getattr(mean, name) + sigma * draws.normal() for name, sigma in SPREAD.items()}
    expression = draw_expression(draws, expressive)
    large, small = draws.sign() * draws.uniform(25, 45), 9 * draws.normal()
    return mean._replace(
        **shape,
        **expression,
        yaw=np.deg2rad(np.where(turned, large, small)),
        pitch=np.deg2rad(7 * draws.normal()),
        roll=np.deg2rad(7 * draws.normal()),
        center_x=draws.uniform(-0.08, 0.08),
        center_y=draws.uniform(-0.06, 0.08),
        scale=draws.uniform(0.33, 0.42),
    )


def detector_box(box: Box, draws: np.ndarray) -> Box:
    """The box as a detector might give it: center and sides off by a few percent. `draws` are four normal numbers."""
    x, y = box.x + 0.025 * box.width * draws[0], box.y + 0.025 * box.height * draws[1]
    width, height = box.width * np.exp(0.03 * draws[2]), box.height * np.exp(0.03 * draws[3])
    return Box(float(x), float(y), float(width), float(height))


class SyntheticFaces(Source):
    """Faces made of numbers: same seed, same faces, on every machine; no face is in two splits.

    schema: `ibug68` or `wflw98`, both read from the same geometry.
    train, val, test: how many faces each split has.
    image_size: side of the square pictures in pixels. Landmarks scale with it.
    seed: other faces for another seed.

    Tags say what was drawn: `pose` (yaw of 25 degrees or more), `expression`, `illumination` (hard or dark light),
    `make-up`, `occlusion`, `blur`. `occluded` marks the landmarks behind the occluder. The box `dataset` is the
    tight one with a detector's inaccuracy.
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
        heads, jitter, tags = self._draw([self._generator(split, index) for index in range(self.counts[split])])
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
            group=name,
            boxes={"dataset": detector_box(tight_box(points), jitter)},
            tags=tags,
        )

    def image_version(self, face: Face) -> str:
        """Other for another seed, size, or way of drawing: a picture in a cache shows what would be drawn today."""
        return f"{self.seed} {self.image_size} {_drawing_version()}"

    def read_image(self, face: Face, reduce: int = 1) -> np.ndarray:
        """Draw the face that the id names: (image_size, image_size, 3) uint8 RGB, in blocks of `reduce` pixels."""
        split, number = face.id.removesuffix("#0").split("/")
        generator = self._generator(split, int(number))
        heads, _, tags = self._draw([generator])
        head = _one(heads, 0)
        image = render(
            head,
            self.image_size,
            generator,
            hard_light="illumination" in tags[0],
            makeup="make-up" in tags[0],
            blurred="blur" in tags[0],
            occluder=self._occluder(split, int(number), head) if "occlusion" in tags[0] else None,
        )
        return shrink(image, reduce)[0]

    def _generator(self, split: Split, index: int, stream: int = 0) -> np.random.Generator:
        return np.random.default_rng([self.seed, SPLITS.index(split), index, stream])

    def _occluder(self, split: Split, index: int, head: Head) -> Occluder:
        return make_occluder(head, self._generator(split, index, stream=1))

    @staticmethod
    def _draw(generators: list[np.random.Generator]) -> tuple[Head, np.ndarray, list[frozenset[str]]]:
        """The heads, four normal numbers for the box (N, 4), and the tags of N faces."""
        draws = Draws(generators)
        carried = {tag: draws.uniform() < rate for tag, rate in TAG_RATES.items()}
        heads = draw_heads(draws, carried["pose"], carried["expression"])
        tags = [frozenset(tag for tag in TAG_RATES if carried[tag][i, 0]) for i in range(len(generators))]
        return heads, np.hstack([draws.normal() for _ in range(4)]), tags


@cache
def _drawing_version() -> str:
    """A digest of the code that draws."""
    here = Path(__file__)
    code = b"".join(path.read_bytes() for path in [here, *sorted(here.parent.glob("face_*.py"))])
    return hashlib.sha256(code).hexdigest()


def _one(heads: Head, index: int) -> Head:
    """One of N heads, in plain numbers."""
    return Head(*(float(values[index, 0]) for values in heads))
