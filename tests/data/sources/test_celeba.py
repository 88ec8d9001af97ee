"""CelebA from small trees in its true layouts, and from real files where WINGMARK_DATA names them."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from wingmark.data.sources import CelebA

DATA = os.environ.get("WINGMARK_DATA")
real = pytest.mark.skipif(DATA is None, reason="WINGMARK_DATA is not set: the folder of real samples/celeba/")

COLUMNS = [f"{name}_{axis}" for name in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth") for axis in "xy"]
SPLITS = {"000001.jpg": 0, "000002.jpg": 2, "000003.jpg": 0, "000004.jpg": 1}


def numbers(image: str) -> list[int]:
    return [10 * int(image[:6]) + i for i in range(10)]


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def rows(separator: str, ends: dict[str, list]) -> str:
    return "".join(separator.join(map(str, [image, *end])) + "\n" for image, end in ends.items())


LANDMARKS = {image: numbers(image) for image in SPLITS}
TXT = f"4\n{' '.join(COLUMNS)} \n" + rows("   ", LANDMARKS)
PARTITION = rows(" ", {image: [code] for image, code in SPLITS.items()})


@pytest.fixture
def root(tmp_path) -> Path:
    write(tmp_path, {f"Img/img_align_celeba/{image}": "" for image in SPLITS})  # listing must not decode them
    write(tmp_path, {"Anno/list_landmarks_align_celeba.txt": TXT, "Eval/list_eval_partition.txt": PARTITION})
    return tmp_path


def test_faces_of_each_split(root):
    source = CelebA(str(root))
    assert source.schema.name == "five"
    faces = {split: source.faces(split) for split in ("train", "val", "test")}
    assert {split: [face.id for face in of_split] for split, of_split in faces.items()} == {
        "train": ["Img/img_align_celeba/000001.jpg#0", "Img/img_align_celeba/000003.jpg#0"],
        "val": ["Img/img_align_celeba/000004.jpg#0"],
        "test": ["Img/img_align_celeba/000002.jpg#0"],
    }
    for face in (face for of_split in faces.values() for face in of_split):
        expected = numbers(face.image.name)
        assert face.landmarks_image.tolist() == [[expected[2 * i], expected[2 * i + 1]] for i in range(5)]
        assert face.image == root / face.id.removesuffix("#0") and face.group == face.image.name
        assert face.valid.all() and not face.occluded.any() and face.boxes == {}


def test_layouts_of_torchvision_and_of_the_mirror_give_the_same(root, tmp_path_factory):
    torchvision, mirror = tmp_path_factory.mktemp("torchvision"), tmp_path_factory.mktemp("mirror")
    write(torchvision, {f"img_align_celeba/{image}": "" for image in SPLITS})
    write(torchvision, {"list_landmarks_align_celeba.txt": TXT, "list_eval_partition.txt": PARTITION})
    write(mirror, {f"img_align_celeba/img_align_celeba/{image}": "" for image in SPLITS})
    landmarks = ",".join(["image_id", *COLUMNS]) + "\r\n" + rows(",", LANDMARKS)
    partition = "image_id,partition\n" + PARTITION.replace(" ", ",")
    write(mirror, {"list_landmarks_align_celeba.csv": landmarks, "list_eval_partition.csv": partition})
    for split in ("train", "val", "test"):
        first = CelebA(str(root)).faces(split)
        for other in (torchvision, mirror):
            faces = CelebA(str(other)).faces(split)
            assert [face.image.name for face in faces] == [face.image.name for face in first]
            assert all((a.landmarks_image == b.landmarks_image).all() for a, b in zip(faces, first, strict=True))


def test_the_group_is_the_person_where_known(root):
    people = {image: [person] for image, person in zip(SPLITS, (2880, 2, 2880, 3), strict=True)}
    write(root, {"Anno/identity_CelebA.txt": rows(" ", people)})
    assert [face.group for face in CelebA(str(root)).faces("train")] == ["person 2880", "person 2880"]
    write(root, {"Anno/identity_CelebA.txt": rows(" ", {"000001.jpg": [2880]})})
    with pytest.raises(ValueError, match=r"line 5: expected a line `000003.jpg <number>` in .*identity_CelebA\.txt"):
        CelebA(str(root)).faces("train")


def test_partial_copy_is_told(root, caplog):
    CelebA(str(root)).faces("train")
    assert caplog.messages == [f"CelebA train: 2 of 162770 faces found under {root}: a partial copy"]


BAD = {
    "a number short": (f"000003.jpg {'1 ' * 9}", "expected an image and 10 coordinates, got 9"),
    "a number more": (f"000003.jpg {'1 ' * 11}", "expected an image and 10 coordinates, got 11"),
    "no number": (f"000003.jpg {'1 ' * 9} x", "could not convert string to float: 'x'"),
    "not finite": (f"000003.jpg {'1 ' * 9} nan", "expected finite numbers, got 'nan'"),
    "unknown image": (f"000009.jpg {'1 ' * 10}", "expected a line `000009.jpg <number>` in"),
    "half a name": ("0000", "expected a line `0000 <number>` in"),
    "listed twice": (f"000001.jpg {'1 ' * 10}", "000001.jpg must be listed once and have 0, 1 or 2 in"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_line_is_named(root, case):
    line, message = BAD[case]
    path = root / "Anno/list_landmarks_align_celeba.txt"
    text = TXT.splitlines()
    text[4] = line
    path.write_text("\r\n".join(text))
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        CelebA(str(root)).faces("train")
    assert str(error.value).startswith(f"{path}, line 5: ") and str(error.value).endswith("; correct or remove it")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("000003.jpg 3", "000003.jpg must be listed once and have 0, 1 or 2 in"),
        ("000003.jpg", "expected a line `000003.jpg <number>` in"),
        ("000003.jpg 0 0", "expected a line `000003.jpg <number>` in"),
    ],
)
def test_bad_partition_is_named(root, line, message):
    path = root / "Eval/list_eval_partition.txt"
    path.write_text(PARTITION.replace("000003.jpg 0", line))
    with pytest.raises(ValueError, match=re.escape(f"{message} {path}")):
        CelebA(str(root)).faces("test")


def test_missing_image(root):
    (root / "Img/img_align_celeba/000003.jpg").unlink()
    with pytest.raises(ValueError, match=r"line 5: there is no image .*000003\.jpg; correct or remove it"):
        CelebA(str(root)).faces("train")


def test_wrong_root_tells_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"list_landmarks_align_celeba\.txt.*found \['Img'\]"):
        write(tmp_path, {"Img/img_align_celeba/000001.jpg": ""})
        CelebA(str(tmp_path)).faces("train")


@real
def test_real_samples():
    source = CelebA(f"{DATA}/samples/celeba")
    faces = {split: source.faces(split) for split in ("train", "val", "test")}
    assert {split: len(of_split) for split, of_split in faces.items()} == {"train": 8, "val": 2, "test": 2}
    first = faces["train"][0]
    expected = [[69, 109], [106, 113], [77, 142], [73, 152], [108, 154]]
    np.testing.assert_array_equal(first.landmarks_image, expected)
    assert source.read_image(first).shape == (218, 178, 3)
