"""Checkpoints on disk: whole or not there, and never believed when damaged."""

import logging
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from wingmark.files import whole_file
from wingmark.foreign import read_for_lightning

log = logging.getLogger(__name__)


class WholeCheckpoints(TorchCheckpointIO):
    """How Lightning writes and reads checkpoints.

    Its own way goes through the folder for temporary files, which may lie on another disk, does not flush, and says
    nothing where it is not allowed to write.
    """

    def __init__(self, to_train: bool = False) -> None:
        super().__init__()
        self.to_train = to_train  # what is loaded is gone on with

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        # Given a name, torch would store it: the temporary one, which is another in every process.
        with whole_file(Path(path)) as temporary, open(temporary, "wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # what torch's writer makes of a file that cannot be written
                raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return read_for_lightning(path, self.to_train)


def newest_whole(folder: Path) -> Path | None:
    """The checkpoint in a folder to go on from: last.ckpt, or else the one written last.

    Damaged ones are named and left out, weights alone are too.
    """
    oldest_first = sorted(folder.glob("[!.]*.ckpt"), key=lambda path: (path.stem == "last", path.stat().st_mtime_ns))
    for path in reversed(oldest_first):
        try:
            read_for_lightning(path, to_train=True)
            return path
        except ValueError as error:
            log.warning("%s; looking for an earlier one", error)
    return None


def best_of(run: Path) -> Path:
    """The best checkpoint of a run folder. FileNotFoundError where there is none."""
    path = run / "checkpoints" / "best.ckpt"
    last = path.with_name("last.ckpt")
    if not path.is_file():
        way_out = f"no validation ended; take {last}" if last.is_file() else "give the folder of a `wingmark fit`"
        raise FileNotFoundError(f"{path} does not exist: {way_out}")
    return path
