"""Reading predictions and ground truth that any method can write, and refusing what cannot be evaluated.

An `.npz` file holds arrays for N faces with K landmarks, in pixels of the original images, counted from 0:

    id (N,), landmarks_image (N, K, 2), target (N, K, 2)
    optional: valid (N, K), group (N,), tags (N,), normalizer (N,), box (N, 5), score (N, K), expected_error (N, K)

A `.csv` file holds one row per face: `id,x0,y0,x1,y1,...,true_x0,true_y0,...` and, if wanted, `normalizer,group,tags`.
Both cells of a true landmark are empty (NaN in npz) where it is not annotated. `group` names the photo, `tags` the
subsets, joined by semicolons. `predictions.npz` of a run also holds its protocol and schema.
"""

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import wingmark.schema
from wingmark import foreign
from wingmark.data.sources.reading import read_csv
from wingmark.protocol import OF_DATASET, Protocol
from wingmark.schema import LandmarkSchema
from wingmark.types import name_faces

Rules = TypeVar("Rules", Protocol, LandmarkSchema)
REQUIRED = ("id", "landmarks_image", "target")
# Coordinates that another program wrote with two decimals are still the same; half a pixel off is another annotation.
SAME_PIXELS = 0.02


def read_arrays(path: Path) -> dict[str, Any]:
    """The arrays of a file, by name. FileNotFoundError where there is none, ValueError where it is another format."""
    if not path.is_file():
        raise FileNotFoundError(f"there are no predictions {path}; `wingmark test` and `predict` write predictions.npz")
    if path.suffix == ".csv":
        return _read_csv(path)
    found = foreign.read_arrays(path)
    missing = [name for name in REQUIRED if name not in found]
    if missing:
        raise ValueError(f"{path} lacks the arrays {missing}, it has {sorted(found)}; name them like that")
    return found


def _read_csv(path: Path) -> dict[str, Any]:
    rows: list[dict[str, str | float]] = []
    read_csv(
        path, partial(_columns, path), lambda cells: rows.append({name: _value(name, cells[name]) for name in cells})
    )
    if not rows:
        raise ValueError(f"{path}, line 2: no face below the header; add one row per face")
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    arrays = {name: columns[name] for name in ("id", "normalizer", "group", "tags") if name in columns}
    points = _points(columns)
    for key, prefix in (("landmarks_image", ""), ("target", "true_")):
        arrays[key] = np.stack([columns[prefix + name] for name in points], axis=1).reshape(len(rows), -1, 2)
    return arrays


def _columns(path: Path, header: list[str]) -> list[str]:
    points = _points(header)
    needed = ["id", *points, *(f"true_{name}" for name in points)]
    missing, unknown = set(needed) - set(header), set(header) - {*needed, "normalizer", "group", "tags"}
    if not points or missing or unknown or len(set(header)) < len(header):
        raise ValueError(
            f"{path}, line 1: expected id,x0,y0,...,true_x0,true_y0,... and optionally normalizer,group,tags, each "
            f"once; missing {sorted(missing)[:4]}, unknown {sorted(unknown)[:4]}"
        )
    return header


def _points(columns: Iterable[str]) -> list[str]:
    """x0, y0, x1, ...: as many as the columns have true landmarks."""
    return [f"{axis}{k}" for k in range(sum(name.startswith("true_x") for name in columns)) for axis in "xy"]


def _value(column: str, cell: str) -> str | float:
    return cell if column in ("id", "group", "tags") else float(cell or "nan")


def check(
    arrays: dict[str, Any], protocol: Protocol | None, schema: LandmarkSchema | None, path: Path
) -> dict[str, Any]:
    """The fields of `Predictions`: what the file left out is filled in, what is wrong is refused."""
    try:
        _check_dimensions(arrays)
        made_with = _told(arrays, "protocol", Protocol) if "protocol" in arrays else None
        protocol, schema = protocol or made_with, schema or _schema(arrays)
        if protocol is None:
            raise ValueError("the file names no protocol; say by which one to evaluate it: --protocol NAME")
        protocol.check(schema)
        arrays = _tested(arrays, protocol)
        ids, target = arrays["id"].astype(str), arrays["target"].astype(float, copy=False)
        group = arrays["group"].astype(str) if "group" in arrays else ids
        arrays = {
            **arrays,
            "id": ids,
            "landmarks_image": arrays["landmarks_image"].astype(float, copy=False),
            "target": target,
            "valid": arrays["valid"].astype(bool, copy=False) if "valid" in arrays else ~np.isnan(target).all(-1),
            "group": np.where(group == "", ids, group) if group.shape == ids.shape else group,
            "tags": arrays["tags"].astype(str) if "tags" in arrays else np.full(len(ids), ""),
        }
        _check_rows(arrays, schema)
        if protocol.normalizer in OF_DATASET:
            normalizer = _normalizer_of_file(arrays, protocol, made_with)
        else:
            normalizer = protocol.normalizers(ids, target, arrays["valid"], schema)
        _check_rules(arrays, normalizer, protocol, made_with)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
    return {**arrays, "normalizer": normalizer, "protocol": protocol, "schema": schema}


def _normalizer_of_file(arrays: dict[str, Any], protocol: Protocol, made_with: Protocol | None) -> np.ndarray:
    """The lengths that the file tells, for a protocol whose lengths do not come from the true landmarks."""
    rules = (protocol.normalizer, protocol.divide_by)
    if "normalizer" not in arrays or (made_with and (made_with.normalizer, made_with.divide_by) != rules):
        raise ValueError(
            f"protocol {protocol.name} divides errors by the {protocol.normalizer} of each face, and the file does not "
            "tell it; add it as normalizer"
        )
    normalizer = arrays["normalizer"].astype(float)
    wrong = ~(np.isfinite(normalizer) & (normalizer > 0))
    if wrong.any():
        raise ValueError(
            f"the normalizer is zero, negative or not finite in {name_faces(arrays['id'], wrong)}; mend it"
        )
    return normalizer


def _check_dimensions(arrays: dict[str, Any]) -> None:
    for key, axes in (("id", 1), ("landmarks_image", 3), ("target", 3)):
        if arrays[key].ndim != axes:
            raise ValueError(f"{key} has shape {arrays[key].shape}; expected (N,) ids and (N, K, 2) landmarks")


def _tested(arrays: dict[str, Any], protocol: Protocol) -> dict[str, Any]:
    """The rows that the protocol counts: all, or those with its tag."""
    if protocol.tag is None:
        return arrays
    count, tags = len(arrays["id"]), arrays.get("tags", np.array([], str)).astype(str)
    chosen = np.array([protocol.tag in [tag.strip() for tag in of_face.split(";")] for of_face in tags], bool)
    if not chosen.any() or len(chosen) != count:
        raise ValueError(f"protocol {protocol.name} tests faces tagged {protocol.tag!r}, and the file has none of them")
    return {key: array[chosen] if array.shape[:1] == (count,) else array for key, array in arrays.items()}


def _told(arrays: dict[str, Any], key: str, rules: type[Rules]) -> Rules:
    """The protocol or schema that the file tells as JSON."""
    try:
        return rules.from_dict(json.loads(str(arrays[key])))
    except Exception as error:  # JSON that holds something else can fail in any way
        raise ValueError(f"its {key} is none that wingmark writes ({error}); leave it out") from error


def _schema(arrays: dict[str, Any]) -> LandmarkSchema:
    if "schema" in arrays:
        return _told(arrays, "schema", LandmarkSchema)
    count = arrays["target"].shape[1]
    for name in wingmark.schema.BUILT_IN:
        if (schema := wingmark.schema.get(name)).num_landmarks == count:
            return schema
    raise ValueError(f"no built-in schema has {count} landmarks; say which one these have: --schema FILE")


def _check_rows(arrays: dict[str, Any], schema: LandmarkSchema) -> None:
    ids, found, target, valid = (arrays[key] for key in ("id", "landmarks_image", "target", "valid"))
    expected = {key: (len(ids),) for key in ("id", "group", "tags", "normalizer")} | {"box": (len(ids), 5)}
    expected |= {key: (len(ids), schema.num_landmarks, 2) for key in ("landmarks_image", "target")}
    expected |= {key: (len(ids), schema.num_landmarks) for key in ("valid", "score", "expected_error")}
    for key, shape in expected.items():
        if key in arrays and arrays[key].shape != shape:
            raise ValueError(
                f"{key} has shape {arrays[key].shape}, {len(ids)} ids and schema {schema.name} make {shape}; "
                "check the file, or name another schema with --schema"
            )
    _, first = np.unique(ids, return_index=True)
    repeated = np.ones(len(ids), bool)
    repeated[first] = False
    expected_error = arrays.get("expected_error", np.zeros((len(ids), 1)))
    sound = (expected_error >= 0) & (expected_error < np.inf)
    faults = {
        "an empty id": ids == "",
        "an id that came before (each face must come once)": repeated,
        "no landmark that is annotated": ~valid.any(1),
        "annotated landmarks that are not finite": (valid & ~np.isfinite(target).all(2)).any(1),
        "predicted landmarks that are NaN or infinite": (valid & ~np.isfinite(found).all(2)).any(1),
        "expected errors that are negative, NaN or infinite": ~sound.all(1),
    }
    if not len(ids):
        raise ValueError("there are no faces in it")
    for fault, rows in faults.items():
        if rows.any():
            raise ValueError(f"{fault} in {name_faces(ids, rows)}; mend or remove these rows")


def _check_rules(
    arrays: dict[str, Any], normalizer: np.ndarray, protocol: Protocol, made_with: Protocol | None
) -> None:
    """Refuse a protocol by which these predictions were not made."""
    if made_with and made_with.crop_rule != protocol.crop_rule:
        raise ValueError(
            f"these crops were made from the {made_with.crop_rule} ({made_with.name}), protocol "
            f"{protocol.name} makes them from the {protocol.crop_rule}; predict again with --data.protocol"
        )
    rules = (protocol.normalizer, protocol.divide_by)
    if "normalizer" in arrays and (made_with is None or (made_with.normalizer, made_with.divide_by) == rules):
        differs = ~np.isclose(arrays["normalizer"], normalizer, rtol=0, atol=SAME_PIXELS)
        if differs.any():
            raise ValueError(
                f"the file's normalizer is not the {protocol.normalizer} of protocol {protocol.name} in "
                f"{name_faces(arrays['id'], differs)}; leave it out, or name the protocol that it belongs to"
            )
