"""Train for many steps, and see whether memory, open files and threads stay flat.

python tests/reliability/endurance.py [--steps 20000]

All processes of one `wingmark fit` with two loader processes are sampled every second: synthetic faces, an epoch of 25
steps, a validation after each fourth. What is taken after the first fifth is compared by fifths: exits with 1 where
memory grew by more than 2 %, or open files or threads by one.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FIT = ["fit", "--config", str(ROOT / "tests" / "tiny.yaml"), "--name", "long", "--trainer.max_epochs=-1"]
FIT += ["--data.source.init_args.train=200", "--data.num_workers=2", "--trainer.check_val_every_n_epoch=4"]
FIT += ["--data.cache=cache", "--trainer.log_every_n_steps=50"]
PARTS = 5


class Sample(NamedTuple):
    """Of all processes together; memory in MiB, what they share counted once."""

    steps: int
    memory: float
    files: float
    threads: float
    processes: float


def tree(pid: int) -> list[int]:
    """A process and all that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(found for child in children for found in tree(int(child)))]


def sample(pid: int, steps: int) -> Sample:
    """What the processes hold at this moment."""
    pids = tree(pid)
    memory = files = threads = 0
    for process in map(Path, (f"/proc/{number}" for number in pids)):
        shares = (process / "smaps_rollup").read_text().splitlines()
        # Without the pages of libraries, whose share falls when others on this machine load the same.
        memory += sum(int(line.split()[1]) for line in shares if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
        files += len(os.listdir(process / "fd"))
        threads += len(os.listdir(process / "task"))
    return Sample(steps, memory / 1024, files, threads, len(pids))


def steps_of(table: Path) -> int:
    """How far training is, by the last row of its curves."""
    if not table.is_file():
        return 0
    header, *rows = table.read_text().splitlines()
    column = header.split(",").index("step")
    return max((int(row.split(",")[column]) for row in rows), default=0)


def train(steps: int, folder: Path) -> list[Sample]:
    """Samples of a whole training."""
    samples = []
    with open(folder / "log.txt", "w") as log:
        command = [Path(sys.executable).with_name("wingmark"), *FIT, f"--trainer.max_steps={steps}"]
        training = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        while training.poll() is None:
            with suppress(OSError):  # a process may end between two looks
                samples.append(sample(training.pid, steps_of(folder / "runs" / "long" / "logs" / "metrics.csv")))
            time.sleep(1)
    if training.returncode:
        sys.exit((folder / "log.txt").read_text()[-2000:])
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000)
    steps = parser.parse_args().steps
    with tempfile.TemporaryDirectory() as folder:
        samples = train(steps, Path(folder))
    print(f"{'steps':>15}  samples  memory [MiB]  open files  threads  processes")
    means = []
    for part in range(1, PARTS):
        low, high = steps * part // PARTS, steps * (part + 1) // PARTS
        chosen = [found for found in samples if low < found.steps < high]
        if not chosen:
            sys.exit(f"no sample between {low} and {high} steps; train for more")
        means.append(Sample(*(sum(column) / len(chosen) for column in zip(*chosen, strict=True))))
        mean = means[-1]
        print(
            f"{low:>7}-{high:<7}  {len(chosen):>7}  {mean.memory:>12.1f}  {mean.files:>10.1f}  {mean.threads:>7.1f}  "
            f"{mean.processes:>9.1f}"
        )
    first, last = means[0], means[-1]
    if last.memory > 1.02 * first.memory or last.files >= first.files + 1 or last.threads >= first.threads + 1:
        sys.exit("not flat")
    print("flat")


if __name__ == "__main__":
    main()
