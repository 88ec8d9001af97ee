"""`wingmark inspect` on the faces of a recipe, of a source alone, and on a set with defects."""

import csv
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

import wingmark.run
from wingmark.cli import main
from wingmark.data.sources import IBUG300W, SyntheticFaces

TINY = str(Path(__file__).parents[1] / "tiny.yaml")
HEADER = "version: 1\nn_points: 68\n{\n"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def small_300w(here) -> list[str]:
    """Twelve faces in the layout of 300W, two of them test faces; gives the arguments for it."""
    drawn = [face.landmarks_image for face in SyntheticFaces(train=40, image_size=100).faces("train")]
    sound = sorted(drawn, key=lambda points: abs(points[30, 0] - points[[36, 45], 0].mean()))  # nearly frontal
    places = [("afw", f"{i}_1") for i in range(10)] + [("ibug", f"image_{i}") for i in range(2)]
    for i, (folder, stem) in enumerate(places):
        path = here / "300w" / folder
        path.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path / f"{stem}.png"), np.full((100, 120), 10 * i, np.uint8))
        rows = "\n".join(f"{x + 1:.3f} {y + 1:.3f}" for x, y in sound[i])
        (path / f"{stem}.pts").write_text(f"{HEADER}{rows}\n}}\n")
    source = "--data.source", "wingmark.data.sources.IBUG300W", "--data.source.init_args.root", "300w"
    return [*source, "--data.num_workers", "0"]


def rows_of(path: str) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_own_boxes_are_looked_at(here, capsys):
    data = wingmark.run.build_data(wingmark.run.resolve(["fit", "--config", TINY]))
    rows = [f"{face.id},0,0,2,2" for split in ("train", "val", "test") for face in data.source.faces(split)]
    Path("boxes.csv").write_text("\n".join(["id,x_min,y_min,x_max,y_max", *rows, ""]))
    main(["inspect", "--config", TINY, "--data.num_workers", "0", "--data.boxes", "boxes.csv"])
    found = [row for row in rows_of("inspect/findings.csv") if row[0] == "box off"]
    assert len(found) == len(rows) and all(row[3].startswith("file: ") for row in found)


def test_a_recipe(here, capsys):
    main(["inspect", "--config", TINY, "--data.num_workers", "0", "--faces", "3"])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    words = " ".join(out.split())
    assert "SyntheticFaces, ibug68 train val test" in words
    data = wingmark.run.build_data(wingmark.run.resolve(["fit", "--config", TINY]))
    counts = " ".join(str(len(data.source.faces(split))) for split in ("train", "val", "test"))
    assert f"faces {counts} groups" in words
    picture = cv2.imread("inspect/faces_train.png")
    assert picture.shape[:2] == (768 + 384, 1536)  # the large one, and a row for the two others
    assert rows_of("inspect/findings.csv")[0] == ["kind", "split", "face", "value", "known"]
    assert "inspect: findings.csv, faces_test.png, faces_train.png, faces_val.png" in words


def test_a_source_without_a_recipe(small_300w, capsys):
    assert main(["inspect", *small_300w, "--strict"]) == []
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    lines = [" ".join(line.split()) for line in out.splitlines()]
    points = [face.landmarks_image for face in IBUG300W("300w").faces("train")]
    sides = [np.ptp(p, axis=0).max() for p in points]
    eyes = [np.linalg.norm(p[36:42].mean(0) - p[42:48].mean(0)) for p in points]
    for name, values in (("face side (5 %, median, 95 %) [px]", sides), ("eye distance", eyes)):
        expected = " ".join(f"{value:.0f}" for value in np.quantile(values, [0.05, 0.5, 0.95]))
        assert any(line.startswith(f"{name} {expected} ") for line in lines), (name, expected)
    for line in (
        "IBUG300W, ibug68 train test",
        "faces 10 2",
        "published 3,148 689",
        "groups (photos, or persons) 10 2",
        "image width (min, median, max) [px] 120 120 120 120 120 120",
        "image height 100 100 100 100 100 100",
        "landmarks occluded 0.0 % 0.0 %",
        "landmarks not valid 0.0 % 0.0 %",
        "tag challenge 2",
        "none",
        "unusual shapes were not looked for: that takes 20 faces or more",
        "inspect: findings.csv, faces_test.png, faces_train.png, mean_shape.png",
    ):
        assert line in lines, (line, out)


def test_defects_of_every_sort(small_300w, here, capsys):
    folder = here / "300w" / "afw"
    (folder / "3_1.png").write_bytes((folder / "3_1.png").read_bytes()[:40])
    (folder / "4_1.pts").write_text(f"{HEADER}1 2\n}}\n")
    (folder / "5_1.png").write_bytes((here / "300w" / "ibug" / "image_0.png").read_bytes())
    findings = main(["inspect", *small_300w, "--output", "there"])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    expected = [
        ("unusable annotation", "train", "", r"4_1\.pts.*68"),
        ("unreadable image", "train", "afw/3_1.png#0", r"3_1\.png.*cannot be decoded"),
        ("image in two splits", "test", "ibug/image_0.png#0", r"^same pixels as afw/5_1.png#0 \(train\)$"),
    ]
    assert [finding[:3] for finding in findings] == [row[:3] for row in expected]
    for finding, (*_, says) in zip(findings, expected, strict=True):
        assert re.search(says, finding.value)
    assert rows_of("there/findings.csv")[1:] == [list(finding) for finding in findings]
    assert re.search(r"unreadable image +1 +afw/3_1.png#0:", out)
    assert Path("there/findings.png").is_file()
    with pytest.raises(SystemExit, match="findings that were not known before: 3, see there/findings.csv"):
        main(["inspect", *small_300w, "--output", "there", "--strict"])


def test_known_defects_are_no_reason_to_fail(small_300w, here, capsys, monkeypatch):
    monkeypatch.setattr(IBUG300W, "known_defects", {"3_1": "the file was cut off"})
    path = here / "300w" / "afw" / "3_1.png"
    path.write_bytes(path.read_bytes()[:40])
    findings = main(["inspect", *small_300w, "--strict"])
    assert [finding.kind for finding in findings] == ["known defect", "unreadable image"]
    assert re.search(r"unreadable image +1 +1 +afw/3_1", capsys.readouterr().out)
    path.write_bytes((here / "300w" / "afw" / "2_1.png").read_bytes())
    (here / "inspect" / "findings.png").write_bytes(b"of an earlier inspection")
    monkeypatch.setattr(IBUG300W, "known_defects", {})
    findings = main(["inspect", *small_300w])
    assert [finding.kind for finding in findings] == ["image twice"]
    assert cv2.imread("inspect/findings.png") is not None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "inspect needs faces: give --config RECIPE as for `wingmark fit`, or --data.source FILE"),
        (["--config", TINY, "--faces", "0"], "--faces is how many faces a picture shows, 1 or more, got 0"),
        (["--config", TINY, "--data.protocol", "no/such"], "neither built in"),
    ],
)
def test_refusals(here, arguments, says):
    with pytest.raises(SystemExit, match=says):
        main(["inspect", *arguments])
    assert not list(here.iterdir())


DATA = os.environ.get("WINGMARK_DATA")


@pytest.mark.skipif(DATA is None, reason="WINGMARK_DATA is not set: the folder of real samples/wflw/")
def test_real_faces():
    root = f"{DATA}/samples/wflw"
    source = ["--data.source", "wingmark.data.sources.WFLW", "--data.source.init_args.root", root]
    findings = main(["inspect", *source, "--data.num_workers", "0", "--faces", "2"])
    assert {finding.kind for finding in findings} == {"coincident"} and len(findings) == 4
