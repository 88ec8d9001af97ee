"""Landmark schemas: how many points a markup has, how a mirror renames them, where the eyes are.

Adding a markup needs no code: write a YAML file with the fields of `LandmarkSchema` and give its path
wherever a schema is asked for.
"""

from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path

import numpy as np
import yaml


@dataclass(frozen=True)
class Contour:
    """A curve through landmarks, in drawing order."""

    indices: tuple[int, ...]
    closed: bool = False


@dataclass(frozen=True)
class LandmarkSchema:
    """A markup.

    name: how it is called in configs and reports.
    num_landmarks: K.
    flip_permutation: landmark i of the mirrored image is landmark flip_permutation[i] of the original.
    inter_ocular: the two outer eye corners, image-left one first; None where the markup has none.
    inter_pupil: for each eye, image-left first, the landmarks whose mean is the pupil; None likewise.
    contours: curves by name, for drawing and for boundary maps.
    boundaries: sets of contours by name, each of which makes one boundary map: `paper` is what Adaptive Wing (ICCV
        2019) draws, or its like for a markup that the paper does not have, `full` everything that was annotated.
    """

    name: str
    num_landmarks: int
    flip_permutation: tuple[int, ...]
    inter_ocular: tuple[int, int] | None = None
    inter_pupil: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    contours: dict[str, Contour] = field(default_factory=dict)
    boundaries: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count, flip = self.num_landmarks, self.flip_permutation
        if sorted(flip) != list(range(count)):
            raise ValueError(
                f"schema {self.name}: flip_permutation must list each of 0..{count - 1} once "
                f"(num_landmarks is {count}), got {len(flip)} entries: {list(flip)}"
            )
        broken = [i for i in range(count) if flip[flip[i]] != i]
        if broken:
            i = broken[0]
            raise ValueError(
                f"schema {self.name}: flipping twice must give every landmark back, but "
                f"{i} -> {flip[i]} -> {flip[flip[i]]}; mend flip_permutation at {i} and {flip[i]}"
            )
        groups = {f"contours.{name}": contour.indices for name, contour in self.contours.items()}
        if self.inter_ocular is not None:
            groups["inter_ocular"] = self.inter_ocular
        if self.inter_pupil is not None:
            groups |= {f"inter_pupil[{side}]": eye for side, eye in enumerate(self.inter_pupil)}
        for key, indices in groups.items():
            outside = [i for i in indices if not 0 <= i < count]
            if outside or not indices:
                raise ValueError(f"schema {self.name}: {key} must hold indices in 0..{count - 1}, got {list(indices)}")
        for name, curves in self.boundaries.items():
            lines = [curve for curve, contour in self.contours.items() if len(contour.indices) > 1]
            if not curves or not set(curves) <= set(lines):
                raise ValueError(
                    f"schema {self.name}: boundaries.{name} must list contours of two landmarks or more, got "
                    f"{list(curves)}; there are {', '.join(lines) or 'none'}"
                )
        eyes = {"inter_ocular": self.inter_ocular and [[i] for i in self.inter_ocular], "inter_pupil": self.inter_pupil}
        for key, pair in eyes.items():
            if pair and {flip[i] for i in pair[0]} != set(pair[1]):
                raise ValueError(
                    f"schema {self.name}: {key} must name the same landmarks of both eyes, but {list(pair[0])} "
                    f"mirrors to {[flip[i] for i in pair[0]]}, not to {list(pair[1])}"
                )

    @cached_property
    def flip(self) -> np.ndarray:
        """flip_permutation as an index array (K,)."""
        return np.array(self.flip_permutation)

    @property
    def eyes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """For each eye, image-left first, the landmarks whose mean is its center: several are less noisy than one.

        Raises ValueError where the markup has no eyes.
        """
        if self.inter_pupil is not None:
            return self.inter_pupil
        if self.inter_ocular is not None:
            return (self.inter_ocular[0],), (self.inter_ocular[1],)
        raise ValueError(
            f"schema {self.name} does not say where the eyes are, which the roll of a face is measured by; "
            "add inter_pupil or inter_ocular to it"
        )

    def boundary(self, name: str) -> list[Contour]:
        """The curves of a boundary map. Raises ValueError where this markup has none of that name."""
        if name not in self.boundaries:
            raise ValueError(
                f"schema {self.name} has no boundary {name!r}, it has {', '.join(self.boundaries) or 'none'}; "
                "choose another or boundary: null, or add it to the schema file under boundaries"
            )
        return [self.contours[curve] for curve in self.boundaries[name]]

    def to_dict(self) -> dict:
        """Plain numbers, strings, lists and dictionaries; `from_dict` builds the same schema again."""
        return {
            "name": self.name,
            "num_landmarks": self.num_landmarks,
            "flip_permutation": list(self.flip_permutation),
            "inter_ocular": None if self.inter_ocular is None else list(self.inter_ocular),
            "inter_pupil": None if self.inter_pupil is None else [list(eye) for eye in self.inter_pupil],
            "contours": {n: {"indices": list(c.indices), "closed": c.closed} for n, c in self.contours.items()},
            "boundaries": {name: list(curves) for name, curves in self.boundaries.items()},
        }

    @classmethod
    def from_dict(cls, fields: dict) -> "LandmarkSchema":
        """Build and check a schema from the content of a YAML file or a checkpoint."""
        known = cls.__dataclass_fields__
        unknown, missing = set(fields) - set(known), {"name", "num_landmarks", "flip_permutation"} - set(fields)
        if unknown or missing:
            raise ValueError(
                f"schema: unknown keys {sorted(unknown)}, missing keys {sorted(missing)}; the keys are {list(known)}"
            )
        pupils, corners = fields.get("inter_pupil"), fields.get("inter_ocular")
        contours, boundaries = fields.get("contours") or {}, fields.get("boundaries") or {}
        return cls(
            name=fields["name"],
            num_landmarks=fields["num_landmarks"],
            flip_permutation=tuple(fields["flip_permutation"]),
            inter_ocular=None if corners is None else tuple(corners),
            inter_pupil=None if pupils is None else tuple(tuple(eye) for eye in pupils),
            contours={n: Contour(tuple(c["indices"]), c.get("closed", False)) for n, c in contours.items()},
            boundaries={n: (names,) if isinstance(names, str) else tuple(names) for n, names in boundaries.items()},
        )


BUILT_IN = ("ibug68", "wflw98", "cofw29", "aflw19", "aflw21", "lapa106", "five", "kaggle15")


def get(name_or_path: str) -> LandmarkSchema:
    """The built-in schema of that name, or the one in a user's YAML file.

    Raises ValueError where the name is unknown or the content of the file is not a sound schema.
    """
    if name_or_path in BUILT_IN:
        text = files("wingmark").joinpath("schemas", f"{name_or_path}.yaml").read_text()
        return LandmarkSchema.from_dict(yaml.safe_load(text))
    path = Path(name_or_path)
    if not path.is_file():
        raise ValueError(
            f"schema {name_or_path!r} is neither built in ({', '.join(BUILT_IN)}) nor a YAML file; "
            "write its fields into a file and give the path"
        )
    try:
        fields = yaml.safe_load(path.read_text())
        if not isinstance(fields, dict):
            raise ValueError(f"expected keys and values, got {type(fields).__name__}")
        return LandmarkSchema.from_dict(fields)
    except (ValueError, TypeError, KeyError, yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{path}: not a landmark schema: {' '.join(str(error).split())}") from error
