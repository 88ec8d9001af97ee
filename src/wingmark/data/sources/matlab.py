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

# Of a file once unpacked, and of any array in it: AFLW, the largest, has 122,000 elements in 15 MB.
MAX_BYTES, MAX_ELEMENTS, MAX_DEPTH, MAX_AXES = 2**25, 2**18, 10, 32
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
    damaged, is larger than any set needs, or lacks a variable of `expected`.
    """
    with path.open("rb") as file:
        content = memoryview(file.read(MAX_BYTES + 1))
    with parsing(path, "MATLAB 5 file"):
        reader = _Reader({b"\x00\x01IM": "<", b"\x01\x00MI": ">"}[bytes(content[124:128])])
        variables = dict(reader.array(data) for data in reader.matrices(content[128:]))
    missing = [name for name in expected if name not in variables]
    if missing:
        raise ValueError(f"{path}: expected the variables {missing}, found {list(variables)}; unpack it again")
    return variables


class _Reader:
    """Reads numbers in one byte order, "<" or ">", and counts the elements of the file."""

    def __init__(self, order: str) -> None:
        self.order, self.count = order, 0

    def matrices(self, content: memoryview) -> Iterator[memoryview]:
        """The variables, unpacked."""
        size = 0
        for kind, data in self.elements(content):
            if kind == COMPRESSED:
                inflate = zlib.decompressobj()
                data = memoryview(inflate.decompress(data, MAX_BYTES + 1 - size))
                if not inflate.eof:
                    raise ValueError(f"a variable is cut off, or they have more than {MAX_BYTES} bytes")
                ((kind, data),) = self.elements(data)
            size += len(data)
            if kind != MATRIX or size > MAX_BYTES:
                raise ValueError(f"an element of type {kind}, or more than {MAX_BYTES} bytes")
            yield data

    def elements(self, content: memoryview) -> Iterator[tuple[int, memoryview]]:
        """The elements that follow each other: type and data."""
        start = 0
        while start < len(content):
            kind, size = struct.unpack_from(self.order + "II", content, start)
            start += 8
            end = start + size + (-size % 8 if kind != COMPRESSED else 0)
            if kind >> 16:  # a short one, within its own tag
                kind, size, start, end = kind & 0xFFFF, kind >> 16, start - 4, start
            self.count += 1
            if start + size > min(end, len(content)) or self.count > MAX_ELEMENTS:
                raise ValueError(f"it is cut off, or has more than {MAX_ELEMENTS} elements in {MAX_BYTES} bytes")
            yield kind, content[start : start + size]
            start = end

    def array(self, matrix: memoryview, depth: int = 0) -> tuple[str, Any]:
        """Name and value of an array within `depth` others; ValueError where its parts are not what its head says."""
        if not matrix:  # how an empty one is written within others
            return "", np.array([])
        (_, flags), (_, sizes), (_, name), *parts = self.elements(matrix)
        if depth > MAX_DEPTH or len(sizes) > 4 * MAX_AXES:
            raise ValueError(f"an array within {depth} others, or of {len(sizes) // 4} axes")
        (flag,) = struct.unpack_from(self.order + "I", flags)
        shape = struct.unpack(f"{self.order}{len(sizes) // 4}i", sizes)
        kind, count = flag & 0xFF, math.prod(shape)
        if flag & COMPLEX or min(shape) < 0:
            raise ValueError(f"complex numbers, or an array of size {shape}")
        if kind in (CELL, STRUCT):
            value = self.objects(parts, count, depth, kind == STRUCT).reshape(shape, order="F")
        elif kind == CHAR:
            ((stored, data),) = parts
            value = str(data, ENCODINGS[self.order][stored])
            if len(value) != count or (count and count != shape[-1]):
                raise ValueError(f"a text of {len(value)} letters and size {shape}")
            return str(name, "ascii"), value
        else:
            ((stored, data),) = parts
            if count * np.dtype(CLASSES[kind]).itemsize > MAX_BYTES:
                raise ValueError(f"an array of size {shape}")
            value = np.frombuffer(data, self.order + STORED[stored]).reshape(shape, order="F").astype(CLASSES[kind])
        value = value.squeeze()
        return str(name, "ascii"), value if value.shape else value.item()

    def objects(self, parts: list[tuple[int, memoryview]], count: int, depth: int, are_structs: bool) -> np.ndarray:
        """What a cell array holds, or the structs of another, (count,)."""
        fields = [""]
        if are_structs:
            (_, length), (_, names), *parts = parts
            size = struct.unpack(self.order + "i", length)[0]
            starts = range(0, len(names), size)[: len(parts) + 1]  # more than there are parts is wrong, however many
            fields = [str(names[start : start + size], "ascii").rstrip("\0") for start in starts]
        if not fields or len(parts) != count * len(fields) or any(kind != MATRIX for kind, _ in parts):
            raise ValueError(f"{len(parts)} parts of {count} objects with {len(fields)} fields")
        values = [self.array(data, depth + 1)[1] for _, data in parts]
        found = np.empty(count, object)
        for i in range(count):
            of_one = values[i * len(fields) : (i + 1) * len(fields)]
            found[i] = SimpleNamespace(**dict(zip(fields, of_one, strict=True))) if are_structs else of_one[0]
        return found
