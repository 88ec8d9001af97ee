"""Pose-based data balancing (PDB, Wing paper, CVPR 2018): faces of rare poses come more often."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wingmark.geometry import apply, crop_to_image, invert, procrustes
from wingmark.protocol import Protocol
from wingmark.schema import LandmarkSchema
from wingmark.types import Face

ALIKE = 1e-9  # sides of the crop: what rounding leaves of equal shapes


@dataclass(frozen=True, eq=False)
class Poses:
    """Poses of N faces along C components of their aligned shapes, in sides of the crop, and how often each comes."""

    mean: np.ndarray  # (K, 2)
    components: np.ndarray  # (C, K, 2), orthonormal; positive turns to the right of the image
    coefficients: np.ndarray  # (N, C)
    yaw_correlations: np.ndarray  # (C,)
    axis: int  # the component taken for the pose, counted from 1
    signed: bool  # bins are of the coefficient; else of its absolute value
    edges: np.ndarray  # (bins + 1,)
    faces_by_bin: np.ndarray  # (bins,) int64
    repeats_by_bin: np.ndarray  # (bins,) int64
    repeats: np.ndarray  # (N,) int64, how often every face comes in an epoch

    @property
    def shares(self) -> np.ndarray:
        """The share of each component in the variance of the shapes, (C,)."""
        return self.coefficients.var(0) / self.coefficients.var(0).sum()

    @property
    def pose(self) -> np.ndarray:
        """The coefficient taken for the pose, (N,)."""
        return self.coefficients[:, self.axis - 1]


@dataclass(frozen=True)
class PoseBalancing:
    """Repeats training faces of rare poses until all poses are about as frequent; each repeat is augmented anew.

    The pose of a face is its coefficient along one principal component of all aligned shapes, by which they fall
    into bins. Look at the components before training: `wingmark balance --config RECIPE` draws them.

    bins: of equal width; the faces of a bin are repeated until it is about as full as the fullest.
    axis: the component taken for the pose, counted from 1; the paper takes 2 for 19 landmarks, else 1. `auto` is the
        one most correlated with yaw, measured by how much a shape differs from its mirror image.
    signed: bin left and right apart; else, as in the paper, both sides share their bins.
    max_repeats: no face comes more often in an epoch.

    A landmark that is not valid is taken to lie where the mean shape has it. The steps are those of the paper's
    published code, but faces are never mirrored for alignment nor counted twice, empty bins stay empty, every face
    comes at least once, at most `max_repeats` times, and there may be fewer faces than coordinates.
    """

    bins: int = 9
    axis: int | str = "auto"
    signed: bool = False
    max_repeats: int = 20

    def __post_init__(self) -> None:
        sound_axis = self.axis == "auto" or (isinstance(self.axis, int) and self.axis > 0)
        if self.bins < 2 or self.max_repeats < 2 or not sound_axis:
            raise ValueError(
                "data.balancing: bins and max_repeats are 2 or more, axis is auto or a component counted from 1; "
                f"got {self}"
            )

    def poses(self, faces: Sequence[Face], schema: LandmarkSchema, protocol: Protocol) -> Poses:
        """Measure and bin the poses of faces, brought into the protocol's crop first: big faces count like small ones.

        Raises ValueError where there are no two faces of different shape, or no component with the number `axis`.
        """
        mean, deviations = _align(faces, schema, protocol)
        flat = deviations.reshape(len(faces), -1)
        spreads, components = np.linalg.svd(flat, full_matrices=False)[1:]
        spreads = spreads[spreads > ALIKE]
        if not len(spreads):
            raise ValueError(f"data.balancing needs training faces of different shapes, got {len(faces)}, all alike")
        components = components[: len(spreads)].reshape(-1, *mean.shape)
        components *= _signs(components, schema)[:, None, None]
        coefficients = flat @ components.reshape(len(spreads), -1).T
        yaw = flat @ _yaw_direction(deviations, schema)
        correlations = yaw @ coefficients / np.linalg.norm(yaw) / spreads
        axis = int(abs(correlations).argmax()) + 1 if self.axis == "auto" else self.axis
        if axis > len(spreads):
            raise ValueError(f"data.balancing.axis is {axis}, but the shapes have only {len(spreads)} components")
        bins = self.count(coefficients[:, axis - 1])
        return Poses(mean, components, coefficients, correlations, axis, self.signed, *bins)

    def count(self, coefficient: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The last four fields of `Poses`, from the coefficient (N,) taken for the pose."""
        pose = coefficient if self.signed else abs(coefficient)
        edges, bin_of_face, faces = _histogram(pose, pose.min() if self.signed else 0.0, self.bins)
        # The published code takes its aim from a second histogram, whose bins begin at the smallest value.
        aim = _histogram(pose, pose.min(), self.bins)[2].max()
        halves_up = np.floor(aim / np.maximum(faces, 1) + 0.5).astype(np.int64)
        repeats = np.where(faces > 0, np.clip(halves_up, 1, self.max_repeats), 0)
        return edges, faces, repeats, repeats[bin_of_face]


def _align(faces: Sequence[Face], schema: LandmarkSchema, protocol: Protocol) -> tuple[np.ndarray, np.ndarray]:
    """The mean (K, 2) of the aligned shapes, and how each face differs from it, (N, K, 2), 0 where not valid."""
    to_crop = np.stack([invert(crop_to_image(protocol.crop_box(face), 1, protocol.margin)) for face in faces])
    shapes = apply(to_crop, np.stack([face.landmarks_image for face in faces]))
    valid = np.stack([face.valid for face in faces])
    if not valid.any(0).all():
        raise ValueError(
            f"data.balancing needs every landmark in some training face, but {schema.name} landmarks "
            f"{np.flatnonzero(~valid.any(0)).tolist()} are valid in none; set it to null"
        )
    known = valid[..., None]
    shapes = apply(procrustes(shapes, shapes.mean(0, where=known), valid), shapes)
    mean = shapes.mean(0, where=known)
    return mean, np.where(known, shapes - mean, 0.0)


def _yaw_direction(deviations: np.ndarray, schema: LandmarkSchema) -> np.ndarray:
    """The direction (2K,) in which faces differ most from their own mirror images, which is yaw."""
    mirrored = deviations[:, schema.flip] * [-1.0, 1.0]
    parts = ((deviations - mirrored) / 2).reshape(len(deviations), -1)
    direction = np.linalg.svd(parts, full_matrices=False)[2][0]
    return direction * _signs(direction.reshape(1, -1, 2), schema)


def _signs(components: np.ndarray, schema: LandmarkSchema) -> np.ndarray:
    """1 for each component (C, K, 2) that turns to the right of the image, -1 for each that turns to the left.

    When a face turns to the right, the landmarks on its midline move to the right of those beside it. Where the schema
    has no such landmarks, the largest entry is made positive.
    """
    middle = schema.flip == np.arange(schema.num_landmarks)
    if middle.any() and not middle.all():
        turn = components[:, middle, 0].mean(1) - components[:, ~middle, 0].mean(1)
    else:
        flat = components.reshape(len(components), -1)
        turn = flat[np.arange(len(flat)), abs(flat).argmax(1)]
    return np.where(turn < 0, -1.0, 1.0)


def _histogram(values: np.ndarray, low: float, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges, bin of each value and counts of `bins` bins from `low` to the largest value, half open except the last."""
    edges = np.linspace(low, values.max(), bins + 1)
    chosen = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, bins - 1)
    return edges, chosen, np.bincount(chosen, minlength=bins)
