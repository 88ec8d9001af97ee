"""What reads files of anybody; those that are made to harm are in test_hostile.py."""

import numpy as np
import pytest
import torch

from wingmark.foreign import read_arrays, read_checkpoint, read_for_lightning, read_yaml


def test_what_is_sound_comes_back(tmp_path):
    torch.save({"state_dict": {"a": torch.arange(3)}, "pytorch-lightning_version": "2.6.6"}, tmp_path / "x.ckpt")
    for read in (read_checkpoint, read_for_lightning):
        assert read(tmp_path / "x.ckpt")["state_dict"]["a"].tolist() == [0, 1, 2]
    np.savez_compressed(tmp_path / "x.npz", a=np.array(["b"]), c=np.eye(2))
    arrays = read_arrays(tmp_path / "x.npz")
    assert (arrays["a"].tolist(), arrays["c"].tolist()) == (["b"], [[1, 0], [0, 1]])
    (tmp_path / "x.yaml").write_text("a: {b: [1, null]}\n")
    assert read_yaml(tmp_path / "x.yaml") == {"a": {"b": [1, None]}}


def test_what_is_missing_or_something_else_is_named(tmp_path):
    for read in (read_checkpoint, read_for_lightning, read_yaml):
        with pytest.raises(FileNotFoundError, match="x does not exist"):
            read(tmp_path / "x")
    torch.save({"state_dict": {"a": 1}}, tmp_path / "x")
    with pytest.raises(ValueError, match="x does not say how its model was built"):
        read_checkpoint(tmp_path / "x")
    torch.save({"state_dict": {}}, tmp_path / "x")
    with pytest.raises(ValueError, match="x was not written by Lightning"):
        read_for_lightning(tmp_path / "x")
    (tmp_path / "x").write_text("- a\n")
    with pytest.raises(ValueError, match="x must hold keys and values, got list"):
        read_yaml(tmp_path / "x")


@pytest.mark.parametrize(
    "state", [{"kth_best_model_path": "a/../../b"}, {"best_k_models": {"s3://a/b": 1}}, {"last_model_path": 3}]
)
def test_lightning_is_not_told_to_delete_other_files(state, tmp_path):
    content = {"state_dict": {}, "pytorch-lightning_version": "2.6.6", "callbacks": {"ModelCheckpoint": state}}
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=r"x\.ckpt names the checkpoint .* not lie in the folder of a run"):
        read_for_lightning(tmp_path / "x.ckpt")
