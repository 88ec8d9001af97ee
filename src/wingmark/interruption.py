"""Ctrl-C and SIGTERM: training ends between two steps, everything else at once."""

import os
import signal
import subprocess
import time
from types import FrameType, TracebackType

from pytorch_lightning.utilities import rank_zero_only

FIRST = "WINGMARK_FIRST_PROCESS"  # environment variable: number of the process that started the others


def started_by_first() -> bool:
    """Whether Lightning in the first process started this one: whatever ends that one ends both."""
    return os.environ.get(FIRST) == str(os.getppid())


class Interrupted(BaseException):
    """A signal ended the command; `number` is that of the signal, the message may say how to go on.

    agreed: all processes end together.
    """

    def __init__(self, number: int, message: str | None = None, agreed: bool = False) -> None:
        super().__init__(message or f"ended by {signal.Signals(number).name}")
        self.number, self.agreed = number, agreed

    @property
    def status(self) -> int:
        """The exit status that shells and schedulers expect."""
        return 128 + self.number


class Signals:
    """Within it, a signal raises `Interrupted` at once, or, while `waiting`, is kept in `received`.

    It is raised in the first process. Those that this one started pass their signals on to it: one that ended alone
    would leave the others waiting.

    A handler that saves or talks to other processes, as Lightning's do, meets them in another step, and hangs. In a job
    of SLURM it catches SIGUSR1 too, which announces the end of the job's time.
    """

    def __init__(self) -> None:
        self.waiting = False
        self.received = 0
        self._raised = -1.0  # when, in seconds
        self._earlier: dict[int, object] = {}

    def __enter__(self) -> "Signals":
        if rank_zero_only.rank == 0:
            os.environ[FIRST] = str(os.getpid())
        numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGUSR1] if "SLURM_JOB_ID" in os.environ else [])]
        self._earlier = {number: signal.signal(number, self._handle) for number in numbers}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.waiting:
            self._end(number)
            return
        self.received = number
        if number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            if rank_zero_only.rank == 0:
                os.write(2, b"\nending after this step; Ctrl-C again ends at once, without saving\n")

    def _end(self, number: int) -> None:
        if started_by_first():
            os.kill(os.getppid(), number)
        elif time.monotonic() - self._raised > 1:  # not the same signal, passed on by another process
            self._raised = time.monotonic()
            raise Interrupted(number)


def requeue() -> None:
    """Ask SLURM to start this job again."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array else os.environ["SLURM_JOB_ID"]
    if subprocess.run(["scontrol", "requeue", job]).returncode:
        raise OSError(f"`scontrol requeue {job}` failed; submit the job again, it goes on where it stopped")
    print(f"job {job} starts again")
