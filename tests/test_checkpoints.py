"""Checkpoints are whole or not there, damaged ones are named, and a save that fails is an error."""

import os
import resource

import pytest
import torch

from wingmark.checkpoints import WholeCheckpoints, newest_whole
from wingmark.foreign import read_checkpoint


def checkpoint(step: int) -> dict:
    """All that training goes on with, as far as it is looked at."""
    seen = {"train": ["a"], "val": ["b"], "position": (0, 8), "faces_per_step": 8, "seed": 0}
    return {
        "pytorch-lightning_version": "2.6.6",
        "state_dict": {"a": torch.full((1000,), float(step))},
        "wingmark": {"model": {"network": "a"}, "protocol": {"name": "a"}},
        "loops": {"fit_loop": {}},
        "callbacks": {"a": {}},
        "continuation": {"random": {"torch": 0}, "rows": 0},
        "LandmarkDataModule": seen,
        "optimizer_states": [{}],
        "lr_schedulers": [],
        "epoch": 1,
        "global_step": step,
        "step": step,
    }


@pytest.fixture
def folder(tmp_path):
    """best.ckpt of step 1, then last.ckpt of step 2."""
    for step, name in enumerate(("best", "last"), start=1):
        WholeCheckpoints().save_checkpoint(checkpoint(step), tmp_path / f"{name}.ckpt")
        os.utime(tmp_path / f"{name}.ckpt", (step, step))
    return tmp_path


def damage(path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "bit":
        content[content.index(torch.full((1000,), 2.0).numpy().tobytes()) + 2001] ^= 1
    damaged = {"empty": b"", "cut": content[: len(content) // 2], "zeros": bytes(len(content)), "bit": content}
    path.write_bytes(damaged[how])


def test_the_last_one_is_the_newest(folder):
    assert newest_whole(folder) == folder / "last.ckpt"
    os.utime(folder / "best.ckpt")  # written after the validation, last.ckpt before it
    assert newest_whole(folder) == folder / "last.ckpt"
    assert newest_whole(folder / "nothing") is None


@pytest.mark.parametrize("how", ["empty", "cut", "zeros", "bit"])
def test_a_damaged_one_is_named_and_an_earlier_one_taken(folder, caplog, how):
    path = folder / "last.ckpt"
    damage(path, how)
    with pytest.raises(ValueError, match=r"last.ckpt is damaged"):
        WholeCheckpoints().load_checkpoint(path)
    assert newest_whole(folder) == folder / "best.ckpt"
    (said,) = caplog.messages
    assert str(path) in said and "looking for an earlier one" in said
    assert read_checkpoint(folder / "best.ckpt")["step"] == 1


WITHOUT = {"optimizer_states": [], "loops": {}, "callbacks": [], "continuation": {"random": {}}, "epoch": "1"}
WITHOUT |= {"LandmarkDataModule": {"train": [], "val": []}, "wingmark": "x"}


@pytest.mark.parametrize("part", WITHOUT)
def test_a_part_that_is_missing_is_named(folder, part):
    for content in ({**checkpoint(3), part: WITHOUT[part]}, {k: v for k, v in checkpoint(3).items() if k != part}):
        torch.save(content, folder / "x.ckpt")
        with pytest.raises(
            ValueError, match=rf"x.ckpt is no whole checkpoint of `wingmark fit`: its {part}(\.\w+)* is no"
        ):
            WholeCheckpoints(to_train=True).load_checkpoint(folder / "x.ckpt")


def test_weights_alone_and_unfinished_files_are_nothing_to_go_on_from(folder):
    weights = {key: value for key, value in checkpoint(3).items() if key != "optimizer_states"}
    for name in ("weights.ckpt", "last.ckpt"):
        torch.save(weights, folder / name)
    torch.save(checkpoint(4), folder / ".last.1.part.ckpt")
    assert newest_whole(folder) == folder / "best.ckpt"


def test_a_full_disk_is_an_error_and_leaves_the_earlier_one(folder):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(
            OSError, match=r"last.ckpt cannot be written .*File too large.*; what was there before still is: make room"
        ):
            WholeCheckpoints().save_checkpoint(checkpoint(3), folder / "last.ckpt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(path.name for path in folder.iterdir()) == ["best.ckpt", "last.ckpt"]
    assert read_checkpoint(folder / "last.ckpt")["step"] == 2


def test_equal_checkpoints_are_equal_bytes(folder):
    for name in ("a", "b"):
        WholeCheckpoints().save_checkpoint(checkpoint(1), folder / name / f"{name}.ckpt")
    content = (folder / "a" / "a.ckpt").read_bytes()
    assert content == (folder / "b" / "b.ckpt").read_bytes() == (folder / "best.ckpt").read_bytes()
    assert b"archive/data/0" in content and b".part" not in content


def test_a_folder_that_cannot_be_written_is_an_error(folder):
    (folder / "file").touch()
    with pytest.raises(OSError, match="cannot be written"):
        WholeCheckpoints().save_checkpoint(checkpoint(3), folder / "file" / "last.ckpt")
