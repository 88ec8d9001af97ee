import pytest

from wingmark.files import whole_file


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
