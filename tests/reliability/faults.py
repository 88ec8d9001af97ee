"""What faults beside the training give: a loader process that ends, W&B that fails, sets with hardly a face.

python tests/reliability/faults.py

Each row is a `wingmark fit` with that fault: its status, how long it took, and what it said last. Exits with 1 where
one is not as it should be. The disk of W&B can only be made full by root, in a folder of its own.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from torch.utils.data import get_worker_info

from wingmark.data.sources import SyntheticFaces
from wingmark.types import Face

ROOT = Path(__file__).parents[2]
OVERLAYS = ROOT / "configs" / "overlays"
FIT = ["fit", "--config", str(ROOT / "tests" / "tiny.yaml"), "--trainer.max_epochs=2"]
WANDB = ["--config", str(OVERLAYS / "wandb.yaml")]
TWO = ["--config", str(OVERLAYS / "ddp_cpu.yaml")]
LOADERS = ["--data.num_workers=2", "--data.source.init_args.train=24", "--data.source.init_args.val=5"]


class Killing(SyntheticFaces):
    """A source whose eleventh training face ends the loader process."""

    def read_image(self, face: Face, reduce: int = 1):
        if "000010" in face.id and get_worker_info():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read_image(face, reduce)


class Failing(SyntheticFaces):
    """A source whose eleventh training face cannot be read."""

    def read_image(self, face: Face, reduce: int = 1):
        if "000010" in face.id:
            raise ValueError(f"{face.id}: its picture is torn")
        return super().read_image(face, reduce)


# Arguments, environment, status, and what is said.
CASES = {
    "a loader process is killed": (["--data.source=faults.Killing", *LOADERS], {}, 1, "DataLoader worker .* killed"),
    "a picture cannot be read": (["--data.source=faults.Failing", *LOADERS], {}, 1, "its picture is torn"),
    "W&B cannot be reached": (
        [*WANDB, "--trainer.logger.init_args.offline=false"],
        {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40},
        0,
        "NME",
    ),
    "W&B's disk is full": ([*WANDB, "--trainer.logger.init_args.save_dir=full"], {"WANDB_MODE": "offline"}, 0, "NME"),
    "one validation face": (["--data.source.init_args.val=1"], {}, 0, "best validation NME"),
    "one for two processes": (["--data.source.init_args.val=1", *TWO], {}, 0, "best validation NME"),
    "no validation face": (["--data.source.init_args.val=0"], {}, 1, "no val faces; train with data.holdout.val"),
    "no training face": (["--data.source.init_args.train=0"], {}, 1, "no train faces"),
    "no test face": (["--data.source.init_args.test=0"], {}, 0, "best validation NME"),
}


def main() -> None:
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        full = Path("full")
        full.mkdir()
        mounted = not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=40k", "none", full], capture_output=True
        ).returncode
        try:
            for number, (name, (arguments, variables, expected, says)) in enumerate(CASES.items()):
                if "disk" in name and not mounted:
                    print(f"{name:<28} not run: needs root")
                    continue
                started = time.monotonic()
                command = [Path(sys.executable).with_name("wingmark"), *FIT, "--name", str(number), *arguments]
                environment = {
                    **os.environ,
                    "PYTHONPATH": str(Path(__file__).parent),
                    "OMP_NUM_THREADS": "1",
                    **variables,
                }
                found = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
                lines = (found.stderr if found.returncode else found.stdout).strip().splitlines()
                # W&B may have the last word.
                said = next((line for line in reversed(lines) if re.search(says, line)), lines[-1])
                passed = found.returncode == expected and re.search(says, said)
                failed += not passed
                seconds = time.monotonic() - started
                print(
                    f"{name:<28} status {found.returncode}, {seconds:4.0f} s{'' if passed else ', NOT AS IT SHOULD BE'}"
                )
                print(f"  {said[:300]}", flush=True)
        finally:
            subprocess.run(["umount", full], capture_output=True)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
