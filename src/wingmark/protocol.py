"""Protocols: named, versioned ways to evaluate. A number without its protocol means nothing.

A protocol of one's own is a YAML file with the fields of `Protocol`; its path goes wherever a protocol's name does.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import yaml

from wingmark.geometry import tight_box
from wingmark.schema import LandmarkSchema
from wingmark.types import Box, Face, name_faces

Normalizer = Literal["inter_ocular", "inter_pupil", "box_size", "box_diagonal"]


@dataclass(frozen=True)
class Protocol:
    """Which faces are tested, how they are cropped and how errors are counted.

    Every face counts alike: its NME is the mean over its valid landmarks, however many there are.

    name: `data/normalizer/version`, printed with every number.
    box: which of the face's named boxes makes the crop: `dataset`, `detector`, `file`, `refined` (by a first stage), or
        `tight`, the smallest box around the true landmarks (it leaks the answer, as most published tables do).
    margin: the crop's side over the longer side of the box.
    normalizer: what errors are divided by: the distance of the outer eye corners or of the pupils, the root of
        the tight box's area, or its diagonal.
    threshold: t of FR@t and AUC@t, a fraction.
    tag: only test faces with this tag count; all without it.
    parts: tags of which every test face has exactly one, such as 300W's common and challenge.
    faces: how many faces the published test list has, `full` and by tag; another number is reported loudly.
    """

    name: str
    box: str = "tight"
    margin: float = 1.25
    normalizer: Normalizer = "inter_ocular"
    threshold: float = 0.08
    tag: str | None = None
    parts: tuple[str, ...] = ()
    faces: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in ("margin", "threshold"):
            value = getattr(self, key)
            if not isinstance(value, int | float) or not value > 0:
                raise ValueError(f"protocol {self.name}: {key} must be a positive number, got {value!r}")
            object.__setattr__(self, key, float(value))  # 1 and 1.0 are the same rule, with the same digest
        if self.threshold >= 1:
            raise ValueError(f"protocol {self.name}: threshold is a fraction, 0.08 for 8 %, got {self.threshold:g}")
        if self.normalizer not in get_args(Normalizer):
            raise ValueError(
                f"protocol {self.name}: normalizer must be one of {', '.join(get_args(Normalizer))}, "
                f"got {self.normalizer!r}"
            )
        strings = (self.name, self.box, self.tag or "", *self.parts)
        if isinstance(self.parts, str) or not all(isinstance(value, str) for value in strings):
            raise ValueError(f"protocol {self.name}: name, box, tag and each of the list parts must be words")
        if not isinstance(self.faces, dict) or not all(type(count) is int for count in self.faces.values()):
            raise ValueError(f"protocol {self.name}: faces must name numbers of faces, got {self.faces!r}")

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

    def normalizers(
        self, ids: Sequence[str], landmarks_image: np.ndarray, valid: np.ndarray, schema: LandmarkSchema
    ) -> np.ndarray:
        """The lengths in image pixels that the errors of N faces are divided by, (N,) float64.

        landmarks_image: the true landmarks (N, K, 2). valid: (N, K). Raises ValueError naming the faces whose length
        is unknown or not positive.
        """
        if self.normalizer in ("inter_ocular", "inter_pupil"):
            first, second = (np.atleast_1d(eye) for eye in getattr(schema, self.normalizer))
            eyes = [*first, *second]
            unknown = ~valid[:, eyes].all(1)
            if unknown.any():
                raise ValueError(
                    f"{self.normalizer} needs the landmarks {np.array(eyes).tolist()}, not all are valid in "
                    f"{name_faces(ids, unknown)}; annotate them or choose another normalizer, such as box_size"
                )
            between = landmarks_image[:, first].mean(1) - landmarks_image[:, second].mean(1)
            lengths = np.linalg.norm(between, axis=1)
        else:
            known = valid[..., None]
            low = np.where(known, landmarks_image, np.inf).min(1)
            width, height = (np.where(known, landmarks_image, -np.inf).max(1) - low).T
            lengths = np.sqrt(width * height) if self.normalizer == "box_size" else np.hypot(width, height)
        wrong = ~(np.isfinite(lengths) & (lengths > 0))
        if wrong.any():
            raise ValueError(
                f"{self.normalizer} is zero or not finite in {name_faces(ids, wrong)}; errors cannot be divided by it"
            )
        return lengths

    @property
    def digest(self) -> str:
        """Eight letters that change with anything but the name: equal names with other rules are told apart."""
        # Fields at their defaults are left out, so that a field added later leaves old digests as they are.
        own = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) != _default(f)}
        del own["name"]
        return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def label(self) -> str:
        """Name and digest, as they stand beside every number."""
        return f"{self.name}#{self.digest}"

    def to_dict(self) -> dict:
        """Plain strings, numbers and lists; `from_dict` builds the same protocol again."""
        return {**asdict(self), "parts": list(self.parts)}

    @classmethod
    def from_dict(cls, content: dict) -> "Protocol":
        """Build and check a protocol from the content of a file."""
        if not isinstance(content, dict):
            raise ValueError(f"expected keys and values, got {type(content).__name__}")
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(content) - set(known))
        if unknown or "name" not in content:
            fault = f"unknown keys {unknown}" if unknown else "there is no name"
            raise ValueError(f"{fault}; the keys are {', '.join(known)}")
        parts = content.get("parts", ())
        return cls(**{**content, "parts": tuple(parts) if isinstance(parts, list) else parts})


def _default(f) -> object:
    return f.default_factory() if callable(f.default_factory) else f.default


WFLW_FACES = {
    "full": 2500,
    "pose": 326,
    "expression": 314,
    "illumination": 698,
    "make-up": 206,
    "occlusion": 736,
    "blur": 773,
}
FACES_300W = {"full": 689, "common": 554, "challenge": 135}
PARTS_300W = ("common", "challenge")
# The box is the tight one, as in most published tables; errors over the outer eye corners since about 2018, over the
# pupils before.
BUILT_IN = {
    p.name: p
    for p in (
        Protocol("synthetic/inter-ocular/v1", box="dataset", margin=1.1),
        Protocol("300w/inter-ocular/v1", parts=PARTS_300W, faces=FACES_300W),
        Protocol("300w/inter-pupil/v1", normalizer="inter_pupil", parts=PARTS_300W, faces=FACES_300W),
        Protocol("300w-common/inter-ocular/v1", tag="common", faces={"full": 554}),
        Protocol("300w-challenge/inter-ocular/v1", tag="challenge", faces={"full": 135}),
        # The same crop from the boxes of a detector, which know nothing of the answer.
        Protocol("300w-detector/inter-ocular/v1", box="detector", parts=PARTS_300W, faces=FACES_300W),
        Protocol("300w-detector/inter-pupil/v1", "detector", 1.25, "inter_pupil", parts=PARTS_300W, faces=FACES_300W),
        # As the Adaptive Wing paper crops (section 7.3): the box that comes with the data, WFLW's enlarged by a tenth.
        Protocol("300w-awing/inter-ocular/v1", "detector", 1.0, parts=PARTS_300W, faces=FACES_300W),
        Protocol("300w-awing/inter-pupil/v1", "detector", 1.0, "inter_pupil", parts=PARTS_300W, faces=FACES_300W),
        Protocol("wflw-awing/inter-ocular/v1", "dataset", 1.1, threshold=0.10, faces=WFLW_FACES),
        # Faces cut from the training photos (data.holdout): for copies without the test sets.
        Protocol("300w-holdout/inter-ocular/v1"),
        # The second of two stages (Wing): the box is made of the landmarks that the first one found, see `Refined`. The
        # paper's margin is not known; this one is that of the tight box, to which the refined one comes close.
        Protocol("300w-refined/inter-ocular/v1", box="refined", parts=PARTS_300W, faces=FACES_300W),
        Protocol("300w-holdout-refined/inter-ocular/v1", box="refined"),
        Protocol("wflw-refined/inter-ocular/v1", box="refined", threshold=0.10, faces=WFLW_FACES),
        Protocol("wflw/inter-ocular/v1", box="dataset", threshold=0.10, faces=WFLW_FACES),
        Protocol("wflw-tight/inter-ocular/v1", threshold=0.10, faces=WFLW_FACES),
        Protocol("csv-tight/inter-ocular/v1"),
        Protocol("csv-file/inter-ocular/v1", box="file"),
    )
}


def get(name_or_path: str) -> Protocol:
    """The built-in protocol of that name, or the one in a user's YAML file; ValueError where there is neither."""
    if name_or_path in BUILT_IN:
        return BUILT_IN[name_or_path]
    path = Path(name_or_path)
    if not path.is_file():
        raise ValueError(
            f"protocol {name_or_path!r} is neither built in ({', '.join(BUILT_IN)}) nor a YAML file; "
            "write its fields into a file and give the path"
        )
    try:
        own = Protocol.from_dict(yaml.safe_load(path.read_text()))
        if own.name in BUILT_IN and own != BUILT_IN[own.name]:
            raise ValueError(f"{own.name} is the name of a built-in protocol with other rules; choose another name")
        return own
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: not a protocol: {' '.join(str(error).split())}") from error
