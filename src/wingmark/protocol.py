"""Protocols: named, versioned ways to evaluate. A number without its protocol means nothing.

A protocol of one's own is a YAML file with the fields of `Protocol`; its path goes wherever a protocol's name does.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import yaml

from wingmark.geometry import containing, crop_to_image, outwards, tight_box
from wingmark.schema import LandmarkSchema
from wingmark.types import Box, Face, name_faces

Normalizer = Literal["inter_ocular", "inter_pupil", "box_size", "box_diagonal", "dataset_size", "dataset_diagonal"]
CropRule = Literal["square", "outwards", "stretched", "contain"]
OF_EYES, OF_DATASET = ("inter_ocular", "inter_pupil"), ("dataset_size", "dataset_diagonal")


@dataclass(frozen=True)
class Protocol:
    """Which faces are tested, how they are cropped and how errors are counted.

    Every face counts alike: its NME is the mean over its valid landmarks, however many there are.

    name: `data/normalizer/version`, printed with every number.
    box: which of the face's named boxes makes the crop: `dataset`, `detector`, `hrnet` (the square of HRNet's and
        mmpose's lists), `file` (`data.boxes`), `refined` (by a first stage), or `tight`, the smallest box around the
        true landmarks (it leaks the answer, as most published tables do).
    margin: the crop's side over the side of the box.
    crop: how the box becomes the crop. `square`: the square over its longer side; `outwards`: the same, after its
        corners were moved outwards to whole pixels (HRNet); `stretched`: the box itself, resized to a square (PIPNet);
        `contain`: a square over the mean of its sides, larger where landmarks come close to its border (the code of
        Adaptive Wing, which leaks some of the answer).
    normalizer: what errors are divided by: the distance of the outer eye corners or of the pupils, the root of
        the tight box's area, or its diagonal, or the same of the face's `dataset` box.
    divide_by: the errors of the valid landmarks are summed and divided by the number of those, or of `all`.
    threshold: t of FR@t and AUC@t, a fraction.
    tag: only test faces with this tag count; all without it.
    parts: tags of which every test face has exactly one, such as 300W's common and challenge.
    faces: how many faces the published test list has, `full` and by tag; another number is reported loudly.
    schema: the markup of its data set, another is refused; no rule of counting, so the digest does not change with it.
    """

    name: str
    box: str = "tight"
    margin: float = 1.25
    normalizer: Normalizer = "inter_ocular"
    threshold: float = 0.08
    tag: str | None = None
    parts: tuple[str, ...] = ()
    faces: dict[str, int] = field(default_factory=dict)
    crop: CropRule = "square"
    divide_by: Literal["valid", "all"] = "valid"
    schema: str | None = None

    def __post_init__(self) -> None:
        for key in ("margin", "threshold"):
            value = getattr(self, key)
            if not isinstance(value, int | float) or not value > 0:
                raise ValueError(f"protocol {self.name}: {key} must be a positive number, got {value!r}")
            object.__setattr__(self, key, float(value))  # 1 and 1.0 are the same rule, with the same digest
        if self.threshold >= 1:
            raise ValueError(f"protocol {self.name}: threshold is a fraction, 0.08 for 8 %, got {self.threshold:g}")
        choices = {"normalizer": get_args(Normalizer), "crop": get_args(CropRule), "divide_by": ("valid", "all")}
        for key, known in choices.items():
            if getattr(self, key) not in known:
                raise ValueError(
                    f"protocol {self.name}: {key} must be one of {', '.join(known)}, got {getattr(self, key)!r}"
                )
        strings = (self.name, self.box, self.tag or "", *self.parts)
        if isinstance(self.parts, str) or not all(isinstance(value, str) for value in strings):
            raise ValueError(f"protocol {self.name}: name, box, tag and each of the list parts must be words")
        if not isinstance(self.faces, dict) or not all(type(count) is int for count in self.faces.values()):
            raise ValueError(f"protocol {self.name}: faces must name numbers of faces, got {self.faces!r}")

    def check(self, schema: LandmarkSchema) -> None:
        """Refuse the schema of another data set, or one without the landmarks that the normalizer is made of."""
        if self.schema is not None and schema.name != self.schema:
            raise ValueError(
                f"protocol {self.name} is one of {self.schema}, but the landmarks are {schema.name}; choose another "
                "data.protocol from src/wingmark/protocols.yaml, or write one: configs/protocols/example.yaml"
            )
        if self.normalizer in OF_EYES and getattr(schema, self.normalizer) is None:
            raise ValueError(
                f"protocol {self.name} divides errors by {self.normalizer}, which schema {schema.name} does "
                "not define; add it to the schema or choose data.protocol.normalizer box_size or box_diagonal"
            )

    def crop_box(self, face: Face) -> Box:
        """The box that makes the crop, without margin."""
        if self.box == "tight":
            box = tight_box(face.landmarks_image[face.valid])
        elif self.box in face.boxes:
            box = face.boxes[self.box]
        else:
            raise ValueError(
                f"face {face.id} has no box {self.box!r}, only {[*sorted(face.boxes), 'tight']}; choose a "
                "data.protocol with one of these, or give the box of every face with data.boxes"
            )
        if self.crop == "outwards":
            return outwards(box)
        if self.crop == "contain":
            return containing(box, face.landmarks_image[face.valid])
        return box

    def crop_to_image(self, face: Face, size: int, context: float = 1.0, **jitter) -> np.ndarray:
        """The map (2, 3) from pixels of the crop, `context` times as wide as the protocol says, to those of the image.

        jitter: as of `geometry.crop_to_image`.
        """
        stretched = self.crop == "stretched"
        return crop_to_image(self.crop_box(face), size, self.margin * context, stretched=stretched, **jitter)

    def box_to_image(self, box: Box, size: int, context: float = 1.0) -> np.ndarray:
        """The same for a new face, of which only the box is known. With `contain` it is the crop of most faces."""
        if self.crop == "outwards":
            box = outwards(box)
        elif self.crop == "contain":
            box = containing(box, np.empty((0, 2)))
        return crop_to_image(box, size, self.margin * context, stretched=self.crop == "stretched")

    def normalizers_of(self, faces: Sequence[Face], schema: LandmarkSchema) -> np.ndarray:
        """The lengths in image pixels that the errors of faces are divided by, (N,) float64."""
        ids = [face.id for face in faces]
        landmarks, valid = np.stack([face.landmarks_image for face in faces]), np.stack([face.valid for face in faces])
        sides = None
        if self.normalizer in OF_DATASET:
            without = np.array(["dataset" not in face.boxes for face in faces])
            if without.any():
                raise ValueError(f"{self.normalizer} needs the box dataset, missing in {name_faces(ids, without)}")
            sides = np.array([(face.boxes["dataset"].width, face.boxes["dataset"].height) for face in faces])
        return self.normalizers(ids, landmarks, valid, schema, sides)

    def normalizers(
        self,
        ids: Sequence[str],
        landmarks_image: np.ndarray,
        valid: np.ndarray,
        schema: LandmarkSchema,
        dataset_sides: np.ndarray | None = None,
    ) -> np.ndarray:
        """The same for N faces given by their true landmarks (N, K, 2) and which of them are valid (N, K).

        dataset_sides: width and height of their boxes `dataset` (N, 2), where those count. Raises ValueError naming the
        faces whose length is unknown or not positive.
        """
        if self.normalizer in OF_EYES:
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
            if self.normalizer in OF_DATASET:
                width, height = dataset_sides.T
            else:
                known = valid[..., None]
                low = np.where(known, landmarks_image, np.inf).min(1)
                width, height = (np.where(known, landmarks_image, -np.inf).max(1) - low).T
            lengths = np.hypot(width, height) if self.normalizer.endswith("diagonal") else np.sqrt(width * height)
        wrong = ~(np.isfinite(lengths) & (lengths > 0))
        if wrong.any():
            raise ValueError(
                f"{self.normalizer} is zero or not finite in {name_faces(ids, wrong)}; errors cannot be divided by it"
            )
        # The mean is taken over the valid landmarks: a longer length makes it what it would be over all.
        return lengths if self.divide_by == "valid" else lengths * valid.shape[1] / valid.sum(1)

    @property
    def crop_rule(self) -> str:
        """How crops are made, in words."""
        return f"box {self.box} x {self.margin:g}{'' if self.crop == 'square' else f', {self.crop}'}"

    @property
    def digest(self) -> str:
        """Eight letters that change with anything but the name: equal names with other rules are told apart."""
        # Fields at their defaults are left out, so that a field added later leaves old digests as they are.
        own = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) != _default(f)}
        del own["name"]
        own.pop("schema", None)
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


def _built_in() -> dict[str, Protocol]:
    content = yaml.safe_load(files("wingmark").joinpath("protocols.yaml").read_text())
    return {name: Protocol.from_dict({"name": name, **fields}) for name, fields in content.items() if name[0] != "."}


BUILT_IN = _built_in()


def _like(name: str) -> list[str]:
    """The built-in protocols of the same data set, or all."""
    data = name.partition("/")[0]
    for start in (f"{data}/", data, data.partition("-")[0]):
        if found := [known for known in BUILT_IN if known.startswith(start)]:
            return found
    return [*BUILT_IN]


def get(name_or_path: str) -> Protocol:
    """The built-in protocol of that name, or the one in a user's YAML file; ValueError where there is neither."""
    if name_or_path in BUILT_IN:
        return BUILT_IN[name_or_path]
    path = Path(name_or_path)
    if not path.is_file():
        raise ValueError(
            f"protocol {name_or_path!r} is neither built in ({', '.join(_like(name_or_path))}) nor a YAML file; "
            "write its fields into a file and give the path"
        )
    try:
        own = Protocol.from_dict(yaml.safe_load(path.read_text()))
        if own.name in BUILT_IN and own != BUILT_IN[own.name]:
            raise ValueError(f"{own.name} is the name of a built-in protocol with other rules; choose another name")
        return own
    except (ValueError, TypeError, yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{path}: not a protocol: {' '.join(str(error).split())}") from error
