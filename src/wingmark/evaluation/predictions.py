"""Predictions of a whole split, as a file that everything reads: `predictions.npz`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from wingmark.files import whole_file
from wingmark.metrics.functional import face_errors
from wingmark.protocol import Protocol
from wingmark.schema import LandmarkSchema
from wingmark.types import Face


@dataclass(frozen=True, eq=False)
class Predictions:
    """Landmarks found and true for N faces, in pixels of the original images.

    box holds center, sides and roll of the box that made the crop, without margin. score is None where the codec
    defines none.
    """

    id: np.ndarray  # (N,) str
    landmarks_image: np.ndarray  # (N, K, 2) float64
    target: np.ndarray  # (N, K, 2) float64
    valid: np.ndarray  # (N, K) bool
    normalizer: np.ndarray  # (N,) float64
    box: np.ndarray  # (N, 5) float64
    score: np.ndarray | None = None  # (N, K) float32

    @classmethod
    def of_faces(
        cls,
        faces: list[Face],
        schema: LandmarkSchema,
        protocol: Protocol,
        landmarks_image: np.ndarray,
        score: np.ndarray | None,
    ) -> "Predictions":
        """Put what was found beside what the annotation says."""
        boxes = [protocol.crop_box(face) for face in faces]
        return cls(
            id=np.array([face.id for face in faces]),
            landmarks_image=landmarks_image,
            target=np.stack([face.landmarks_image for face in faces]),
            valid=np.stack([face.valid for face in faces]),
            normalizer=np.array([protocol.normalize_by(face, schema) for face in faces]),
            box=np.array([(box.x, box.y, box.width, box.height, box.roll) for box in boxes]),
            score=score,
        )

    def errors(self) -> np.ndarray:
        """Distances over the normalizer (N, K), NaN where no landmark is annotated."""
        arrays = (self.landmarks_image, self.target, self.normalizer, self.valid)
        return face_errors(*(torch.from_numpy(array) for array in arrays)).numpy()

    def save(self, path: Path) -> None:
        arrays = {key: value for key, value in vars(self).items() if value is not None}
        with whole_file(path) as temporary:
            np.savez_compressed(temporary, **arrays)

    @classmethod
    def load(cls, path: Path) -> "Predictions":
        with np.load(path) as arrays:
            return cls(**arrays)
