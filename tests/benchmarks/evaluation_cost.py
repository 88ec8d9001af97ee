"""What it costs to evaluate 100,000 faces of 98 landmarks from their file, seconds and memory.

    python tests/benchmarks/evaluation_cost.py

Measures `wingmark evaluate` as a user runs it, in a process of its own: every face its own group, the six subsets of
WFLW, all intervals with 1,000 bootstrap draws, pictures and tables written. `wingmark evaluate --help` tells what the
start of Python and the libraries take of it.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FACES, TAGS = 100_000, ("pose", "expression", "illumination", "make-up", "occlusion", "blur")


def write_predictions(path: Path) -> None:
    random = np.random.default_rng(0)
    target = random.uniform(0, 400, (FACES, 98, 2))
    carried = random.random((FACES, len(TAGS))) < 0.2
    np.savez(
        path,
        id=np.array([f"photo{i}.jpg#0" for i in range(FACES)]),
        landmarks_image=target + random.normal(0, 3, target.shape),
        target=target,
        tags=np.array([";".join(tag for tag, has in zip(TAGS, row, strict=True) if has) for row in carried]),
    )


def cost(folder: str, *args: str) -> tuple[float, float]:
    """Seconds and peak GiB of `wingmark evaluate` with these arguments."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "wingmark.cli", "evaluate", *args], cwd=folder)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit("wingmark evaluate failed")
    return time.perf_counter() - started, usage.ru_maxrss / 1024**2


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        write_predictions(Path(folder) / "predictions.npz")
        start = cost(folder, "--help")
        whole = cost(folder, "--predictions", "predictions.npz", "--protocol", "wflw-tight/inter-ocular/v1")
    print(f"{FACES} faces: {whole[0]:.1f} s, {whole[1]:.2f} GiB; start alone: {start[0]:.1f} s, {start[1]:.2f} GiB")
