"""MATLAB files, good and bad."""

import io
import re
import resource
import struct
import time
import zlib
from functools import reduce

import numpy as np
import pytest

from wingmark.data.sources.matlab import mat_file

scipy_io = pytest.importorskip("scipy.io", reason="scipy writes MATLAB 5 files: wingmark[dev]")


@pytest.fixture
def mat(tmp_path):
    path = tmp_path / "some file.MAT"
    with path.open("wb") as file:
        scipy_io.savemat(
            file, {"column": np.array([[1], [2]]), "row": {"name": "é", "box": [1.0, 2.0]}}, do_compression=True
        )
    return path


def test_variables_are_squeezed_and_structs_have_fields(mat):
    variables = mat_file(mat, "row", "column")
    assert variables["column"].tolist() == [1, 2]
    assert variables["row"].name == "é" and variables["row"].box.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("packed", [True, False])
def test_all_types_are_what_scipy_reads(tmp_path, packed):
    names = np.empty((3, 1), object)
    names[:, 0] = ["a.jpg", "ü€😀.jpg", ""]
    kinds = ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
    numbers = {kind: np.arange(6).reshape(2, 3).astype(kind) for kind in kinds}
    written = numbers | {"names": names, "one": 3.5, "flags": np.array([[True, False]])}
    written |= {"cube": np.arange(24.0).reshape(2, 3, 4), "text": "abc", "rows": {"a": [1, 2], "b": {"c": "d"}}}
    path = tmp_path / "a.mat"
    scipy_io.savemat(path, written, do_compression=packed)
    expected, found = scipy_io.loadmat(path, squeeze_me=True, struct_as_record=False), mat_file(path)
    assert set(found) == set(written)
    for name in (*numbers, "one", "flags", "cube", "text"):
        np.testing.assert_array_equal(found[name], expected[name])
        assert np.asarray(found[name]).dtype == np.asarray(expected[name]).dtype
    assert found["names"][0] == "a.jpg" and found["names"][1] == "ü€😀.jpg" and len(found["names"][2]) == 0
    assert found["rows"].a.tolist() == [1, 2] and found["rows"].b.c == "d"


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def array(kind: int, shape: tuple[int, ...], *parts: bytes) -> bytes:
    head = element(6, struct.pack("<II", kind, 0)), element(5, struct.pack(f"<{len(shape)}i", *shape)), element(1, b"x")
    return element(14, b"".join([*head, *parts]))


DOUBLES = element(9, np.arange(4.0).tobytes())
HOSTILE = {
    "10 GB of numbers": array(6, (1_250_000_000, 1), DOUBLES),
    "10 GB of text": array(4, (1, 2**31 - 1), element(16, b"")),
    "10 GB of cells": array(1, (1_250_000_000, 1)),
    "structs without fields": array(2, (2**31 - 1, 1), element(5, struct.pack("<i", 32)), element(1, b"")),
    "negative size": array(6, (-2, -2), DOUBLES),
    "no size": array(6, (), DOUBLES),
    "numbers of no known type": array(6, (2, 2), element(0, np.arange(4.0).tobytes())),
    "text of no known type": array(4, (1, 4), element(0, b"abcd")),
    "sparse": array(5, (2, 2), DOUBLES, DOUBLES, DOUBLES),
    "nested 2000 deep": reduce(lambda inner, _: array(1, (1, 1), inner), range(2000), array(6, (2, 2), DOUBLES)),
    "more than 2**18 empty cells": array(1, (1, 2**20), struct.pack("<II", 14, 0) * 2**20),
    "bytes that become 240 MB": array(6, (1, 30_000_000), element(2, bytes(30_000_000))),
    "fields of no struct, and too many axes": array(2, (1,) * 33, element(5, struct.pack("<i", 32)), element(1, b"")),
    "a bomb": element(15, zlib.compress(bytes(2**29)))[: -7 or None],
    "an element in an element": element(15, zlib.compress(element(15, zlib.compress(array(6, (2, 2), DOUBLES))))),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_bytes_claim_is_not_believed(mat, case):
    header = mat.read_bytes()[:128]
    mat.write_bytes(header + array(6, (2, 2), DOUBLES))
    np.testing.assert_array_equal(mat_file(mat)["x"], [[0, 2], [1, 3]])
    mat.write_bytes(header + HOSTILE[case])
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="not a whole MATLAB 5 file"):
        mat_file(mat)
    assert time.perf_counter() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # KiB


@pytest.mark.parametrize("depth", [10, 11])
def test_cells_in_cells(mat, depth):
    content = array(9, (2**23, 1), element(2, bytes(2**23)))
    for _ in range(depth):
        content = array(1, (1, 1), content)
    mat.write_bytes(mat.read_bytes()[:128] + content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if depth == 10:
        assert mat_file(mat)["x"].shape == (2**23,)
    else:
        with pytest.raises(ValueError, match="an array within 11 others"):
            mat_file(mat)
    # KiB; one copy of 8 MiB at each level would be more.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 2**10


def test_missing_variable(mat):
    message = f"{mat}: expected the variables ['bboxes'], found ['column', 'row']; unpack it again"
    with pytest.raises(ValueError, match=re.escape(message)):
        mat_file(mat, "column", "bboxes")


def test_any_damage_is_a_value_error(mat):
    whole = mat.read_bytes()
    for kept in [*range(0, len(whole), 7), len(whole) - 1]:
        mat.write_bytes(whole[:kept])
        with pytest.raises(ValueError, match=r"some file\.MAT: .*; unpack it again"):
            mat_file(mat, "column", "row")
    for position in range(128, len(whole), 5):  # after the header, of which the text means nothing
        mat.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        with pytest.raises(ValueError, match=r"some file\.MAT: .*; unpack it again"):
            mat_file(mat, "column", "row")


def test_file_that_is_another(tmp_path):
    path = tmp_path / "boxes.mat"
    content = io.BytesIO()
    np.save(content, np.zeros(3))
    path.write_bytes(content.getvalue() * 4)
    with pytest.raises(ValueError, match=r"boxes\.mat: not a whole MATLAB 5 file"):
        mat_file(path)
    with pytest.raises(FileNotFoundError):
        mat_file(tmp_path / "gone.mat")
