"""What readers share, where no reader's own test shows it."""

import io
import re
import sys

import numpy as np
import pytest

from wingmark.data.sources.reading import mat_file

scipy_io = pytest.importorskip("scipy.io", reason="scipy writes and reads MATLAB 5 files: wingmark[mat]")


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
    for position in range(136, len(whole), 5):  # after the header, of which the text means nothing
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


def test_without_scipy(mat, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ImportError, match=r"MATLAB files are read with scipy\.io: pip install 'wingmark\[mat\]'"):
        mat_file(mat)
