"""Let writing fail at random places, as on a full disk, and see what is left.

python tests/reliability/disk_full.py [--trials 10] [--seed 0]

No file of a training that goes on, of one that makes a cache, or of a test can grow beyond a number of bytes, drawn
anew for each trial. A trial passes if the command ends with status 1 and a sentence, what was there before is
untouched, nothing unfinished lies about, and the same command does its work afterwards. Exits with 1 where one did not.
"""

import argparse
import os
import random
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch

import wingmark.training  # what all commands load is loaded once
from wingmark.cli import main as wingmark_main
from wingmark.foreign import read_checkpoint

ROOT = Path(__file__).parents[2]
FIT = ["fit", "--config", str(ROOT / "tests" / "tiny.yaml"), "--checkpoint_minutes=0", "--trainer.logger=false"]
FIT += ["--model.schedule=null"]  # which would depend on how long the training is to be


def wingmark(*arguments: str, limit: int | None = None) -> tuple[int, str]:
    """Status of a command whose files cannot grow beyond `limit` bytes, and what it said last."""
    sys.stdout.flush()
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        status = 1
        try:
            torch.set_num_threads(1)
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            wingmark_main([*arguments])
            status = 0
        except SystemExit as end:
            print(end.code)
        finally:
            sys.stdout.flush()
            os._exit(status)
    os.close(writer)
    output = b"".join(iter(lambda: os.read(reader, 2**16), b"")).decode()
    os.close(reader)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), output.strip().splitlines()[-1]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def going_on(name: str, draw: random.Random) -> tuple[int, str, list[str]]:
    """A training that goes on cannot write its checkpoints."""
    run = Path("runs") / name
    shutil.copytree("runs/half", run)
    before = contents(run)
    limit = draw.randrange(1000, (run / "checkpoints" / "last.ckpt").stat().st_size)
    again = (*FIT, "--name", name, "--ckpt_path=last", "--trainer.max_epochs=2")
    status, said = wingmark(*again, limit=limit)
    after = contents(run)
    faults = [f"{file} changed" for file in before if before[file] != after.get(file) and file != "config.yaml"]
    if "cannot be written" not in said and "too large" not in said:
        faults.append("it is not said what happened")
    if status != 1 or wingmark(*again)[0]:
        faults.append("status")
    whole, resumed = (read_checkpoint(folder / "checkpoints" / "last.ckpt") for folder in (Path("runs/whole"), run))
    if any(not torch.equal(weight, resumed["state_dict"][key]) for key, weight in whole["state_dict"].items()):
        faults.append("other weights")
    return limit, said, faults + [f"{path} is left" for path in run.rglob(".*")]


def making_a_cache(name: str, draw: random.Random) -> tuple[int, str, list[str]]:
    """A training cannot write the faces that it wants to keep."""
    folder = Path(f"cache {name}")
    largest = max(path.stat().st_size for path in Path("cache").rglob("*") if path.is_file())
    limit = draw.randrange(largest)
    fit = (*FIT, "--name", name, "--data.cache", str(folder), "--trainer.max_epochs=1")
    status, said = wingmark(*fit, limit=limit)
    faults = [f"{path} is left" for path in folder.rglob("*")] if folder.is_dir() else []
    if status != 1 or str(folder) not in said:
        faults.append("it is not said what happened")
    shutil.rmtree(Path("runs") / name, ignore_errors=True)
    if wingmark(*fit)[0] or contents(folder) != contents(Path("cache")):
        faults.append("the next start makes another cache")
    return limit, said, faults


def testing(name: str, draw: random.Random) -> tuple[int, str, list[str]]:
    """A test cannot write its results over earlier ones."""
    run = Path("runs") / name
    shutil.copytree("runs/half", run)
    untested = contents(run)
    wingmark("test", "--run", str(run))
    before = contents(run)
    limit = draw.randrange(max(len(before[file]) for file in before if file not in untested))
    status, said = wingmark("test", "--run", str(run), limit=limit)
    after = contents(run)
    faults = [f"{file} changed" for file in before if before[file] != after.get(file)]
    faults += [f"{file} is left" for file in after if file not in before]
    if status != 1 or not said.startswith("wingmark: "):
        faults.append("it is not said what happened")
    return limit, said, faults + (["status"] if wingmark("test", "--run", str(run))[0] else [])


KINDS: dict[str, Callable[[str, random.Random], tuple[int, str, list[str]]]] = {
    "checkpoint": going_on,
    "cache": making_a_cache,
    "predictions": testing,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw, failed = random.Random(arguments.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name, *settings in (("half", "--trainer.max_epochs=1", "--data.cache=cache"), ("whole",)):
            status, said = wingmark(*FIT, "--name", name, *settings)
            assert status == 0, said
        for kind, trial in KINDS.items():
            for number in range(arguments.trials):
                limit, said, faults = trial(f"{kind} {number}", draw)
                failed += bool(faults)
                print(f"{kind:<12} {limit:>9} bytes  {', '.join(faults) or 'passed'}\n  {said[:200]}")
    print(f"{failed} of {arguments.trials * len(KINDS)} trials did not pass")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
