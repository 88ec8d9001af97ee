"""Boxes of one's own beside any data set."""

import re

import numpy as np
import pytest

from wingmark.data import LandmarkDataModule
from wingmark.data.own_boxes import with_own_boxes
from wingmark.protocol import Protocol
from wingmark.types import Box

HEADER = "id,x_min,y_min,x_max,y_max\n"


def data_of(source, boxes) -> LandmarkDataModule:
    protocol = Protocol("p", box="file", margin=1.5)
    return LandmarkDataModule(source, protocol, 48, num_workers=0, boxes=str(boxes))


def test_boxes_by_face(dot_faces, tmp_path):
    source = dot_faces()
    faces = source.faces("test")
    rows = [f"{face.id},{10 * i},20,{10 * i + 50.5},60\n" for i, face in enumerate(faces)]
    (tmp_path / "boxes.csv").write_text("﻿" + HEADER + "".join(rows[::-1]), encoding="utf-8")
    data = data_of(source, tmp_path / "boxes.csv")
    for i, face in enumerate(data.faces("test")):
        assert face.boxes["file"] == Box(10 * i + 25.25, 40, 50.5, 40) and "dataset" in face.boxes
        scale = np.linalg.norm(data.dataset("test")[i].crop_to_image[:, 0])
        assert scale == pytest.approx(50.5 * 1.5 / 48)
    with pytest.raises(ValueError, match=r"face train/000.png#0 has no box 'file', only \['dataset', 'tight'\]"):
        data.dataset("train")


def test_columns_in_any_order_and_boxes_by_image(dot_faces, tmp_path):
    faces = dot_faces().faces("test")
    alone, together = faces[-1], faces[0]  # five faces, two on an image
    names = [face.id.partition("#")[0] for face in (alone, together)]
    (tmp_path / "b.csv").write_text(f"score,x_max,id,y_max,x_min,y_min\n1,9,{names[0]},8,3,4\n1,9,{names[1]},8,3,4\n")
    found = with_own_boxes({"train": [], "val": [], "test": faces}, tmp_path / "b.csv")["test"]
    assert found[-1].boxes["file"] == Box(6, 6, 6, 4)
    assert all("file" not in face.boxes for face in found[:-1])


BAD = {
    "missing column": (
        "id,x_min,y_min,x_max\na,1,2,3\n",
        "b.csv, line 1: the header must have the columns id,x_min,y_min,x_max,y_max once each, got ['id', 'x_min'",
    ),
    "empty": ("", "the header must have the columns id,x_min,y_min,x_max,y_max once each, got []"),
    "no number": (HEADER + "test/000.png#0,1,2,x,4\n", "line 2: could not convert string to float: 'x'; mend"),
    "a cell short": (HEADER + "test/000.png#0,1,2,3\n", "line 2: 4 cells, the header has 5; mend"),
    "not finite": (HEADER + "test/000.png#0,1,2,inf,4\n", "line 2: expected finite numbers, got 'inf'; mend"),
    "no area": (HEADER + "test/000.png#0,1,2,1,4\n", "line 2: the rectangle 1 2 1 4 (x_min y_min x_max y_max) has no"),
    "twice": (HEADER + "a,1,2,3,4\n" * 2, "line 3: 'a' came before"),
    "a cell more": (HEADER + "test/000.png#0,1,2,3,4,5\n", "line 2: 6 cells, the header has 5; mend"),
    "column twice": ("x_min," + HEADER + "1,a,1,2,3,4\n", "once each, got ['x_min', 'id', 'x_min'"),
    "long header": ("x" * 200_000, "line 1: field larger than field limit"),
    "other faces": (
        HEADER + "a.jpg#0,1,2,3,4\n",
        "has a box for none of 5 faces; its ids are such as 'a.jpg#0', those",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_named(dot_faces, tmp_path, case):
    content, says = BAD[case]
    (tmp_path / "b.csv").write_text(content)
    with pytest.raises(ValueError, match=re.escape(says)):
        with_own_boxes({"test": dot_faces().faces("test")}, tmp_path / "b.csv")


def test_boxes_of_no_face_are_told(dot_faces, tmp_path, caplog):
    faces = dot_faces().faces("test")
    (tmp_path / "b.csv").write_text(f"{HEADER} {faces[0].id} ,3,4,9,8\nother.jpg,3,4,9,8\n")
    found = with_own_boxes({"test": faces}, tmp_path / "b.csv")["test"]
    assert found[0].boxes["file"] == Box(6, 6, 6, 4)
    assert caplog.messages == [f"{tmp_path / 'b.csv'}: 1 of 2 boxes are of no face, such as other.jpg"]


def test_missing_file(dot_faces, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone.csv; set data.boxes to a csv file of boxes, or to null"):
        data_of(dot_faces(), tmp_path / "gone.csv").faces("test")
