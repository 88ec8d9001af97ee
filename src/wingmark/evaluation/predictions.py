"""Predictions of a whole split, as a file that everything reads: `predictions.npz`."""

import json
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from wingmark.evaluation.prediction_files import check, read_arrays
from wingmark.files import whole_file
from wingmark.metrics.functional import face_errors, face_nme
from wingmark.protocol import Protocol
from wingmark.schema import LandmarkSchema
from wingmark.types import Face

FACES_AT_ONCE = 4096  # in every step over large arrays: a hundred thousand faces need no second copy of them


@dataclass(frozen=True, eq=False)
class Predictions:
    """Landmarks found and true for N faces, in pixels of the original images, and the rules to compare them by.

    box holds center, sides and roll of the box that made the crop, without margin; score is None where the codec
    defines none, expected_error, in pixels of the image, where the model was not calibrated. All three are None where
    the file does not tell. tags are joined by semicolons.
    """

    id: np.ndarray  # (N,) str
    landmarks_image: np.ndarray  # (N, K, 2) float64
    target: np.ndarray  # (N, K, 2) float64
    valid: np.ndarray  # (N, K) bool
    normalizer: np.ndarray  # (N,) float64
    group: np.ndarray  # (N,) str
    tags: np.ndarray  # (N,) str
    protocol: Protocol
    schema: LandmarkSchema
    box: np.ndarray | None = None  # (N, 5) float64
    score: np.ndarray | None = None  # (N, K) float32
    expected_error: np.ndarray | None = None  # (N, K) float32

    @classmethod
    def of_faces(
        cls,
        faces: list[Face],
        schema: LandmarkSchema,
        protocol: Protocol,
        landmarks_image: np.ndarray,
        score: np.ndarray | None = None,
        expected_error: np.ndarray | None = None,
    ) -> "Predictions":
        """Put what was found beside what the annotation says."""
        boxes = [protocol.crop_box(face) for face in faces]
        ids = np.array([face.id for face in faces])
        target, valid = np.stack([face.landmarks_image for face in faces]), np.stack([face.valid for face in faces])
        return cls(
            id=ids,
            landmarks_image=landmarks_image,
            target=target,
            valid=valid,
            normalizer=protocol.normalizers_of(faces, schema),
            group=np.array([face.group for face in faces]),
            tags=np.array([";".join(sorted(face.tags)) for face in faces]),
            protocol=protocol,
            schema=schema,
            box=np.array([(box.x, box.y, box.width, box.height, box.roll) for box in boxes]),
            score=score,
            expected_error=expected_error,
        )

    def errors(self) -> np.ndarray:
        """Distances over the normalizer (N, K), NaN where no landmark is annotated."""
        arrays = (self.landmarks_image, self.target, self.normalizer, self.valid)
        errors = np.empty(self.valid.shape)
        for start in range(0, len(errors), FACES_AT_ONCE):
            part = slice(start, start + FACES_AT_ONCE)
            errors[part] = face_errors(*(torch.from_numpy(array[part]) for array in arrays)).numpy()
        return errors

    def nme(self) -> np.ndarray:
        """The NME of each face (N,)."""
        return face_nme(torch.from_numpy(self.errors())).numpy()

    def subsets(self) -> dict[str, np.ndarray]:
        """Which faces (N,) belong to `full` and to every tag, in the order of the protocol's list, then by name."""
        kinds, kind = np.unique(self.tags, return_inverse=True)
        carried = [{tag.strip() for tag in tags.split(";")} - {""} for tags in kinds]
        tags = set().union(*carried)
        if "full" in tags:
            raise ValueError("a tag is called full, which names all faces in tables; rename the tag")
        listed = [tag for tag in self.protocol.faces if tag in tags]
        order = [*listed, *sorted(tags.difference(listed))]
        members = {tag: np.array([tag in of_kind for of_kind in carried])[kind] for tag in order}
        return {"full": np.ones(len(self.id), bool), **members}

    def save(self, path: Path) -> None:
        """Write `predictions.npz`. Not compressed: coordinates hardly shrink, and it would take most of the time."""
        arrays = {key: value for key, value in vars(self).items() if value is not None}
        rules = {key: json.dumps(arrays.pop(key).to_dict()) for key in ("protocol", "schema")}
        with whole_file(path) as temporary:
            np.savez(temporary, **arrays, **rules)

    @classmethod
    def load(cls, path: Path, protocol: Protocol | None = None, schema: LandmarkSchema | None = None) -> "Predictions":
        """Read predictions of wingmark or of anyone, npz or csv, see `prediction_files`, and check them.

        Without protocol and schema the file's own count; a schema that neither names is the built-in one with as
        many landmarks. Raises FileNotFoundError, and ValueError naming the rows that are at fault.
        """
        arrays = check(read_arrays(path), protocol, schema, path)
        return cls(**{f.name: arrays.get(f.name) for f in fields(cls)})
