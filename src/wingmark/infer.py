"""Landmarks on pictures of one's own, by what was trained or exported."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from wingmark.data.images import pixels_of, read_image, roll_of, size_and_roll
from wingmark.data.regions import MAX_SIDE, region_around
from wingmark.detectors import Detector, as_box, whole_image
from wingmark.engines import Answer, Engine, Precision, load_engine
from wingmark.geometry import (
    apply,
    compose,
    crop_to_image,
    eye_level_boxes,
    invert,
    pixel_sides,
    sixteenths,
    tight_box,
    warp,
)
from wingmark.types import Box

Picture = str | Path | Image.Image | np.ndarray
Boxes = Sequence[Box] | np.ndarray


@dataclass(frozen=True, eq=False)
class Faces:
    """What was found on one image, for F faces, in its pixels: counted from 0, the pixel center at the integer.

    score: the highest value of each heatmap, None where the codec has none.
    expected_error: how far off each landmark is expected to be, None where the model was not calibrated. Learned on
        faces cut out by the boxes of training and looked at once: other boxes, `flip` and 8 bits are not reckoned with.
    boxes, crop_to_image: the face boxes, and the maps from pixels of the crops made of them to pixels of the image.
    """

    landmarks_image: np.ndarray  # (F, K, 2) float64
    score: np.ndarray | None  # (F, K) float32
    expected_error: np.ndarray | None  # (F, K) float64
    boxes: list[Box]
    crop_to_image: np.ndarray  # (F, 2, 3) float64

    def __len__(self) -> int:
        return len(self.landmarks_image)


class Cut(NamedTuple):
    """The crops (F, 3, S, S) uint8 of one image, their boxes and maps (F, 2, 3), and the image where it is kept."""

    crops: np.ndarray
    boxes: list[Box]
    crop_to_image: np.ndarray
    image: np.ndarray | None


class Landmarker:
    """Finds landmarks on images, given the boxes of faces.

    A model expects a box like those that it was trained on, `protocol.box`, and takes the margin around it itself. Most
    are trained on `tight` boxes, from the brows to the chin and from ear to ear: detectors draw other ones, so give a
    detector and `refine`, which cuts a second crop by the landmarks of the first.

    Images are decoded in full. `wingmark test` decodes large JPEG files at half their size or less, where that is
    enough for the crop: its pixels differ a little, and so do its landmarks.

    Args:
        detector: finds the boxes where none are given; without it the whole image is the box.
        flip: also look at the mirrored crop, and take the mean.
        refine: look twice, the second time at the box that the first landmarks make.
        batch_size: crops that the network sees at once.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        detector: Detector | None = None,
        flip: bool = False,
        refine: bool = False,
        batch_size: int = 16,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        self.engine, self.detector, self.flip, self.refine, self.batch_size = engine, detector, flip, refine, batch_size
        self.schema, self.protocol, self.crop_size = engine.schema, engine.protocol, engine.crop_size
        if refine and self.protocol.box not in ("tight", "refined"):
            raise ValueError(
                f"refine makes boxes of landmarks, this model was trained on {self.protocol.box} boxes: leave it out"
            )

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str = "cpu",
        precision: Precision = "32",
        detector: Detector | None = None,
        flip: bool = False,
        refine: bool = False,
        batch_size: int = 16,
    ) -> "Landmarker":
        """From a run folder, a `.ckpt` or a file of `wingmark export`; see `engines.load_engine` for the errors.

        device and precision: of the network, `cpu` or `cuda`, `32` or `bf16`, which moves landmarks by some tenths of a
        pixel, and one between two peaks of a heatmap by more.
        """
        engine = load_engine(Path(path), device, precision)
        return cls(engine, detector=detector, flip=flip, refine=refine, batch_size=batch_size)

    def __call__(
        self, images: Picture | Sequence[Picture], boxes: Boxes | Sequence[Boxes | None] | None = None
    ) -> Faces | list[Faces]:
        """The faces of an image, or of each image of a list.

        images: paths, PIL images, or arrays (H, W, 3) uint8 RGB; an array (N, H, W, 3) is a list.
        boxes: of an image, as `Box` or as rows x_min, y_min, x_max, y_max (F, 4); of a list, a list of these.

        Raises FileNotFoundError and ValueError for what is no image, and for a box without area or outside the image.
        """
        if isinstance(images, str | Path | Image.Image) or (isinstance(images, np.ndarray) and images.ndim < 4):
            return self.find([self.cut(images, boxes)])[0]
        if not isinstance(images, Sequence | np.ndarray):
            raise ValueError(f"images are paths, PIL images or arrays, or a list of these; got {type(images).__name__}")
        boxes = [None] * len(images) if boxes is None else boxes
        if len(boxes) != len(images):
            raise ValueError(f"{len(images)} images, but boxes for {len(boxes)}; give boxes, or None, for each image")
        found = []
        for start in range(0, len(images), self.batch_size):
            numbers = range(start, min(start + self.batch_size, len(images)))
            found += self.find([self._cut_of_list(number, images[number], boxes[number]) for number in numbers])
        return found

    def _cut_of_list(self, number: int, image: Picture, boxes: Boxes | None) -> Cut:
        try:
            return self.cut(image, boxes)
        except ValueError as error:
            raise ValueError(f"image {number} of the list: {error}") from error

    def cut(self, image: Picture, boxes: Boxes | None = None, keep: bool = False) -> Cut:
        """Read an image and cut out its faces: the half of the work before the network. Threads may share it.

        keep: keep the whole image too, (H, W, 3) uint8 RGB as it is stored, to draw on it.
        """
        pixels, roll = _pixels(image), _roll(image)
        if boxes is not None:
            boxes = [_turned(box, roll) for box in map(as_box, boxes)]
        else:
            boxes = _detect(self.detector or whole_image, pixels, roll)
        # A second look may need more of the image than the first one.
        return self._crops(pixels, boxes)._replace(image=pixels if keep or self.refine else None)

    def _crops(self, pixels: np.ndarray, boxes: list[Box]) -> Cut:
        size = self.crop_size
        maps = np.empty((len(boxes), 2, 3))
        crops = np.empty((len(boxes), 3, size, size), np.uint8)
        for number, box in enumerate(boxes):
            maps[number] = to_image = self.protocol.box_to_image(box, size, self.engine.context)
            if not np.hypot(*to_image[:, :2]).min() * size < MAX_SIDE:
                raise ValueError(f"{box} is no box of a face; give boxes in pixels of the image")
            try:
                region = region_around(pixels, 1, to_image, size)
            except ValueError as error:
                raise ValueError(f"{box} lies {error}; give boxes in its pixels") from error
            crop = warp(region.pixels, compose(invert(region.to_image), to_image), size)
            crops[number] = crop.transpose(2, 0, 1)
        return Cut(crops, boxes, maps, None)

    def find(self, cuts: Sequence[Cut]) -> list[Faces]:
        """The landmarks of the faces that were cut out of each image: the network's half of the work."""
        ends = np.cumsum([len(cut.crops) for cut in cuts])
        parts = [slice(end - len(cut.crops), end) for cut, end in zip(cuts, ends, strict=True)]
        answer = self._answer(np.concatenate([cut.crops for cut in cuts]))
        if self.refine:
            cuts = [self._cut_again(cut, answer.landmarks_crop[part]) for cut, part in zip(cuts, parts, strict=True)]
            answer = self._answer(np.concatenate([cut.crops for cut in cuts]))
        return [
            _faces(cut, *(a if a is None else a[part] for a in answer)) for cut, part in zip(cuts, parts, strict=True)
        ]

    def _cut_again(self, cut: Cut, landmarks_crop: np.ndarray) -> Cut:
        """The faces by the boxes that landmarks (F, K, 2) make; as before where these lie in one place or outside."""
        crops, boxes, maps = cut.crops.copy(), list(cut.boxes), cut.crop_to_image.copy()
        for number, landmarks in enumerate(apply(cut.crop_to_image, landmarks_crop)):
            with suppress(ValueError):
                box = _rounded(self.box_of(landmarks, boxes[number].roll))
                again = self._crops(cut.image, [box])
                crops[number], boxes[number], maps[number] = again.crops[0], box, again.crop_to_image[0]
        return Cut(crops, boxes, maps, cut.image)

    def box_of(self, landmarks_image: np.ndarray, roll: float = 0.0) -> Box:
        """The box that landmarks (K, 2) make, of the kind that the model was trained on.

        roll: in degrees, of the box that the landmarks were found by.
        """
        if self.protocol.box == "refined":  # level with the eyes, whatever came before
            return Box(*eye_level_boxes(torch.from_numpy(landmarks_image), self.schema.eyes).tolist())
        to_image = crop_to_image(Box(0, 0, 1, 1), 1, rotation=roll)
        level = tight_box(apply(invert(to_image), landmarks_image))
        x, y = apply(to_image, np.array([[level.x, level.y]]))[0].tolist()
        return replace(level, x=x, y=y, roll=roll)

    def _answer(self, crops: np.ndarray) -> Answer:
        """For any number of crops, in batches; both sides of the face where `flip` says so."""
        size, count = self.batch_size, self.schema.num_landmarks
        if not len(crops):
            return Answer(np.empty((0, count, 2)), None, None)
        batches = [crops[start : start + size] for start in range(0, len(crops), size)]
        answers = [self._both_sides(batch) if self.flip else self.engine(batch) for batch in batches]
        return Answer(*(None if parts[0] is None else np.concatenate(parts) for parts in zip(*answers, strict=True)))

    def _both_sides(self, crops: np.ndarray) -> Answer:
        one, other = self.engine(crops), self.engine(np.ascontiguousarray(crops[..., ::-1]))
        landmarks = other.landmarks_crop[:, self.schema.flip] * [-1, 1] + [self.crop_size - 1, 0]
        others = (None if part is None else part[:, self.schema.flip] for part in other[1:])
        pairs = zip(one, (landmarks, *others), strict=True)
        return Answer(*(None if a is None else (a + b) / 2 for a, b in pairs))


def _faces(cut: Cut, landmarks_crop: np.ndarray, score: np.ndarray | None, expected_error: np.ndarray | None) -> Faces:
    if expected_error is not None:
        expected_error = expected_error * pixel_sides(cut.crop_to_image)[:, None]
    return Faces(apply(cut.crop_to_image, landmarks_crop), score, expected_error, cut.boxes, cut.crop_to_image)


def _rounded(box: Box) -> Box:
    return Box(*sixteenths(np.array([box.x, box.y, box.width, box.height, box.roll])).tolist())


def _turned(box: Box, roll: float) -> Box:
    """An upright box of an image that EXIF says to turn: the box with its own axes along those of the face."""
    if not roll or box.roll:
        return box
    sides = (box.width, box.height) if roll == 180 else (box.height, box.width)
    return Box(box.x, box.y, *sides, roll)


def _detect(detector: Detector, pixels: np.ndarray, roll: float) -> list[Box]:
    """The boxes on an image that the detector sees upright."""
    if not roll:
        return [as_box(box) for box in detector(pixels)]
    turns = round(roll / 90)
    last = np.array(pixels.shape[1::-1]) - 1
    # From the middle of the upright image to that of the stored one, turned back.
    middle, upright_middle = last / 2, (last[::-1] if turns % 2 else last) / 2
    cos, sin = round(np.cos(np.deg2rad(roll))), round(np.sin(np.deg2rad(roll)))
    back = np.array([[cos, -sin], [sin, cos]])
    boxes = [as_box(box) for box in detector(np.ascontiguousarray(np.rot90(pixels, turns)))]
    centers = [back @ ([box.x, box.y] - upright_middle) + middle for box in boxes]
    return [
        replace(box, x=x, y=y, roll=box.roll + roll)
        for box, (x, y) in zip(boxes, np.array(centers).tolist(), strict=True)
    ]


def _pixels(image: Picture) -> np.ndarray:
    """All of them, whatever the crop needs: the same image gives the same landmarks, however it came."""
    if isinstance(image, str | Path):
        return read_image(Path(image))
    if isinstance(image, Image.Image):
        return pixels_of(image)
    if not isinstance(image, np.ndarray):
        raise ValueError(f"an image is a path, a PIL image or an array, got {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"an image as an array is (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
    return image


def _roll(image: Picture) -> float:
    if isinstance(image, str | Path):
        return size_and_roll(Path(image))[1]
    return roll_of(image) if isinstance(image, Image.Image) else 0.0
