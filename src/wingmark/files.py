"""Writing files that others rely on: whole or not at all."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LEFTOVER = re.compile(r"\..*\.(\d+)\.part(\.\w+)?")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; what was written there is flushed and renamed to `path` at the end.

    An error in between leaves an earlier file of that name as it was and removes the temporary one; OSError names the
    file where it cannot be written. A killed process leaves it behind: see `remove_leftovers`.
    """
    # The suffix stays: writers choose the format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        flush(temporary)
        temporary.replace(path)
        flush(path.parent)  # or a loss of power could undo the renaming
    except OSError as error:
        if error.filename not in (None, str(temporary), str(path.parent)):
            raise  # an error of something else
        way_out = ": make room" if error.errno in FULL else ""
        raise OSError(f"{path} cannot be written ({error}); what was there before still is{way_out}") from error
    finally:
        if temporary.exists():
            temporary.unlink()


def remove_leftovers(folder: Path) -> None:
    """Remove what processes of this machine were writing below `folder` with `whole_file` when they were killed."""
    for path in folder.rglob(".*.part*"):
        name = LEFTOVER.fullmatch(path.name)
        if name and not _is_another_process(int(name[1])):
            path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Return once a file, or the names in a folder, would survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_another_process(number: int) -> bool:
    # In a container that is started again, processes have the same numbers again.
    if number == os.getpid():
        return False
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # of another user
    return True
