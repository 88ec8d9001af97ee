import errno
import os
import subprocess
import sys

import pytest

from wingmark.files import remove_leftovers, whole_file


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "new" / "a.json"
    with whole_file(path) as temporary:
        temporary.write_text("half")
        assert not path.exists() and temporary.suffix == ".json"
        temporary.write_text("whole")
    assert path.read_text() == "whole" and [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_an_error_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("earlier")
    with pytest.raises(RuntimeError), whole_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "earlier" and [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS])
def test_room_is_asked_for_where_there_is_none(tmp_path, number):
    said = r"a\.json cannot be written .*; what was there before still is"
    with pytest.raises(OSError, match=said) as error, whole_file(tmp_path / "a.json"):
        raise OSError(number, os.strerror(number))
    assert os.strerror(number) in str(error.value)
    assert str(error.value).endswith(": make room") == (number not in (errno.EIO, errno.EROFS))


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    killed = (
        "import os, pathlib, sys\n"
        "from wingmark.files import whole_file\n"
        "with whole_file(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    path = tmp_path / "checkpoints" / "last.ckpt"
    subprocess.run([sys.executable, "-c", killed, str(path)], timeout=60)
    (left,) = path.parent.iterdir()
    assert left != path and left.read_text() == "half"
    others = [
        tmp_path / name for name in (".hidden", ".a.part", ".a.part.1", "b.1.part", f".c.{os.getppid()}.part.json")
    ]
    for other in others:
        other.write_text("of others")
    restarted = tmp_path / f".d.{os.getpid()}.part"  # in a container this process has the number of the killed one
    restarted.write_text("half")
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([*others, path.parent]) and not [*path.parent.iterdir()]
