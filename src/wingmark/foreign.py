"""Reading files that may come from anybody: they hold numbers and words, and nothing in them is run."""

import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

# Bytes of the unpacked arrays of one file. Predictions of 100,000 faces with 98 landmarks take 0.4 GB.
LARGEST = 2**31


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """What a checkpoint holds, on the CPU.

    Raises FileNotFoundError where there is none, ValueError where it is damaged, something else, or holds code.
    """
    import torch  # what reads only tables does not wait for it

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a run folder or a .ckpt file written by `wingmark fit`")
    try:
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("it is compressed")  # a small file could fill the memory
            if member := archive.testzip():  # torch leaves the checksums out
                raise ValueError(f"{member} is not as it was written")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own words advise to run what is in it.
        raise ValueError(f"{path} is damaged, or holds more than numbers and words: that is never loaded") from error
    except Exception as error:  # a file that is no checkpoint can fail in any way
        reason = error if type(error) is ValueError else type(error).__name__
        raise ValueError(f"{path} is damaged or no checkpoint of `wingmark fit` ({reason})") from error
    weights = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(weights, dict) or not all(torch.is_tensor(value) for value in weights.values()):
        raise ValueError(f"{path} does not say how its model was built; only `wingmark fit` writes that down")
    return checkpoint


# What Lightning and wingmark take from a checkpoint unasked, by its type; what holds others comes before them.
PARTS = {
    dict: ("wingmark", "wingmark.model", "wingmark.protocol", "callbacks", "loops", "loops.fit_loop", "continuation")
    + ("continuation.random", "LandmarkDataModule"),
    list: ("optimizer_states", "lr_schedulers", "LandmarkDataModule.train", "LandmarkDataModule.val"),
    tuple: ("LandmarkDataModule.position",),
    int: ("epoch", "global_step", "continuation.rows", "LandmarkDataModule.faces_per_step", "LandmarkDataModule.seed"),
}


def read_for_lightning(path: str | Path, to_train: bool = False) -> dict[str, Any]:
    """The same for a checkpoint that Lightning restores, which deletes files that an earlier one names.

    to_train: it is gone on with, for which no part of it may be missing.
    """
    checkpoint = read_checkpoint(path)
    if not isinstance(checkpoint.get("pytorch-lightning_version"), str):
        raise ValueError(f"{path} was not written by Lightning; give a .ckpt file written by `wingmark fit`")
    for place, kind in ((place, kind) for kind, places in PARTS.items() for place in places):
        part: Any = checkpoint
        for name in place.split("."):
            part = None if part is None else part.get(name)
        if part is None and not to_train:
            continue
        if not isinstance(part, kind) or (place == "optimizer_states" and not part):
            raise ValueError(f"{path} is no whole checkpoint of `wingmark fit`: its {place} is no {kind.__name__}")
    callbacks = checkpoint.get("callbacks") or {}
    for state in callbacks.values() if isinstance(callbacks, dict) else [callbacks]:
        if not isinstance(state, dict):
            raise ValueError(f"{path} is damaged: the state of a callback is no dictionary")
        paths = [value for key, value in state.items() if str(key).endswith("model_path")]
        for name in (*paths, *(state.get("best_k_models") or {})):
            # These Lightning would delete although they do not lie in the folder of the run.
            if not isinstance(name, str) or ".." in Path(name).parts or "://" in name:
                raise ValueError(f"{path} names the checkpoint {name!r:.80}, which does not lie in the folder of a run")
    return checkpoint


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, by name.

    Raises ValueError where it is damaged, something else, larger than LARGEST, or holds objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > LARGEST:
            raise ValueError(f"unpacked it would take {size / 2**30:.1f} GiB, at most {LARGEST / 2**30:g} are read")
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
        if others := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
            raise ValueError(f"{others[0]!r:.80} is no array")  # NumPy gives the bytes of what it does not know
        for name, array in arrays.items():
            # NumPy makes strings of any number, at which Python stumbles much later.
            if array.dtype.kind == "U" and (array.ravel().view(array.dtype.str[0] + "u4") > sys.maxunicode).any():
                raise ValueError(f"{name!r:.80} holds letters that are none")
        return arrays
    except Exception as error:  # a damaged file can fail in any way
        raise ValueError(f"{path} is damaged or no .npz file of plain arrays ({error})") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Keys and values of a YAML file, which may hold no object tags. FileNotFoundError, or ValueError for another."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as YAML: {' '.join(str(error).split()):.200}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold keys and values, got {type(content).__name__}")
    return content
