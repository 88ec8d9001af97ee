import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.long
def test_three_killed_trainings_go_on_as_if_nothing_had_been():
    command = [sys.executable, str(Path(__file__).with_name("kills.py")), "--trials", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("the same") == 3
