"""The `.pts` format in every spelling met on disk, and files that are none."""

import re
from pathlib import Path

import numpy as np
import pytest

from wingmark.data.sources.pts import read_pts

POINTS = np.array([[330.494563, 217.726973], [-4.5, 1.0], [1e3, 12.0]])
LINES = ["330.494563 217.726973", "-4.5 1.0", "1000 12"]
PLAIN = "version: 1\nn_points:  3\n{\n" + "\n".join(LINES) + "\n}"

SPELLINGS = {
    "public 300W": PLAIN,
    "version 1.0, final newline": PLAIN.replace("version: 1", "version: 1.0") + "\n",
    "carriage returns": PLAIN.replace("\n", "\r\n") + "\r\n",
    "one blank": PLAIN.replace("n_points:  3", "n_points: 3"),
    "no blank": PLAIN.replace("n_points:  3", "n_points:3"),
    "blanks at line ends": PLAIN.replace("\n", " \n"),
    "tabs and empty lines": PLAIN.replace("217", "\t217").replace("\n-4.5", "\n\n\t-4.5"),
    "all on one line": PLAIN.replace("\n", " "),
    "no version": PLAIN.removeprefix("version: 1\n"),
}


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_points_are_read_as_written(tmp_path, spelling):
    points = read_pts(write(tmp_path / "face.pts", SPELLINGS[spelling]), 3)
    assert points.dtype == np.float64
    np.testing.assert_array_equal(points, POINTS)


BAD = {
    "empty file": ("", "{path}: not a whole .pts file, expected `n_points: 3`"),
    "html": ("<!DOCTYPE html><style>a {{ color: red }}</style>", "{path}: not a whole .pts file"),
    "no braces": ("\n".join(LINES), "{path}: not a whole .pts file"),
    "cut off": (PLAIN[:-9], "{path}: not a whole .pts file"),
    "other count": (PLAIN.replace("  3", " 5"), "{path}, line 2: n_points is 5, expected 3"),
    "a point short": (PLAIN.replace("-4.5 1.0\n", ""), "{path}, line 3: 4 numbers between { and }, expected 6"),
    "a number short": (PLAIN.replace("-4.5 1.0", "-4.5"), "{path}, line 3: 5 numbers between { and }, expected 6"),
    "no number": (PLAIN.replace("-4.5", "4,5"), "{path}, line 5: could not convert string to float: '4,5'"),
    "not a number": (PLAIN.replace("-4.5", "NaN"), "{path}, line 5: 'NaN 1.0' is not finite"),
    "infinite": (PLAIN.replace("12", "inf"), "{path}, line 6: '1000 inf' is not finite"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_is_named_with_its_line(tmp_path, case):
    text, message = BAD[case]
    path = write(tmp_path / "face.pts", text)
    with pytest.raises(ValueError, match=re.escape(message.replace("{path}", str(path)))) as error:
        read_pts(path, 3)
    assert str(error.value).endswith("; replace the file or remove it")


def test_binary_file_is_refused(tmp_path):
    (tmp_path / "face.pts").write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match=r"not a whole \.pts file"):
        read_pts(tmp_path / "face.pts", 3)
