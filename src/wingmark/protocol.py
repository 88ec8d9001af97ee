"""Protocols: named, versioned ways to evaluate. A number without its protocol means nothing."""

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from wingmark.geometry import tight_box
from wingmark.schema import LandmarkSchema
from wingmark.types import Box, Face


@dataclass(frozen=True)
class Protocol:
    """How faces are cropped and errors are counted.

    name: `data/normalizer/version`, printed with every number.
    box: which of the face's named boxes makes the crop: `dataset`, `detector`, `file`, or `tight`, the smallest
        box around the true landmarks (it leaks the answer, as most published tables do).
    margin: the crop's side over the longer side of the box.
    normalizer: what errors are divided by: the distance of the outer eye corners or of the pupils, the root of
        the tight box's area, or its diagonal.
    threshold: t of FR@t and AUC@t, a fraction.
    """

    name: str
    box: str = "tight"
    margin: float = 1.25
    normalizer: Literal["inter_ocular", "inter_pupil", "box_size", "box_diagonal"] = "inter_ocular"
    threshold: float = 0.08

    def __post_init__(self) -> None:
        for key in ("margin", "threshold"):
            if not getattr(self, key) > 0:
                raise ValueError(f"protocol {self.name}: {key} must be positive, got {getattr(self, key)}")

    def check(self, schema: LandmarkSchema) -> None:
        """Refuse a schema without the landmarks that the normalizer is made of."""
        if self.normalizer in ("inter_ocular", "inter_pupil") and getattr(schema, self.normalizer) is None:
            raise ValueError(
                f"protocol {self.name} divides errors by {self.normalizer}, which schema {schema.name} does "
                "not define; add it to the schema or choose data.protocol.normalizer box_size or box_diagonal"
            )

    def crop_box(self, face: Face) -> Box:
        """The box that makes the crop, without margin."""
        if self.box == "tight":
            return tight_box(face.landmarks_image[face.valid])
        if self.box not in face.boxes:
            raise ValueError(
                f"face {face.id} has no box {self.box!r}, only {[*sorted(face.boxes), 'tight']}; "
                "change data.protocol.box"
            )
        return face.boxes[self.box]

    def normalize_by(self, face: Face, schema: LandmarkSchema) -> float:
        """The length in image pixels that this face's errors are divided by; ValueError where it is not positive."""
        if self.normalizer in ("inter_ocular", "inter_pupil"):
            first, second = (np.atleast_1d(eye) for eye in getattr(schema, self.normalizer))
            if not face.valid[[*first, *second]].all():
                raise ValueError(
                    f"face {face.id}: {self.normalizer} needs landmarks {[*first.tolist(), *second.tolist()]}, not all "
                    "are valid; annotate them or choose data.protocol.normalizer box_size"
                )
            points = face.landmarks_image
            length = np.linalg.norm(points[first].mean(0) - points[second].mean(0))
        else:
            box = tight_box(face.landmarks_image[face.valid])
            length = (
                np.sqrt(box.width * box.height) if self.normalizer == "box_size" else np.hypot(box.width, box.height)
            )
        if not length > 0:
            raise ValueError(f"face {face.id}: {self.normalizer} is {length} px, errors cannot be divided by it")
        return float(length)

    def to_dict(self) -> dict:
        """Plain strings and numbers; `Protocol(**d)` builds the same protocol again."""
        return asdict(self)


BUILT_IN = {
    p.name: p
    for p in (
        Protocol("synthetic/inter-ocular/v1", box="dataset", margin=1.1, threshold=0.08),
        Protocol("300w-tight/inter-ocular/v1", box="tight", margin=1.25, threshold=0.08),
        Protocol("wflw/inter-ocular/v1", box="dataset", margin=1.25, threshold=0.10),
        Protocol("csv-tight/inter-ocular/v1", box="tight", margin=1.25, threshold=0.08),
    )
}


def get(name: str) -> Protocol:
    """The built-in protocol of that name."""
    if name not in BUILT_IN:
        raise ValueError(
            f"data.protocol: no built-in protocol {name!r}; there are {', '.join(BUILT_IN)}, "
            "or give its fields: {name, box, margin, normalizer, threshold}"
        )
    return BUILT_IN[name]
