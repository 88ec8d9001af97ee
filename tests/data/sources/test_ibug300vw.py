"""300VW from small trees in its true layout, frames and videos, and from real files where WINGMARK_DATA names them."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from wingmark.data.sources import IBUG300VW
from wingmark.data.sources.ibug300vw import TAGS

DATA = os.environ.get("WINGMARK_DATA")
real = pytest.mark.skipif(DATA is None, reason="WINGMARK_DATA is not set: the folder of real samples/300vw/")


def points(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1, 500, (68, 2)).round(3)


def write_pts(
    video: Path, frame: int, version: str = "1", end: str = "\n", landmarks: np.ndarray | None = None
) -> Path:
    rows = points(frame) if landmarks is None else landmarks
    lines = [f"version: {version}", "n_points: 68", "{", *(f"{x:.3f} {y:.3f}" for x, y in rows), "}", ""]
    path = video / f"annot/{frame:06d}.pts"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(end.join(lines).encode())
    return path


def picture(frame: int) -> np.ndarray:
    """A picture (48, 64, 3), red at the left and blue at the right, with the frame's number in black and white."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, :32, 0], image[:, 32:, 2] = 200, 200
    for bit in range(8):
        image[16:32, 8 * bit : 8 * bit + 8] = 255 * (frame >> bit & 1)
    return image


def number_in(image: np.ndarray) -> int:
    return sum(1 << bit for bit in range(8) if image[24, 8 * bit + 4].mean() > 128)


def write_video(video: Path, frames: int, code: str = "MJPG") -> None:
    video.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(video / "vid.avi"), cv2.VideoWriter_fourcc(*code), 25.0, (64, 48))
    assert writer.isOpened()
    for frame in range(1, frames + 1):
        writer.write(picture(frame)[..., ::-1])
    writer.release()


@pytest.fixture
def root(tmp_path) -> Path:
    for video in ("002", "410", "001", "401", "550"):
        for frame in range(1, 26):
            write_pts(tmp_path / video, frame)
            image = tmp_path / video / f"imgs/{frame:06d}.png"
            image.parent.mkdir(exist_ok=True)
            image.touch()  # holds nothing: listing must not decode it
    return tmp_path


def test_splits_frames_tags_and_groups(root):
    source = IBUG300VW(str(root))
    assert source.schema.name == "ibug68" and source.faces("val") == []
    train, test = source.faces("train"), source.faces("test")
    assert [face.id for face in train] == [f"{v}/imgs/{f:06d}.png#0" for v in ("001", "002") for f in (1, 11, 21)]
    assert [face.id for face in test][::3] == [f"{v}/imgs/000001.png#0" for v in ("401", "410", "550")]
    assert [face.tags for face in train] == [frozenset()] * 6
    assert [face.tags for face in test] == [{"category1"}] * 3 + [{"category3"}] * 3 + [{"category2"}] * 3
    assert [face.group for face in test] == ["401"] * 3 + ["410"] * 3 + ["550"] * 3
    assert [face.image for face in test] == [root / face.id.removesuffix("#0") for face in test]
    np.testing.assert_array_equal(train[1].landmarks_image, points(11) - 1)
    assert train[1].valid.all() and train[1].boxes == {}


def test_step(root):
    assert len(IBUG300VW(str(root), step=1).faces("train")) == 50
    assert [face.id[9:15] for face in IBUG300VW(str(root), step=12).faces("train")[:3]] == [
        "000001",
        "000013",
        "000025",
    ]
    for step in (0, -1):
        with pytest.raises(ValueError, match=r"data\.source\.step: .* 1 or more, got"):
            IBUG300VW(str(root), step=step)


def test_categories_have_the_published_numbers_of_videos():
    tags = list(TAGS.values())
    assert len(TAGS) == 64 and [tags.count(f"category{i}") for i in (1, 2, 3)] == [31, 19, 14]


def test_landmarks_count_from_zero_in_both_spellings(tmp_path):
    for frame, version, end in ((1, "1", "\n"), (2, "1.0", "\r\n")):
        write_pts(tmp_path / "001", frame, version, end, np.ones((68, 2)))
    write_video(tmp_path / "001", 2)
    for face in IBUG300VW(str(tmp_path), step=1).faces("train"):
        np.testing.assert_array_equal(face.landmarks_image, np.zeros((68, 2)))


def test_extraction_folder_and_upper_case_suffix(tmp_path):
    write_pts(tmp_path / "001", 7)
    (tmp_path / "001/extraction").mkdir()
    Image.fromarray(picture(7)).save(tmp_path / "001/extraction/000007.PNG")
    source = IBUG300VW(str(tmp_path))
    (face,) = source.faces("train")
    assert face.id == "001/extraction/000007.PNG#0"
    np.testing.assert_array_equal(source.read_image(face), picture(7))


@pytest.mark.parametrize("code", ["MJPG", "XVID"])
def test_frame_of_a_video(tmp_path, code):
    """Frames count from 1; XVID stores most as differences to others. Colors are RGB."""
    write_video(tmp_path / "001", 60, code)
    frames = [1, 2, 3, 11, 12, 13, 24, 25, 37, 59, 60]
    for frame in frames:
        write_pts(tmp_path / "001", frame)
    source = IBUG300VW(str(tmp_path), step=1)
    faces = source.faces("train")
    assert [face.id for face in faces] == [f"001/vid.avi#{frame}" for frame in frames]
    assert all(face.image == tmp_path / "001/vid.avi" and face.group == "001" for face in faces)
    images = {frame: source.read_image(face) for frame, face in reversed(list(zip(frames, faces, strict=True)))}
    assert [number_in(images[frame]) for frame in frames] == frames
    for image in images.values():
        assert image.shape == (48, 64, 3) and image.dtype == np.uint8
        np.testing.assert_allclose(image[40, 8], [200, 0, 0], atol=40)
        np.testing.assert_allclose(image[40, 56], [0, 0, 200], atol=40)
    small = source.read_image(faces[3], reduce=2)
    blocks = images[11].reshape(24, 2, 32, 2, 3).mean((1, 3))
    np.testing.assert_allclose(small, blocks, atol=1)


def test_extracted_frames_come_before_the_video(root):
    write_video(root / "001", 25)
    (root / "001/imgs/000011.png").unlink()
    assert [face.id for face in IBUG300VW(str(root)).faces("train")[:3]] == [
        "001/imgs/000001.png#0",
        "001/vid.avi#11",
        "001/imgs/000021.png#0",
    ]


def test_video_that_ends_early_or_is_none(tmp_path):
    write_video(tmp_path / "001", 6)
    write_pts(tmp_path / "001", 6)
    write_pts(tmp_path / "001", 7)
    source = IBUG300VW(str(tmp_path), step=1)
    last, beyond = source.faces("train")
    assert number_in(source.read_image(last)) == 6
    with pytest.raises(
        ValueError, match=r"001/vid\.avi: frame 7 cannot be read, the video is damaged or too short; copy it"
    ):
        source.read_image(beyond)
    whole = last.image.read_bytes()
    last.image.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"001/vid\.avi: frame 6 cannot be read, the video is damaged or too short"):
        source.read_image(last)
    last.image.write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"001/vid\.avi: frame 6 cannot be read, the video is damaged or too short"):
        source.read_image(last)


def test_neither_frame_nor_video(tmp_path):
    path = write_pts(tmp_path / "001", 6)
    with pytest.raises(ValueError, match=r"neither .*001/vid\.avi nor 000006\.png in imgs or extraction") as error:
        IBUG300VW(str(tmp_path)).faces("train")
    assert str(error.value).startswith(f"{path}: ")
    write_video(tmp_path / "001", 6)
    for name in ("000000.pts", "first.pts"):
        path = path.rename(path.with_name(name))
        with pytest.raises(ValueError, match=rf"{name}: the name is not the number of a frame"):
            IBUG300VW(str(tmp_path)).faces("train")


def test_damaged_annotation_and_wrong_root(root):
    path = root / "001/annot/000011.pts"
    path.write_text(path.read_text()[:-40])
    with pytest.raises(ValueError, match=r"001/annot/000011\.pts: not a whole \.pts file"):
        IBUG300VW(str(root)).faces("train")
    with pytest.raises(FileNotFoundError, match=r"expected folders such as 001 with annot and vid\.avi under .*gone"):
        IBUG300VW(str(root / "gone")).faces("train")


@real
def test_real_samples(tmp_path):
    sample = Path(DATA) / "samples/300vw/300VW_Dataset_2015_12_14"
    source = IBUG300VW(str(sample), step=1)
    train, test = source.faces("train"), source.faces("test")
    assert [face.id for face in train] == ["001/imgs/000006.jpg#0", "001/imgs/000009.jpg#0"]
    assert [face.id for face in test] == ["401/imgs/000731.jpg#0", "401/imgs/000732.jpg#0"]
    np.testing.assert_allclose(train[0].landmarks_image[0], [742.224, 196.764], rtol=0, atol=1e-9)
    np.testing.assert_allclose(test[0].landmarks_image[0], [353.32681, 276.170196], rtol=0, atol=1e-9)
    shutil.copytree(sample / "001", tmp_path / "001", ignore=shutil.ignore_patterns("imgs"))
    of_video = IBUG300VW(str(tmp_path), step=1)
    for face, extracted in zip(of_video.faces("train"), train, strict=True):
        frame, image = of_video.read_image(face), source.read_image(extracted)
        assert np.abs(frame.astype(int) - image).mean() < 3  # the other frame differs by more than 10
