"""`make test-oldest` installs what pyproject.toml allows at least."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = ("mat", "export", "dev")


def test_the_oldest_releases_are_those_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = project["dependencies"] + [line for extra in EXTRAS for line in project["optional-dependencies"][extra]]
    bounds = dict(re.match(r"([\w-]+)(?:\[.*?\])?[>=]=([\d.]+)", line).groups() for line in required if "=" in line)
    lines = (ROOT / "constraints-oldest.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert pinned.keys() == bounds.keys()
    for name, bound in bounds.items():
        assert f"{pinned[name]}.".startswith(f"{bound}."), name  # opencv's releases have four numbers
