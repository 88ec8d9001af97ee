"""Any other source, its faces with the boxes that a first stage found."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from wingmark.data.sources.derived import DerivedSource
from wingmark.data.sources.reading import entry
from wingmark.data.sources.source import Source, Split
from wingmark.foreign import read_arrays
from wingmark.geometry import eye_level_boxes
from wingmark.types import Box, Face, name_faces


class FirstStage(NamedTuple):
    """What a first stage found, by the id of the face, and the ids of those that it was trained on."""

    boxes: dict[str, Box]
    trained_on: set[str]


class Refined(DerivedSource):
    """The faces of `source` with one more box, `refined`, for a second stage (Wing, CVPR 2018).

    It is the smallest box, turned with the eyes, around the landmarks that the first stage found: `predictions` is the
    file that `wingmark predict --run FIRST --faces all` wrote. The author names the roll from two landmarks or from a
    fit to the mean face; here it is that of the line between the eyes, which needs no mean face.

    Faces that the first stage was trained on must be training faces here, too: it finds them better than new ones.
    """

    def __init__(self, source: Source, predictions: str) -> None:
        super().__init__(source)
        self.predictions = Path(predictions)

    def faces(self, split: Split) -> list[Face]:
        faces = self.source.faces(split)
        if not faces:
            return []
        boxes, refined = self._first_stage.boxes, []
        for face in faces:
            with entry(self.predictions, "write it with wingmark predict --run FIRST --faces all"):
                if face.id not in boxes:
                    raise ValueError(f"face {face.id} is not in it; the first stage must be trained on these faces")
                refined.append(replace(face, boxes={**face.boxes, "refined": boxes[face.id]}))
        return refined

    def check_splits(self, faces: dict[Split, list[Face]]) -> None:
        super().check_splits(faces)
        for split in ("val", "test"):
            ids = [face.id for face in faces[split]]
            trained_on = np.array([face in self._first_stage.trained_on for face in ids])
            if trained_on.any():
                raise ValueError(
                    f"the first stage of {self.predictions} was trained on {name_faces(ids, trained_on)}, which are "
                    f"{split} faces now; give data.holdout as it was then"
                )

    @cached_property
    def _first_stage(self) -> "FirstStage":
        ids, landmarks_image, tags = self._read()
        shape = (len(ids), self.schema.num_landmarks, 2)
        if landmarks_image.shape != shape:
            raise ValueError(
                f"{self.predictions} holds landmarks of shape {landmarks_image.shape}, {len(ids)} ids and schema "
                f"{self.schema.name} make {shape}; give the predictions of a first stage trained on this source"
            )
        if len(tags) != len(ids):
            raise ValueError(f"{self.predictions} holds {len(ids)} ids and {len(tags)} tags; write it again")
        unsound = ~np.isfinite(landmarks_image).all((1, 2))
        if unsound.any():
            raise ValueError(
                f"{self.predictions} holds landmarks that are not finite in {name_faces(ids, unsound)}; "
                "train the first stage again"
            )
        if len(set(ids)) < len(ids):
            raise ValueError(f"{self.predictions} holds several predictions for one face; write it again")
        boxes = eye_level_boxes(torch.from_numpy(landmarks_image), self.schema.eyes).tolist()
        trained_on = {face for face, of_face in zip(ids, tags, strict=True) if "train" in of_face.split(";")}
        return FirstStage({face: Box(*box) for face, box in zip(ids, boxes, strict=True)}, trained_on)

    def _read(self) -> tuple[list[str], np.ndarray, list[str]]:
        """Ids (N,), landmarks (N, K, 2) and tags (N,) of the file."""
        if not self.predictions.is_file():
            raise FileNotFoundError(
                f"there are no predictions {self.predictions}; write them with wingmark predict --run FIRST --faces all"
            )
        arrays, names = read_arrays(self.predictions), ("id", "landmarks_image", "tags")
        if missing := [name for name in names if name not in arrays]:
            raise ValueError(
                f"{self.predictions} lacks the arrays {missing}; write it with wingmark predict --run FIRST --faces all"
            )
        ids, landmarks_image, tags = (arrays[name] for name in names)
        if ids.ndim != 1 or tags.ndim != 1 or landmarks_image.dtype.kind not in "iuf":
            raise ValueError(f"{self.predictions}: expected ids and tags of faces, and numbers; write it again")
        return ids.astype(str).tolist(), landmarks_image.astype(np.float64), tags.astype(str).tolist()
