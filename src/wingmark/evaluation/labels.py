"""The labels and images of a source in arrays, for checks and tables."""

import hashlib
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

from wingmark.data.regions import in_order
from wingmark.data.sources import Source
from wingmark.data.sources.reading import IMAGE_SUFFIXES
from wingmark.geometry import apply, crop_to_image, invert, procrustes, tight_box
from wingmark.progress import progress
from wingmark.schema import LandmarkSchema
from wingmark.types import Face

SAME_PLACE = 1e-3  # pixels


class ImageFacts(NamedTuple):
    """What decoding an image told. The digest is of its pixels; where it failed, the error is all there is."""

    width: float = np.nan
    height: float = np.nan
    digest: bytes = b""
    error: str = ""


@dataclass(frozen=True, eq=False)
class Labels:
    """N faces of all splits with their landmarks and images; `box` is the one that crops are made of."""

    schema: LandmarkSchema
    box: str
    faces: list[Face]
    splits: list[str]
    images: list[ImageFacts]

    @cached_property
    def landmarks_image(self) -> np.ndarray:
        """(N, K, 2) float64, 0 where not known."""
        points = np.stack([face.landmarks_image for face in self.faces])
        return np.where(self.known[..., None], points, 0.0)

    @cached_property
    def known(self) -> np.ndarray:
        """The landmarks (N, K) that are valid and finite."""
        finite = np.isfinite([face.landmarks_image for face in self.faces]).all(-1)
        return finite & np.stack([face.valid for face in self.faces])

    @cached_property
    def tight_sides(self) -> np.ndarray:
        """Width and height (N, 2) of the tight boxes in pixels, not positive where landmarks span no area."""
        known = self.known[..., None]
        low = np.where(known, self.landmarks_image, np.inf).min(1)
        high = np.where(known, self.landmarks_image, -np.inf).max(1)
        return np.where(self.known.any(1, keepdims=True), high - low, 0.0)

    @cached_property
    def shapes(self) -> "Shapes":
        return Shapes.of(self)

    @cached_property
    def eye_distances(self) -> np.ndarray:
        """Between the centers of the eyes in pixels, (N,), NaN where unknown."""
        if self.schema.inter_pupil is None and self.schema.inter_ocular is None:
            return np.full(len(self.faces), np.nan)
        left, right = (self.landmarks_image[:, list(eye)].mean(1) for eye in self.schema.eyes)
        known = self.known[:, [i for eye in self.schema.eyes for i in eye]].all(1)
        return np.where(known, np.linalg.norm(left - right, axis=1), np.nan)

    @cached_property
    def coincidences(self) -> dict[tuple[int, int], list[int]]:
        """The pairs of landmarks that lie in one place in some face, and the rows of these faces."""
        cells = np.round(self.landmarks_image / SAME_PLACE)
        key = np.where(self.known, cells[..., 0] + 1j * cells[..., 1], np.nan)
        order = np.argsort(key, axis=1, kind="stable")
        key = np.take_along_axis(key, order, axis=1)
        rows, places = np.nonzero(key[:, 1:] == key[:, :-1])  # NaN equals nothing
        pairs = defaultdict(list)
        for row, first, second in zip(rows.tolist(), order[rows, places], order[rows, places + 1], strict=True):
            pairs[int(first), int(second)].append(row)
        return pairs


@dataclass(frozen=True, eq=False)
class Shapes:
    """The faces at `rows` (M,), those with an extent, turned, scaled and moved onto their mean shape.

    aligned: (M, K, 2).
    mean: (K, 2), upright, its longer side about 1: the median of each coordinate, which mislabeled faces hardly move.
    known: (M, K).
    annotated: (K,), the landmarks that any face has.
    sides: (N,), the longer side of the mean shape brought to the size of the face in image pixels, which one wild
        landmark does not change; 0 for other faces. "Faces" as a unit of length are these sides.
    """

    rows: np.ndarray
    aligned: np.ndarray
    mean: np.ndarray
    known: np.ndarray
    annotated: np.ndarray
    sides: np.ndarray

    @classmethod
    def of(cls, labels: Labels) -> "Shapes":
        rows = np.flatnonzero((labels.tight_sides > 0).all(1))
        if not len(rows):
            raise ValueError("no face has landmarks that span an area; check the annotations and data.source")
        landmarks, known = labels.landmarks_image[rows], labels.known[rows]
        boxes = [tight_box(points[ok]) for points, ok in zip(landmarks, known, strict=True)]
        aligned = apply(invert(np.stack([crop_to_image(box, 1) for box in boxes])), landmarks)
        for _ in range(3):
            mean = median(aligned, known)
            aligned = apply(procrustes(aligned, mean, known), aligned)
        mean, annotated, schema = median(aligned, known), known.any(0), labels.schema
        if schema.inter_pupil or schema.inter_ocular:
            left, right = (mean[list(eye), 0].mean() for eye in schema.eyes)
            if left > right:  # most faces are swapped: they are to be found, not the others
                mean, annotated = mean[schema.flip], annotated[schema.flip]
        scale = radii(landmarks, known) / radii(mean[None], annotated[None])
        sides = np.zeros(len(labels.faces))
        sides[rows] = scale * np.ptp(mean[annotated], axis=0).max()
        return cls(rows, aligned, mean, known, annotated, sides)

    def mirrored(self, flip: np.ndarray) -> np.ndarray:
        """The mirror image (K, 2) of the mean shape, landmarks renamed, moved onto it; NaN where either has none."""
        both = (self.annotated & self.annotated[flip])[:, None]
        mirrored = self.mean[flip] * [-1.0, 1.0]
        return np.where(both, mirrored + (self.mean - mirrored).mean(0, where=both), np.nan)

    @cached_property
    def deviations(self) -> np.ndarray:
        """The distance of each landmark from that of the mean shape in faces, (M, K), 0 where not known."""
        return np.where(self.known, np.linalg.norm(self.aligned - self.mean, axis=-1), 0.0)


def look_at_images(source: Source, faces: Sequence[Face], num_workers: int) -> list[ImageFacts]:
    """Decode the image of every face; one that several faces share is decoded once."""
    keys = [face.image if face.image.suffix.lower() in IMAGE_SUFFIXES else face.id for face in faces]
    first = dict(zip(reversed(keys), reversed(faces), strict=True))
    images = _Images(source, list(first.values()))
    facts = dict(zip(first, progress(in_order(images, num_workers), "Decoding images", len(images)), strict=True))
    return [facts[key] for key in keys]


class _Images(Dataset):
    def __init__(self, source: Source, faces: Sequence[Face]) -> None:
        self.source, self.faces = source, faces

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, index: int) -> ImageFacts:
        try:
            image = self.source.read_image(self.faces[index])
        except (ValueError, OSError) as error:
            return ImageFacts(error=str(error))
        height, width = image.shape[:2]
        digest = hashlib.blake2b(f"{width} {height}".encode() + image.tobytes(), digest_size=16).digest()
        return ImageFacts(width, height, digest)


def median(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The median over faces of values (M, K, ...) at the known ones (M, K), 0 where there are none."""
    known = known.reshape(*known.shape, *[1] * (values.ndim - 2))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice")
        return np.nan_to_num(np.nanmedian(np.where(known, values, np.nan), axis=0))


def radii(shapes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Sizes (M,) that a few wild landmarks do not change: median distance from the median point, 0 of nothing."""
    points = np.where(known[..., None], shapes, np.nan)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice")
        distances = np.linalg.norm(points - np.nanmedian(points, axis=1, keepdims=True), axis=-1)
        return np.nan_to_num(np.nanmedian(distances, axis=1))
