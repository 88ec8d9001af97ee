"""Annotations made to exhaust a machine, or to reach files elsewhere on it; `tests/reliability` has damaged ones."""

import json
import re
import sqlite3
import time
import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from wingmark.data.sources import AFLWSqlite, COCOFaces, CSVFaces, DlibXML, HRNetCSV
from wingmark.data.sources.coco import read_coco
from wingmark.data.sources.menpo import read_ljson
from wingmark.data.sources.pts import read_pts
from wingmark.data.sources.reading import image_in
from wingmark.foreign import read_arrays

COORDINATES = "1,2,3,4,5,6,7,8,9,10"


def write_csv(root: Path, name: str) -> CSVFaces:
    columns = ",".join(f"{axis}{i}" for i in range(5) for axis in "xy")
    (root / "faces.csv").write_text(f"image,{columns}\n{name},{COORDINATES}\n")
    return CSVFaces


def write_hrnet(root: Path, name: str) -> HRNetCSV:
    columns = ",".join(f"original_{i}_{axis}" for i in range(5) for axis in "xy")
    (root / "faces.csv").write_text(f"image_name,scale,center_w,center_h,{columns}\n{name},1,5,5,{COORDINATES}\n")
    return HRNetCSV


def write_coco(root: Path, name: str) -> COCOFaces:
    annotation = {"image_id": 1, "keypoints": [1, 2, 2] * 5}
    content = {"images": [{"id": 1, "file_name": name}], "annotations": [annotation]}
    (root / "faces.csv").write_text(json.dumps(content))
    return COCOFaces


def write_dlib(root: Path, name: str) -> DlibXML:
    parts = "".join(f"<part name='{i}' x='{i}' y='{i}'/>" for i in range(5))
    box = f"<box top='1' left='1' width='9' height='9'>{parts}</box>"
    (root / "faces.csv").write_text(f"<dataset><images><image file='{name}'>{box}</image></images></dataset>")
    return DlibXML


def source_of(write, root: Path, name: str, **options):
    source = write(root, name)
    files = {"annotations": "faces.csv"} if source is CSVFaces else {"train": "faces.csv"}
    return source(str(root), schema="five", **files, **options)


WRITERS = [write_csv, write_hrnet, write_coco, write_dlib]
OUTSIDE = ["../../{0}.jpg", "{1}/{0}.jpg", "sub/../../../{0}.jpg", "..\\..\\{0}.jpg", "/{1}/{0}.jpg"]


@pytest.fixture
def root(tmp_path) -> Path:
    """A set whose images lie in `images` of its root, and an image that is no part of it."""
    (tmp_path / "secret.jpg").touch()
    (tmp_path / "set/images/sub").mkdir(parents=True)
    return tmp_path / "set"


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("write", WRITERS)
def test_an_image_path_may_not_leave_the_root(root, write, path):
    source = source_of(write, root, path.format("secret", root.parent))
    with pytest.raises(ValueError, match="leaves the folder .*allow_absolute: true permits it") as error:
        source.faces("train")
    assert re.match(rf"{re.escape(str(root))}/faces\.csv, (line \d|annotations\[0\]): ", str(error.value))


@pytest.mark.parametrize("write", WRITERS)
def test_allow_absolute_opens_it(root, write):
    outside = root.parent / "secret.jpg"
    for path in (str(outside), "../secret.jpg" if write in (write_csv, write_dlib) else "../../secret.jpg"):
        (face,) = source_of(write, root, path, allow_absolute=True).faces("train")
        assert face.image.samefile(outside)


@pytest.mark.parametrize("write", WRITERS)
def test_links_within_the_root_are_followed(root, write):
    for folder in (root, root / "images"):
        (folder / "link.jpg").symlink_to(root.parent / "secret.jpg")
        (folder / "elsewhere").symlink_to(root.parent, target_is_directory=True)
    for name in ("link.jpg", "elsewhere/secret.jpg"):
        (face,) = source_of(write, root, name).faces("train")
        assert face.image.samefile(root.parent / "secret.jpg")


NO_IMAGES = ["a\0.jpg", "a" * 5000, "\ud800.jpg", "", ".", "..", "~/a.jpg", "C:\\a.jpg", "D:a.jpg", "\\\\host\\a.jpg"]


@pytest.mark.parametrize("name", NO_IMAGES)
def test_names_that_no_image_has(tmp_path, name):
    with pytest.raises(ValueError, match="there is no image|leaves the folder"):
        image_in(tmp_path, name)


def test_sets_without_the_setting_do_not_offer_it(tmp_path):
    with pytest.raises(ValueError, match=f"leaves the folder {re.escape(str(tmp_path))}$"):
        image_in(tmp_path, "../a.jpg")


DEEP = 900  # JSON that is nested less than Python's stack is parsed


NESTED = ["[" * 100_000, '{"a":' * 100_000, "[" * DEEP + "]" * DEEP, "9" * 5000, "\0", "\udcff"]


@pytest.mark.parametrize("text", NESTED)
def test_json_of_any_depth(tmp_path, text):
    path = tmp_path / "faces.json"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read_coco(path)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read_ljson(path, 5)
    nested = "[" * DEEP + "]" * DEEP
    path.write_text(f'{{"landmarks": {{"points": [{nested}, [1, 2], [1, 2], [1, 2], [1, 2]]}}}}')
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read_ljson(path, 5)


def test_two_records_run_together_are_refused(tmp_path):
    (tmp_path / "a.json").write_text('{"images": [], "annotations": [{"bbox": [1], "image_id": 1, "image_id": 2}]}')
    with pytest.raises(ValueError, match=r"a\.json: .*a key twice among \['bbox', 'image_id', 'image_id'\]"):
        read_coco(tmp_path / "a.json")


def test_a_count_of_many_digits(tmp_path):
    (tmp_path / "a.pts").write_text(f"n_points: {'9' * 5000}\n{{\n1 2\n}}")
    with pytest.raises(ValueError, match=r"a\.pts: not a whole \.pts file"):
        read_pts(tmp_path / "a.pts", 5)


@pytest.mark.parametrize("row", ['"b.png,1\nc.png,2\n', '"b.png",1\n"c.png\n",2\n'])
def test_a_quotation_mark_swallows_no_line(tmp_path, row):
    (tmp_path / "faces.csv").write_text(f"tags,image,{','.join(f'{a}{i}' for i in range(5) for a in 'xy')}\n{row}")
    with pytest.raises(ValueError, match=r"faces\.csv, line \d"):
        CSVFaces(str(tmp_path), "faces.csv", "five").faces("train")


def test_a_column_of_many_digits(tmp_path):
    (tmp_path / "faces.csv").write_text(f",0,{'1' * 5000}\na.jpg,1,2\n")
    with pytest.raises(ValueError, match=r"faces\.csv, line 1: 1 coordinate columns, schema five needs 10"):
        CSVFaces(str(tmp_path), "faces.csv", "five").faces("train")


def database(root: Path, script: str) -> AFLWSqlite:
    (root / "flickr").mkdir()
    with closing(sqlite3.connect(root / "aflw.sqlite")) as file:
        file.executescript(script)
    return AFLWSqlite(str(root))


TABLES = "CREATE TABLE FaceImages (file_id, filepath); CREATE TABLE FaceRect (face_id, x, y, w, h);"
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT"


@pytest.mark.parametrize(
    "views",
    [
        f"CREATE VIEW Faces AS {ENDLESS} i AS face_id, 'f' AS file_id FROM n; CREATE TABLE FeatureCoords (face_id);",
        f"CREATE TABLE Faces (face_id, file_id); CREATE VIEW FeatureCoords AS {ENDLESS} 1 AS face_id, i AS feature_id, "
        "1 AS x, 1 AS y FROM n;",
        "CREATE VIEW Faces AS SELECT hex(zeroblob(900000000)) AS face_id, 'f' AS file_id; "
        "CREATE TABLE FeatureCoords (face_id, feature_id, x, y);",
    ],
)
def test_a_database_without_end(tmp_path, views):
    source, start = database(tmp_path, TABLES + views), time.perf_counter()
    with pytest.raises(ValueError, match=r"aflw\.sqlite: not a whole database of AFLW"):
        source.faces("train")
    assert time.perf_counter() - start < 5


def test_a_database_cut_off_within_its_last_page(tmp_path):
    source = database(tmp_path, "CREATE TABLE Faces (face_id, file_id); CREATE TABLE FeatureCoords (face_id);" + TABLES)
    path = tmp_path / "aflw.sqlite"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="are not whole pages of 4096"):
        source.faces("train")


def test_npz_of_many_zeros(tmp_path, monkeypatch):
    monkeypatch.setattr("wingmark.foreign.LARGEST", 10_000)
    np.savez_compressed(tmp_path / "a.npz", id=np.zeros(5000))
    with pytest.raises(ValueError, match=r"a\.npz is damaged or no .*unpacked it would take"):
        read_arrays(tmp_path / "a.npz")


def npy(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data


@pytest.mark.parametrize(
    "member",
    [
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n", b"cos\nsystem\n(S'true'\ntR."),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000,)}\n"),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (\n"),
        npy("{'descr': '<U1', 'fortran_order': False, 'shape': (1,)}\n", b"\xff\xff\xff\xff"),
        b"no array",
    ],
)
def test_npz_with_hostile_members(tmp_path, member):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("id.npy", member)
    with pytest.raises(ValueError, match=r"a\.npz is damaged or no \.npz file"):
        read_arrays(tmp_path / "a.npz")
