"""What is wrong with the labels and images of a source: the checks behind `wingmark inspect`.

Every check is a function from `Labels` to (kind, row, what was found).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wingmark.data.own_boxes import with_own_boxes
from wingmark.data.sources import Source
from wingmark.data.sources.reading import leaving_out
from wingmark.data.sources.source import SPLITS
from wingmark.evaluation.labels import Labels, look_at_images, median, radii
from wingmark.geometry import apply, crop_to_image, invert, procrustes
from wingmark.schema import LandmarkSchema
from wingmark.types import Box

FAR_OUTSIDE = 0.5  # faces beyond the border of the image
EYE_DISTANCE = 8.0  # pixels
EYE_SHARE = 0.07  # faces, unless in profile
PROFILE = 0.6  # width over height, against the mean shape
FEW_FACES = 20  # too few to say what is usual
FEW_LANDMARKS = 10
UNUSUAL = 6.0  # robust standard deviations
SLIPPED = 0.1  # faces off the mean shape
SAME_FACE = 0.1  # faces, mean over the landmarks
OFTEN = 0.05  # of the faces: landmarks that coincide more often are no slip
BOX_SIDES = 3.0  # sides of the tight box
ROUNDING = 1e-6  # faces: what is less is no difference

Found = Iterator[tuple[str, int, str]]


class Finding(NamedTuple):
    """What is wrong with a face. `face` is its id, empty for an annotation that could not be read; `known` is what
    the source's `known_defects` say of it."""

    kind: str
    split: str
    face: str
    value: str
    known: str = ""


def inspect(source: Source, box: str, num_workers: int, boxes: str | None = None) -> tuple[Labels, list[Finding]]:
    """Read all annotations of a source, decode all its images in `num_workers` processes, and check both.

    box: the one that crops are made of; boxes: a file of further ones, see `with_own_boxes`. Raises FileNotFoundError
    or ValueError where the source has no faces at all; what is wrong with one of them is a finding.
    """
    by_split, unreadable = {}, {}
    for split in SPLITS:
        with leaving_out() as left_out:
            by_split[split] = source.faces(split)
        for sentence in left_out:  # a file of all splits is read for each
            unreadable.setdefault(sentence, Finding("unusable annotation", split, "", sentence))
    if boxes is not None:
        by_split = with_own_boxes(by_split, Path(boxes))
    faces = [face for of_split in by_split.values() for face in of_split]
    splits = [split for split, of_split in by_split.items() for _ in of_split]
    if not faces:
        raise ValueError(f"{type(source).__name__} has no faces; check data.source{''.join(list(unreadable)[:1])}")
    expected = (source.schema.num_landmarks, 2)
    for face in faces:
        if face.landmarks_image.shape != expected:
            shape = face.landmarks_image.shape
            raise ValueError(f"face {face.id} has landmarks of shape {shape}, its schema expects {expected}")
    labels = Labels(source.schema, box, faces, splits, look_at_images(source, faces, num_workers))
    return labels, [*unreadable.values(), *_findings(labels, source)]


def _findings(labels: Labels, source: Source) -> Iterator[Finding]:
    known = [source.known_defect(face) for face in labels.faces]
    found = [("known defect", row, defect) for row, defect in enumerate(known) if defect]
    for kind, row, value in chain(found, *(check(labels) for check in CHECKS)):
        yield Finding(kind, labels.splits[row], labels.faces[row].id, value, known[row])


def _unreadable_images(labels: Labels) -> Found:
    for row, facts in enumerate(labels.images):
        if facts.error:
            yield "unreadable image", row, facts.error


def _not_finite(labels: Labels) -> Found:
    wrong = np.stack([face.valid for face in labels.faces]) & ~labels.known
    for row in np.flatnonzero(wrong.any(1)):
        yield "not finite", row, f"valid, but without location: {_landmarks(np.flatnonzero(wrong[row]))}"


def _no_extent(labels: Labels) -> Found:
    for row in np.flatnonzero(~(labels.tight_sides > 0).all(1)):
        width, height = labels.tight_sides[row]
        yield "no extent", row, f"{labels.known[row].sum()} landmarks span {width:g} x {height:g} px"


def _far_outside(labels: Labels) -> Found:
    last = np.array([(facts.width, facts.height) for facts in labels.images])[:, None] - 0.5
    points = labels.landmarks_image
    outside = np.linalg.norm(np.maximum(np.maximum(-0.5 - points, points - last), 0), axis=-1)
    far = labels.known & (outside > FAR_OUTSIDE * labels.shapes.sides[:, None])
    for row in np.flatnonzero(far.any(1)):
        wrong = np.flatnonzero(far[row])
        yield "far outside", row, f"{_landmarks(wrong)} up to {outside[row, wrong].max():.0f} px outside the image"


def _swapped(labels: Labels) -> Found:
    """Left and right exchanged: in the whole face, or in pairs that lie the other way round than in the mean shape."""
    shapes, flip = labels.shapes, labels.schema.flip
    both = shapes.known & shapes.known[:, flip] & shapes.annotated & shapes.annotated[flip]
    chosen = np.flatnonzero((radii(shapes.aligned, both) > 0) & (both.sum(1) > 2))
    aligned, both, rows = shapes.aligned[chosen], both[chosen], shapes.rows[chosen]
    given, renamed = (_misfits(points, shapes.mean, both) for points in (aligned, aligned[:, flip]))
    whole = (renamed < given / 2) & (given > 0.1)
    for row in rows[whole]:
        yield "left and right swapped", row, "all landmarks"
    left = np.flatnonzero(np.arange(len(flip)) < flip)
    usual = shapes.mean[left] - shapes.mean[flip[left]]
    along = ((aligned[:, left] - aligned[:, flip[left]]) * usual).sum(-1) / np.maximum((usual**2).sum(-1), ROUNDING)
    reversed_pairs = both[:, left] & (along < -0.5) & ~whole[:, None]
    for found in np.flatnonzero(reversed_pairs.any(1)):
        pairs = left[reversed_pairs[found]]
        names = [f"{i}-{flip[i]}" for i in pairs]
        yield "left and right swapped", rows[found], _landmarks(names)


def _eyes_close(labels: Labels) -> Found:
    shapes, distance = labels.shapes, labels.eye_distances
    spread = np.where(shapes.known[..., None], shapes.aligned, np.nan)
    width, height = np.nanstd(spread, axis=1).T
    mean_width, mean_height = shapes.mean[shapes.annotated].std(0)
    profile = np.zeros(len(distance), bool)
    profile[shapes.rows] = width * mean_height < PROFILE * height * mean_width
    share = distance / np.maximum(shapes.sides, ROUNDING)
    close = (distance < EYE_DISTANCE) | ((share < EYE_SHARE) & ~profile)
    for row in np.flatnonzero(close):
        yield "eyes close", row, f"{distance[row]:.1f} px, {100 * share[row]:.1f} % of the face"


def _coincident(labels: Labels) -> Found:
    """Landmarks in one place, other than lids or lips that touch, and other than those that often are."""
    sound = _facing(labels.schema) | set(often_coincident(labels))
    by_row = defaultdict(list)
    for pair, rows in sorted(labels.coincidences.items()):
        for row in rows if pair not in sound else ():
            by_row[row].append(f"{pair[0]}={pair[1]}")
    for row, names in sorted(by_row.items()):
        yield "coincident", row, _landmarks(names)


def _facing(schema: LandmarkSchema) -> set[tuple[int, int]]:
    """The landmarks of eyes and mouths that meet when these close: as far from the first corner on either side."""
    closed = [contour.indices for contour in schema.contours.values() if contour.closed]
    return {tuple(sorted((line[i], line[-i]))) for line in closed for i in range(1, (len(line) + 1) // 2)}


def often_coincident(labels: Labels) -> dict[tuple[int, int], float]:
    """Landmarks in one place in so many faces that it is the markup's way or the annotators', and their share."""
    shares = {pair: len(rows) / len(labels.faces) for pair, rows in labels.coincidences.items()}
    return {pair: share for pair, share in shares.items() if share > OFTEN and pair not in _facing(labels.schema)}


def _unusual_shapes(labels: Labels) -> Found:
    """Shapes far from all others."""
    shapes = labels.shapes
    if len(shapes.rows) >= FEW_FACES:
        distance = np.sqrt((shapes.deviations**2).sum(1) / shapes.known.sum(1))
        z = _robust_z(distance)
        for found in np.flatnonzero(z > UNUSUAL):
            yield "unusual shape", shapes.rows[found], f"{distance[found]:.2f} faces from the mean (z {z[found]:.1f})"


def _unusual_landmarks(labels: Labels) -> Found:
    """Single landmarks that stick out of their face: far from the mean shape while all but three others are not.

    Where landmarks are few, each weighs so much in the whole shape that this one tells.
    """
    shapes = labels.shapes
    chosen = np.flatnonzero(shapes.known.sum(1) >= FEW_LANDMARKS)
    if len(chosen) < FEW_FACES:
        return
    deviations = shapes.deviations[chosen]
    excess = deviations / np.maximum(median(deviations, shapes.known[chosen]), ROUNDING)
    worst = excess.argmax(1)
    ordered = np.maximum(np.sort(excess, axis=1), ROUNDING)
    z = _robust_z(np.log(ordered[:, -1] / ordered[:, -4]))
    for found in np.flatnonzero((z > UNUSUAL) & (deviations[np.arange(len(worst)), worst] > SLIPPED)):
        landmark = worst[found]
        value = f"landmark {landmark} off by {deviations[found, landmark]:.2f} faces (z {z[found]:.1f})"
        yield "unusual landmark", shapes.rows[chosen[found]], value


def _boxes(labels: Labels) -> Found:
    for row, face in enumerate(labels.faces):
        if labels.box not in ("tight", *face.boxes):
            yield "no box", row, f"data.protocol.box is {labels.box}, the face has {', '.join(face.boxes) or 'none'}"
        points, side = labels.landmarks_image[row, labels.known[row]], labels.tight_sides[row].max()
        for name, box in face.boxes.items() if len(points) else ():
            fault = _fault(box, points, side)
            if fault:
                yield "box off", row, f"{name}: {fault}"


def _fault(box: Box, points: np.ndarray, side: float) -> str:
    """What is wrong with a box around landmarks (n, 2) whose tight box has the longer side `side`."""
    longer = max(box.width, box.height)
    if not (np.isfinite([box.x, box.y, box.roll]).all() and box.width > 0 and box.height > 0 and np.isfinite(longer)):
        return f"no area ({box})"
    in_box = abs(apply(invert(crop_to_image(box, 1)), points)) <= np.array([box.width, box.height]) / longer / 2
    share, sides = in_box.all(1).mean(), longer / max(side, ROUNDING)
    if share < 0.5 or not 1 / BOX_SIDES < sides < BOX_SIDES:
        return f"{100 * share:.0f} % of the landmarks inside, its side {sides:.2g} times theirs"
    return ""


def _same_images(labels: Labels) -> Found:
    """The same pixels as two photos, and the same face twice on them."""
    by_digest = defaultdict(list)
    for row, facts in enumerate(labels.images):
        if facts.digest:
            by_digest[facts.digest].append(row)
    for rows in by_digest.values():
        photos = {}
        for position, row in enumerate(rows):
            split, group = labels.splits[row], labels.faces[row].group
            elsewhere = [first for (other, _), first in photos.items() if other != split]
            if (split, group) not in photos and photos:
                first = (elsewhere or list(photos.values()))[0]
                kind = "image in two splits" if elsewhere else "image twice"
                yield kind, row, f"same pixels as {labels.faces[first].id} ({labels.splits[first]})"
            photos.setdefault((split, group), row)
            for first in rows[:position]:
                if _same_face(labels, first, row):
                    yield "face twice", row, f"as {labels.faces[first].id} ({labels.splits[first]})"
                    break


def _same_face(labels: Labels, first: int, second: int) -> bool:
    both = labels.known[first] & labels.known[second]
    gaps = np.linalg.norm(labels.landmarks_image[first, both] - labels.landmarks_image[second, both], axis=1)
    return bool(both.any() and gaps.mean() < SAME_FACE * labels.shapes.sides[first])


def _photos_in_two_splits(labels: Labels) -> Found:
    first_rows: dict[str, dict[str, int]] = defaultdict(dict)
    for row, face in enumerate(labels.faces):
        first_rows[face.group].setdefault(labels.splits[row], row)
    for group, rows in first_rows.items():
        (split, first), *others = rows.items()
        for _, row in others:
            yield "photo in two splits", row, f"{group} is also in {split}: {labels.faces[first].id}"


CHECKS = (
    _unreadable_images,
    _not_finite,
    _no_extent,
    _swapped,
    _unusual_shapes,
    _unusual_landmarks,
    _far_outside,
    _eyes_close,
    _coincident,
    _boxes,
    _photos_in_two_splits,
    _same_images,
)


def _misfits(shapes: np.ndarray, mean: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Root mean square distances (M,) of shapes from the mean, each brought as close to it as it gets."""
    gaps = (apply(procrustes(shapes, mean, known), shapes) - mean) ** 2
    return np.sqrt(gaps.sum(-1).sum(1, where=known) / known.sum(1))


def _robust_z(values: np.ndarray) -> np.ndarray:
    """How many standard deviations above the others, both estimated by medians."""
    excess = values - np.median(values)
    return excess / (1.4826 * max(np.median(abs(excess)), ROUNDING))


def _landmarks(names: Sequence[object]) -> str:
    """Some landmarks in a few words."""
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"landmark{'s' * (len(names) > 1)} {', '.join(map(str, names[:4]))}{more}"
