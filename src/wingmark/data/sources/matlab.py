"""MATLAB files of version 5, with nothing but what their bytes hold: other readers believe what damaged ones claim."""

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from wingmark.data.sources.reading import parsing

MAX_BYTES = 2**28  # of a file once unpacked; sets have a few megabytes
# Numbers of the format: types of elements, classes of arrays, and how values are stored.
MATRIX, COMPRESSED = 14, 15
CELL, STRUCT, CHAR = 1, 2, 4
COMPLEX = 0x800
CLASSES = dict(zip(range(6, 16), ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"), strict=True))
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
ENCODINGS = {
    "<": {1: "ascii", 2: "latin-1", 4: "utf-16-le", 16: "utf-8", 17: "utf-16-le", 18: "utf-32-le"},
    ">": {1: "ascii", 2: "latin-1", 4: "utf-16-be", 16: "utf-8", 17: "utf-16-be", 18: "utf-32-be"},
}


def mat_file(path: Path, *expected: str) -> dict[str, Any]:
    """The variables of a MATLAB 5 file: dimensions of length 1 squeezed away, structs as objects with their fields.

    Numbers, text of one line, cells and structs are read. Raises ValueError where the file holds something else, is
    damaged, or lacks a variable of `expected`.
    """
    content = path.read_bytes()
    with parsing(path, "MATLAB 5 file"):
        order = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}[content[124:128]]
        variables = dict(_array(data, order) for data in _matrices(content[128:], order))
    missing = [name for name in expected if name not in variables]
    if missing:
        raise ValueError(f"{path}: expected the variables {missing}, found {list(variables)}; unpack it again")
    return variables


def _matrices(content: bytes, order: str) -> Iterator[bytes]:
    """The variables, unpacked."""
    size = 0
    for kind, data in _elements(content, order):
        if kind == COMPRESSED:
            inflate = zlib.decompressobj()
            data = inflate.decompress(data, MAX_BYTES)
            if not inflate.eof:
                raise ValueError(f"a variable is cut off, or of more than {MAX_BYTES} bytes")
            ((kind, data),) = _elements(data, order)
        size += len(data)
        if kind != MATRIX or size > MAX_BYTES:
            raise ValueError(f"an element of type {kind}, or more than {MAX_BYTES} bytes")
        yield data


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """The elements that follow each other: type and data."""
    start = 0
    while start < len(content):
        kind, size = struct.unpack_from(order + "II", content, start)
        start += 8
        end = start + size + (-size % 8 if kind != COMPRESSED else 0)
        if kind >> 16:  # a short one, within its own tag
            kind, size, start, end = kind & 0xFFFF, kind >> 16, start - 4, start
        if start + size > min(end, len(content)):
            raise ValueError("it is cut off")
        yield kind, content[start : start + size]
        start = end


def _array(matrix: bytes, order: str) -> tuple[str, Any]:
    """Name and value of an array; ValueError where its parts are not what its dimensions say."""
    if not matrix:  # how an empty one is written within others
        return "", np.array([])
    (_, flags), (_, sizes), (_, name), *parts = _elements(matrix, order)
    (flag,), shape = struct.unpack_from(order + "I", flags), struct.unpack(f"{order}{len(sizes) // 4}i", sizes)
    kind, count = flag & 0xFF, math.prod(shape)
    if flag & COMPLEX or min(shape) < 0:
        raise ValueError(f"complex numbers, or an array of size {shape}")
    if kind in (CELL, STRUCT):
        value = _objects(parts, order, count, kind == STRUCT).reshape(shape, order="F")
    elif kind == CHAR:
        ((stored, data),) = parts
        value = data.decode(ENCODINGS[order][stored])
        if len(value) != count or (count and count != shape[-1]):
            raise ValueError(f"a text of {len(value)} letters and size {shape}")
        return name.decode("ascii"), value
    else:
        ((stored, data),) = parts
        value = np.frombuffer(data, order + STORED[stored]).reshape(shape, order="F").astype(CLASSES[kind])
    value = value.squeeze()
    return name.decode("ascii"), value if value.shape else value.item()


def _objects(parts: list[tuple[int, bytes]], order: str, count: int, are_structs: bool) -> np.ndarray:
    """What a cell array holds, or the structs of another, (count,)."""
    fields = [""]
    if are_structs:
        (_, length), (_, names), *parts = parts
        size = struct.unpack(order + "i", length)[0]
        fields = [names[i : i + size].rstrip(b"\0").decode("ascii") for i in range(0, len(names), size)]
    if not fields or len(parts) != count * len(fields) or any(kind != MATRIX for kind, _ in parts):
        raise ValueError(f"{len(parts)} parts of {count} objects with the fields {fields}")
    values = [_array(data, order)[1] for _, data in parts]
    found = np.empty(count, object)
    for i in range(count):
        of_one = values[i * len(fields) : (i + 1) * len(fields)]
        found[i] = SimpleNamespace(**dict(zip(fields, of_one, strict=True))) if are_structs else of_one[0]
    return found
