"""WFLW from small trees in its true layout, and from real files where WINGMARK_DATA names them."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from wingmark.data.sources import WFLW
from wingmark.data.sources.reading import leaving_out
from wingmark.types import Box

DATA = os.environ.get("WINGMARK_DATA")
real = pytest.mark.skipif(DATA is None, reason="WINGMARK_DATA is not set: the folder of real samples/wflw/")

SOCCER, PARADE = "37--Soccer/37_Soccer_soccer_ball_37_45.jpg", "0--Parade/0_Parade_marchingband_1_849.jpg"


def points(seed: int) -> np.ndarray:
    """98 points with the six decimals of the files, some of them outside the image."""
    return np.random.default_rng(seed).uniform(-100, 900, (98, 2)).round(6)


def fields(seed: int, image: str, box: str = "198 242 331 385", flags: str = "0 0 0 0 0 0") -> list[str]:
    return [*(f"{value:.6f}" for value in points(seed).ravel()), *box.split(), *flags.split(), image]


def list_file(root: Path, split: str) -> Path:
    return root / f"WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{split}.txt"


def write_list(root: Path, split: str, faces: list[list[str]]) -> None:
    path = list_file(root, split)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(" ".join(face) + "\n" for face in faces))


@pytest.fixture
def root(tmp_path) -> Path:
    for image in (SOCCER, PARADE):
        (tmp_path / "WFLW_images" / image).parent.mkdir(parents=True)
        (tmp_path / "WFLW_images" / image).touch()  # holds nothing: listing must not decode it
    write_list(tmp_path, "train", [fields(0, PARADE)])
    test = [fields(1, SOCCER), fields(2, PARADE, "1 2 11 42", "1 0 0 1 0 0"), fields(3, SOCCER, flags="1 1 1 1 1 1")]
    write_list(tmp_path, "test", test)
    return tmp_path


def test_faces_are_read_in_the_order_of_the_list(root):
    source = WFLW(str(root))
    assert source.schema.name == "wflw98"
    assert source.faces("val") == []
    assert [face.id for face in source.faces("train")] == [f"WFLW_images/{PARADE}#0"]
    faces = source.faces("test")
    assert [face.id for face in faces] == [
        f"WFLW_images/{SOCCER}#0",
        f"WFLW_images/{PARADE}#0",
        f"WFLW_images/{SOCCER}#1",
    ]
    assert [face.group for face in faces] == [f"WFLW_images/{image}" for image in (SOCCER, PARADE, SOCCER)]
    assert [face.image for face in faces] == [root / face.group for face in faces]
    for seed, face in enumerate(faces, start=1):
        np.testing.assert_array_equal(face.landmarks_image, points(seed))
        assert face.landmarks_image.dtype == np.float64
        assert face.valid.all() and face.valid.shape == (98,) and not face.occluded.any()


def test_box_and_tags(root):
    faces = WFLW(str(root)).faces("test")
    assert [face.boxes for face in faces] == [
        {"dataset": Box(264.5, 313.5, 133, 143)},
        {"dataset": Box(6, 22, 10, 40)},
        {"dataset": Box(264.5, 313.5, 133, 143)},
    ]
    assert [face.tags for face in faces] == [
        frozenset(),
        {"pose", "make-up"},
        {"pose", "expression", "illumination", "make-up", "occlusion", "blur"},
    ]


def test_each_flag_gives_its_tag(root):
    tags = ["pose", "expression", "illumination", "make-up", "occlusion", "blur"]
    flags = np.eye(6, dtype=int)
    write_list(root, "test", [fields(i, SOCCER, flags=" ".join(map(str, row))) for i, row in enumerate(flags)])
    assert [face.tags for face in WFLW(str(root)).faces("test")] == [{tag} for tag in tags]


def test_line_ends_and_blank_lines_do_not_matter(root):
    path = list_file(root, "test")
    path.write_bytes(path.read_bytes().replace(b"\n", b" \r\n") + b"\r\n")
    assert len(WFLW(str(root)).faces("test")) == 3


def test_partial_copy_is_told_once(root, caplog):
    WFLW(str(root)).faces("test")
    assert caplog.messages == [f"WFLW test: 3 of 2500 faces found under {root}: a partial copy"]


def test_full_copy_is_silent(root, caplog, monkeypatch):
    monkeypatch.setattr(WFLW, "published_counts", {"train": 1, "test": 3})
    assert [len(WFLW(str(root)).faces(split)) for split in ("train", "val", "test")] == [1, 0, 3]
    assert caplog.messages == []


def broken(position: int, value: str) -> list[str]:
    line = fields(0, SOCCER)
    line[position] = value
    return line


BAD = {
    "a field short": (fields(0, SOCCER)[1:], "expected 207 fields"),
    "a field more": ([*fields(0, SOCCER), "x"], "got 208"),
    "no number": (broken(7, "12,5"), "could not convert string to float: '12,5'"),
    "not a number": (broken(7, "nan"), "expected finite numbers, got 'nan'"),
    "infinite box": (broken(199, "inf"), "expected finite numbers, got 'inf'"),
    "box without width": (fields(0, SOCCER, "5 5 5 9"), "the rectangle 5 5 5 9 (x_min y_min x_max y_max) has no area"),
    "box upside down": (fields(0, SOCCER, "5 9 8 5"), "the rectangle 5 9 8 5 (x_min y_min x_max y_max) has no area"),
    "flag of 2": (fields(0, SOCCER, flags="0 0 2 0 0 0"), "the six flags must be 0 or 1, got 0 0 2 0 0 0"),
    "no image": (fields(0, "0--Parade/gone.jpg"), "there is no image"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_line_is_named(root, case):
    line, message = BAD[case]
    write_list(root, "test", [fields(0, SOCCER), fields(1, PARADE), line])
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        WFLW(str(root)).faces("test")
    assert str(error.value).startswith(f"{list_file(root, 'test')}, line 3: ")
    assert str(error.value).endswith("; correct the line or remove it")


def test_empty_list(root):
    list_file(root, "test").write_text("\n")
    with pytest.raises(ValueError, match="the list is empty; unpack WFLW_annotations again") as error:
        WFLW(str(root)).faces("test")
    assert str(list_file(root, "test")) in str(error.value)


def test_wrong_root_tells_what_was_expected_and_found(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"WFLW_images.*rect_attr_train\.txt.*gone, found no such folder; set"):
        WFLW(str(tmp_path / "gone")).faces("train")
    (tmp_path / "WFLW_images").mkdir()
    with pytest.raises(FileNotFoundError, match=r"found \['WFLW_images'\]; set data\.source\.init_args\.root") as error:
        WFLW(str(tmp_path)).faces("test")
    assert str(tmp_path) in str(error.value)


def test_numbering_counts_lines_that_are_left_out(root):
    write_list(root, "test", [broken(7, "nan"), fields(1, SOCCER)])
    with leaving_out() as left_out:
        assert [face.id for face in WFLW(str(root)).faces("test")] == [f"WFLW_images/{SOCCER}#1"]
    assert len(left_out) == 1 and left_out[0].startswith(f"{list_file(root, 'test')}, line 1: ")


NAMES = ["largepose", "expression", "illumination", "makeup", "occlusion", "blur"]


@pytest.fixture
def subset_lists(root) -> Path:
    """The other list style: three faces, of which the first is in no subset, the second in two, the third in all."""
    folder = root / "WFLW_annotations/list_98pt_test"
    folder.mkdir()
    lines = [" ".join([*fields(seed, image)[:196], image]) for seed, image in enumerate((SOCCER, PARADE, SOCCER))]
    (folder / "list_98pt_test.txt").write_text("".join(f"{line}\n" for line in lines))
    for name in NAMES:
        members = lines[1:] if name in ("largepose", "makeup") else lines[2:]
        (folder / f"list_98pt_test_{name}.txt").write_bytes("".join(f"{line} \r\n" for line in members).encode())
    return folder


def test_lists_of_the_subsets(root, subset_lists):
    source = WFLW(str(root), lists="test")
    assert source.faces("train") == source.faces("val") == []
    faces = source.faces("test")
    assert [face.id for face in faces] == [
        f"WFLW_images/{SOCCER}#0",
        f"WFLW_images/{PARADE}#0",
        f"WFLW_images/{SOCCER}#1",
    ]
    assert [face.tags for face in faces] == [
        frozenset(),
        {"pose", "make-up"},
        {"pose", "expression", "illumination", "make-up", "occlusion", "blur"},
    ]
    for seed, face in enumerate(faces):
        np.testing.assert_array_equal(face.landmarks_image, points(seed))
        assert face.boxes == {} and face.image == root / face.group


@pytest.mark.parametrize("name", NAMES)
def test_each_list_gives_its_tag(root, subset_lists, name):
    for other in NAMES:
        (subset_lists / f"list_98pt_test_{other}.txt").write_text("")
    line = (subset_lists / "list_98pt_test.txt").read_text().splitlines()[0]
    (subset_lists / f"list_98pt_test_{name}.txt").write_text(line)
    tag = {"largepose": "pose", "makeup": "make-up"}.get(name, name)
    assert [face.tags for face in WFLW(str(root), "test").faces("test")] == [{tag}, frozenset(), frozenset()]


def test_line_of_a_subset_that_the_test_list_lacks(root, subset_lists):
    path = subset_lists / "list_98pt_test_blur.txt"
    path.write_text(path.read_text() + " ".join([*fields(7, SOCCER)[:196], SOCCER]))
    message = f"{path}, line 2: no such line in list_98pt_test.txt; correct the line or remove it"
    with pytest.raises(ValueError, match=re.escape(message)):
        WFLW(str(root), lists="test").faces("test")


def test_line_of_the_other_style(root, subset_lists):
    path = subset_lists / "list_98pt_test.txt"
    path.write_text(path.read_text() + " ".join(fields(0, SOCCER)))
    message = f"{path}, line 4: expected 197 fields (196 coordinates, a path), got 207; correct"
    with pytest.raises(ValueError, match=re.escape(message)):
        WFLW(str(root), lists="test").faces("test")


def test_missing_list_of_a_subset(root, subset_lists):
    (subset_lists / "list_98pt_test_blur.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"list_98pt_test/list_98pt_test_blur\.txt \(lists: test\) under"):
        WFLW(str(root), lists="test").faces("test")


@real
def test_real_samples():
    source = WFLW(f"{DATA}/samples/wflw")
    faces = source.faces("test")
    assert len(faces) == 18 and len(source.faces("train")) == 8
    assert len({face.id for face in faces}) == 18
    first = faces[0]
    assert first.id == "WFLW_images/37--Soccer/37_Soccer_soccer_ball_37_45.jpg#0"
    np.testing.assert_array_equal(first.landmarks_image[0], [182.212006, 268.895996])
    np.testing.assert_array_equal(first.landmarks_image[97], [299.024561, 308.745029])
    assert first.boxes == {"dataset": Box.from_corners(198, 242, 331, 385)} and first.tags == frozenset()
    assert [face.id[-1] for face in faces if "7_Cheering_Cheering_7_16" in face.id] == ["0", "1", "2"]


@real
def test_real_samples_in_both_list_styles():
    with_boxes, without = (WFLW(f"{DATA}/samples/wflw", lists).faces("test") for lists in ("rect_attr", "test"))
    assert [face.id for face in without] == [face.id for face in with_boxes] and len(without) == 18
    assert [face.tags for face in without] == [face.tags for face in with_boxes]
    for one, other in zip(without, with_boxes, strict=True):
        np.testing.assert_array_equal(one.landmarks_image, other.landmarks_image)
