"""data.on_error: what is wrong with a face ends the program, or is left out and named."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wingmark.data import Holdout, LandmarkDataModule
from wingmark.data.balancing import PoseBalancing
from wingmark.data.regions import Regions
from wingmark.data.sources import CSVFaces

POINTS = np.array([(20, 20), (44, 22), (32, 34), (24, 44), (42, 45)])


def row(image: str, split: str, points=POINTS, box="10,10,54,54") -> str:
    return f"{image},{split},{','.join(f'{v:g}' for v in np.ravel(points))},{box}\n"


@pytest.fixture
def root(tmp_path) -> Path:
    """Six good training faces and one of each kind of bad ones; good validation and test faces."""
    names = [f"{split}{i}.png" for split in ("train", "val", "test") for i in range(6)]
    for name in [*names, "outside.png"]:
        Image.fromarray(np.random.default_rng(len(name)).integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "empty.png").touch()
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "train0.png").read_bytes()[:300])
    header = "image,split," + ",".join(f"{a}{k}" for k in range(5) for a in "xy") + ",x_min,y_min,x_max,y_max\n"
    bad = [
        row("gone.png", "train"),
        row("train0.png", "train").replace("44", "4x4", 1),
        row("empty.png", "train"),
        row("cut.jpg", "train"),
        row("outside.png", "train", box="500,500,560,560"),
    ]
    shapes = POINTS + np.random.default_rng(0).normal(0, 2, (len(names), 5, 2)).round(2)
    rows = [row(name, name[:-5], shape) for name, shape in zip(names, shapes, strict=True)]
    (tmp_path / "faces.csv").write_text(header + "".join([*bad[:2], *rows, *bad[2:]]))
    return tmp_path


def data_of(root: Path, **settings) -> LandmarkDataModule:
    source = CSVFaces(str(root), "faces.csv", "five")
    return LandmarkDataModule(source, "csv-file/inter-ocular/v1", 32, num_workers=0, batch_size=2, **settings)


def test_raise_is_the_default(root):
    with pytest.raises(ValueError, match=r"line 2: there is no image .*gone.png; mend or remove it"):
        data_of(root).faces("train")


@pytest.mark.parametrize("cache", [False, True])
def test_skip_leaves_out_counts_and_names(root, caplog, tmp_path, cache):
    data = data_of(root, on_error="skip", cache=str(tmp_path / "cache") if cache else None)
    assert [face.id for face in data.dataset("train").faces] == [f"train{i}.png#{i == 0:d}" for i in range(6)]
    assert len(data.dataset("val")) == 6
    assert all(data.dataset("train")[i].image.shape == (3, 32, 32) for i in range(6))
    annotations, images = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert annotations.startswith("data.on_error skip: 2 train annotations are left out:\n")
    assert (
        "line 2: there is no image" in annotations and "line 3: could not convert string to float: '4x4'" in annotations
    )
    assert images.startswith("data.on_error skip: 3 train faces are left out:\n")
    for reason in (
        "empty.png: cannot be decoded",
        "cut.jpg: cannot be decoded",
        "outside.png#0: its file box lies out",
    ):
        assert reason in images


def test_with_a_cache_images_are_looked_at_once(root, caplog, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    data_of(root, on_error="skip", cache=str(cache)).faces("train")
    said = caplog.messages
    caplog.clear()
    with monkeypatch.context() as patch:
        patch.delattr(Regions, "cut")
        assert len(data_of(root, on_error="skip", cache=str(cache)).faces("train")) == 6
    assert caplog.messages == said
    Image.new("RGB", (64, 64)).save(root / "empty.png")
    assert len(data_of(root, on_error="skip", cache=str(cache)).faces("train")) == 7


def test_everything_agrees_on_who_is_left(root):
    data = data_of(root, on_error="skip", balancing=PoseBalancing(bins=2))
    keys = [*data.train_dataloader().sampler]
    assert {index for index, *_ in keys} == set(range(6))
    assert len(data.faces("train")) == 6
    assert len(data.dataset("all").faces) == 18


def test_test_faces_are_never_left_out(root):
    lines = (root / "faces.csv").read_text()
    (root / "faces.csv").write_text(lines + row("empty.png", "test"))
    data = data_of(root, on_error="skip")
    assert len(data.faces("test")) == 7
    with pytest.raises(ValueError, match="empty.png: cannot be decoded"):
        data.dataset("test")[6]
    (root / "faces.csv").write_text(lines + row("gone.png", "test"))
    with pytest.raises(ValueError, match=r"line 25: there is no image"):
        data_of(root, on_error="skip").faces("train")


def test_long_lists_are_cut(root, caplog):
    (root / "faces.csv").write_text((root / "faces.csv").read_text() + row("gone.png", "train") * 20)
    data_of(root, on_error="skip").faces("val")
    assert caplog.messages[0].startswith("data.on_error skip: 22 train annotations are left out:\n")
    assert caplog.messages[0].count("\n") == 11 and caplog.messages[0].endswith("\nand 12 more")


def test_holdout_is_cut_from_what_can_be_read(root):
    lines = (root / "faces.csv").read_text().splitlines()
    (root / "faces.csv").write_text("\n".join(line for line in lines if ",val," not in line and ",test," not in line))
    data = data_of(root, on_error="skip", holdout=Holdout(val=0.3, test=0.3))
    val, train = ({face.id for face in data.faces(split)} for split in ("val", "train"))
    assert val and train and not val & train and not (val | train) & {face.id for face in data.faces("test")}
    assert {name.partition("#")[0] for name in val | train} <= {f"train{i}.png" for i in range(6)}


def test_faces_without_a_normalizer_are_left_out_too(root, caplog):
    lines = (root / "faces.csv").read_text()
    without_eye = row("train0.png", "train").replace("20,20", ",", 1)
    same_eyes = row("train1.png", "train", POINTS[[0, 0, 2, 3, 4]])
    (root / "faces.csv").write_text(lines + without_eye + same_eyes)
    assert len(data_of(root, on_error="skip").faces("train")) == 6
    assert "5 train faces are left out" in caplog.messages[1]
    assert "not all are valid in 1 of 1 faces: train0.png#2" in caplog.messages[1]
    assert "inter_ocular is zero or not finite in 1 of 1 faces: train1.png#1" in caplog.messages[1]


def test_a_holdout_that_leaves_no_training_faces_is_named(root):
    lines = (root / "faces.csv").read_text().splitlines()
    (root / "faces.csv").write_text("\n".join([lines[0], row("train0.png", "train")]))
    with pytest.raises(
        ValueError, match=r"CSVFaces has no train faces; Holdout\(val=0.3, test=0.0, seed=0\) left none"
    ):
        data_of(root, holdout=Holdout(val=0.3)).faces("train")


@pytest.mark.parametrize("side", ["1e9", "1e300"])
def test_boxes_without_end_are_refused(root, side):
    (root / "faces.csv").write_text((root / "faces.csv").read_text() + row("test0.png", "test", box=f"0,0,{side},9"))
    data = data_of(root)
    data.source.faces = lambda split: CSVFaces.faces(data.source, split) if split == "test" else []
    with pytest.raises(ValueError, match=r"face test0.png#1: its file box makes a crop of .* px; mend it"):
        data.dataset("test")[6]
