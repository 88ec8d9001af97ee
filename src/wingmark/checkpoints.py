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

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        try:
            with whole_file(Path(path)) as temporary:
                torch.save(checkpoint, temporary)
        except RuntimeError as error:  # how torch's writer tells a full disk
            raise OSError(f"{path} cannot be written ({error}); what was there before still is: make room") from error

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return read_for_lightning(path)


def newest_whole(folder: Path) -> Path | None:
    """The checkpoint in a folder that is furthest in training; damaged ones are named and left out."""
    oldest_first = sorted(folder.glob("[!.]*.ckpt"), key=lambda path: (path.stem == "last", path.stat().st_mtime_ns))
    for path in reversed(oldest_first):
        try:
            if "optimizer_states" in read_for_lightning(path):  # not one of weights alone
                return path
        except ValueError as error:
            log.warning("%s; looking for an earlier one", error)
    return None
