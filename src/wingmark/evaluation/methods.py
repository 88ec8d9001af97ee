"""What is compared: predictions of several runs, paired face by face, and gathered into the seeds of each method."""

import re
from dataclasses import dataclass, fields, replace
from itertools import combinations, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from wingmark.evaluation.prediction_files import SAME_PIXELS
from wingmark.evaluation.predictions import Predictions
from wingmark.protocol import Protocol
from wingmark.schema import LandmarkSchema
from wingmark.types import name_faces

# Keys of config.yaml in which the seeds of one method differ: what was drawn, and where it was written.
OWN_KEYS = {
    "": ("seed_everything", "name", "runs", "ckpt_path", "checkpoint_minutes"),
    "trainer": ("logger", "default_root_dir"),
    "data": ("seed", "cache"),
}


@dataclass(frozen=True, eq=False)
class Run:
    """Predictions of one training, or of a method that is not ours.

    settings: what the seeds of a method have in common; None where no config.yaml of ours tells, and then seed is
    None too.
    """

    path: Path
    name: str
    predictions: Predictions
    settings: dict[str, Any] | None
    seed: int | None

    @classmethod
    def read(cls, path: Path, protocol: Protocol | None, schema: LandmarkSchema | None) -> "Run":
        """Read the folder of a run or of a further test of it, or a file of predictions."""
        folder = path.parent if path.name == "predictions.npz" else path
        file = folder / "predictions.npz" if folder.is_dir() else path
        predictions = Predictions.load(file, protocol, schema)
        if not folder.is_dir():
            return cls(path, path.stem, predictions, None, None)
        folder = folder.resolve()
        further = folder.parent.name == "test" and not (folder / "config.yaml").is_file()
        home = folder.parents[1] if further else folder.parent if folder.name == "predict" else folder
        name = home.name if home == folder else f"{home.name}/{folder.name}"
        return cls(path, name, predictions, *_settings(home / "config.yaml", folder / "metrics.json"))


def _settings(config: Path, metrics: Path) -> tuple[dict[str, Any] | None, int | None]:
    """What was trained and what of it was tested, and with which seed; (None, None) where no config of ours tells."""
    settings = _content(config)
    if not all(isinstance(settings.get(part), dict) for part in ("trainer", "model", "data")):
        return None, None
    seed = settings.get("seed_everything")
    for part, keys in OWN_KEYS.items():
        inside = settings[part] if part else settings
        for key in keys:
            inside.pop(key, None)
    # A test can use another decoder or checkpoint than the config says: that makes another method.
    tested = _content(metrics)
    checkpoint = Path(tested.get("checkpoint", "best.ckpt")).name
    return {**settings, "tested": (checkpoint, tested.get("codec"), tested.get("source"))}, seed


def _content(path: Path) -> dict[str, Any]:
    """Keys and values of a YAML or JSON file; none where there is no such file or it holds something else."""
    try:
        content = yaml.safe_load(path.read_text()) if path.is_file() else None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read ({str(error).splitlines()[0]}); mend it or move it away") from error
    return content if isinstance(content, dict) else {}


def paired(first: Run, other: Run) -> Run:
    """`other` with its faces in the order of `first`; ValueError where protocol, faces or annotation differ."""
    a, b = first.predictions, other.predictions
    if a.protocol.digest != b.protocol.digest:
        raise ValueError(
            f"{first.path} was tested by protocol {a.protocol.label}, {other.path} by {b.protocol.label}; scores of "
            "two protocols cannot be compared: test again with --data.protocol, or score both by one with --protocol"
        )
    for one, its, elsewhere, known in ((first, a, other, b), (other, b, first, a)):
        missing = ~np.isin(its.id, known.id)
        if missing.any():
            raise ValueError(
                f"{elsewhere.path} lacks {name_faces(its.id, missing)} of {one.path}; methods are compared on the same "
                "faces, paired by id: test both on the same split"
            )
    row_of = {face: row for row, face in enumerate(b.id)}
    order = [row_of[face] for face in a.id]
    rows = {f.name: getattr(b, f.name)[order] for f in fields(b) if isinstance(getattr(b, f.name), np.ndarray)}
    b = replace(b, **rows)
    if a.target.shape != b.target.shape:
        raise ValueError(f"{first.path} has {a.target.shape[1]} landmarks, {other.path} {b.target.shape[1]}")
    same = np.isclose(a.target, b.target, rtol=0, atol=SAME_PIXELS).all(2) | ~a.valid
    changed = ~((a.valid == b.valid) & same).all(1)
    changed |= ~np.isclose(a.normalizer, b.normalizer, rtol=0, atol=SAME_PIXELS)
    if changed.any():
        raise ValueError(
            f"true landmarks or normalizers of {first.path} and {other.path} differ in {name_faces(a.id, changed)}; "
            "test both with the same annotation, schema and units (pixels counted from 0)"
        )
    return replace(other, predictions=b)


def known_by_any(runs: list[Run], key: str, unknown: np.ndarray) -> np.ndarray:
    """The groups or tags (N,) of paired runs: files of other methods need not tell them, those that do must agree."""
    telling = [run for run in runs if (getattr(run.predictions, key) != unknown).any()]
    for run in telling[1:]:
        first, own = getattr(telling[0].predictions, key), getattr(run.predictions, key)
        if (differs := first != own).any():
            raise ValueError(
                f"{key} in {telling[0].path} and {run.path} differ in {name_faces(run.predictions.id, differs)}; "
                "they belong to the faces, not to the method: make them equal, or leave them out of one"
            )
    return getattr(telling[0].predictions, key) if telling else unknown


@dataclass(frozen=True, eq=False)
class Method:
    """One method, trained with S seeds and tested on the same N faces each time.

    runs and seeds: where each training's predictions lie, and its `seed_everything`, None where it is not known.
    nme: of each training and face (S, N), a fraction of the normalizer.
    """

    name: str
    runs: list[str]
    seeds: list[int | None]
    nme: np.ndarray

    @classmethod
    def of(cls, runs: list[Run]) -> "Method":
        """From the paired runs of one method: more than one if they differ in nothing but the seed."""
        for a, b in combinations(runs, 2):
            if a.seed == b.seed:
                raise ValueError(
                    f"{a.path} and {b.path} have the same settings and the same seed {a.seed}: the second adds "
                    "nothing; leave one out, or train it with another --seed_everything"
                )
        return cls(
            _common_name([run.name for run in runs]),
            [str(run.path) for run in runs],
            [run.seed for run in runs],
            np.stack([run.predictions.nme() for run in runs]),
        )

    def face_scores(self, threshold: float) -> np.ndarray:
        """What each face adds to NME, FR and AUC (S, N, 3): the scores are their means over faces."""
        return np.stack([self.nme, self.nme > threshold, np.maximum(0, 1 - self.nme / threshold)], axis=2)


def gather(runs: list[Run]) -> list[Method]:
    """Methods in the order of their first run; runs that differ in nothing but the seed are one method."""
    seeds_of: list[list[Run]] = []
    for run in runs:
        same = [seeds for seeds in seeds_of if run.settings is not None and seeds[0].settings == run.settings]
        if same:
            same[0].append(run)
        else:
            seeds_of.append([run])
    methods = [Method.of(seeds) for seeds in seeds_of]
    for a, b in combinations(methods, 2):
        if a.name == b.name:
            raise ValueError(
                f"{', '.join(a.runs)} and {', '.join(b.runs)} are two methods by the same name {a.name!r}; rename a "
                "folder or file, or leave one out"
            )
    return methods


def _common_name(names: list[str]) -> str:
    """`wing` of `wing-seed0` and `wing-seed1`; the first name where they have nothing in common."""
    if len(names) == 1:
        return names[0]
    # Numbers stay whole: what 10 and 11 have in common is not 1.
    columns = zip(*(re.findall(r"\d+|\D", name) for name in names), strict=False)
    start = "".join(column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns))
    return re.sub(r"[\W_]*((?<![a-z])seed)?[\W_]*$", "", start, flags=re.IGNORECASE) or names[0]
