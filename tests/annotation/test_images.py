"""Annotating many images: in order, in bounded memory, and past those that cannot be read."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import cv2
import numpy as np
import pytest

from wingmark.annotation.images import annotate_images, in_order
from wingmark.annotation.inputs import find_input
from wingmark.annotation.results import Results
from wingmark.data.sources.pts import read_pts


def test_work_of_a_pool_comes_in_order_and_not_too_early():
    taken, given = [], []

    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number * number

    def numbers():
        for number in count():
            taken.append(number)
            assert len(taken) - len(given) <= 5  # 4 ahead, and the one that is asked for
            yield number

    with ThreadPoolExecutor(3) as pool:
        for square in in_order(pool, work, numbers(), 4):
            given.append(square)
            if len(given) == 30:
                break
    assert given == [number * number for number in range(30)]


def test_an_error_in_a_pool_is_raised():
    def work(number: int) -> int:
        if number == 3:
            raise OSError("disk full")
        return number

    with ThreadPoolExecutor(2) as pool, pytest.raises(OSError, match="disk full"):
        list(in_order(pool, work, range(10), 4))


@pytest.fixture
def photos(tmp_path, dots):
    """Faces of dots, at random places; gives their landmarks by name."""
    random, folder, truth = np.random.default_rng(0), tmp_path / "in", {}
    for number in range(20):
        name = f"{'x/' * (number % 2)}{number:02d}.png"
        truth[name] = dots.shape + random.uniform([40, 40], [280, 200])
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), dots.draw([truth[name]])[..., ::-1])
    return folder, truth


def annotate(folder, dots, output, boxes, formats=("csv", "json", "pts", "overlay"), **options) -> Results:
    landmarker = dots.landmarker(batch_size=4, **options)
    with Results(output, list(formats), dots.schema, {}) as results:
        annotate_images(landmarker, find_input(str(folder)), results, boxes)
    return results


def test_every_image_gets_its_own_landmarks(photos, dots, tmp_path):
    folder, truth = photos
    boxes = {name: [dots.box(landmarks)] for name, landmarks in truth.items()}
    results = annotate(folder, dots, tmp_path / "out", boxes)
    assert (results.faces, results.left_out, results.without_face) == (20, [], [])
    for name, landmarks in truth.items():
        stem = name.removesuffix(".png")
        np.testing.assert_allclose(read_pts(tmp_path / "out" / f"{stem}.pts", 3) - 1, landmarks, atol=0.2)
        assert cv2.imread(str(tmp_path / "out" / f"{stem}.jpg")).shape == (240, 320, 3)


def test_the_rest_is_done(photos, dots, tmp_path):
    folder, truth = photos
    boxes = {name: [dots.box(landmarks)] for name, landmarks in truth.items() if name != "02.png"}
    (folder / "00.png").write_bytes((folder / "00.png").read_bytes()[:200])
    (folder / "x" / "19.png").write_text("no image")
    results = annotate(folder, dots, tmp_path / "out", boxes)
    assert (results.faces, results.without_face, len(results.left_out)) == (17, ["02.png"], 2)
    for fault, name in zip(results.left_out, ("00.png", "x/19.png"), strict=True):
        assert fault.startswith(f"{folder / name}: cannot be decoded as an image")
    assert (tmp_path / "out" / "02.jpg").is_file()  # an image without a face is a result too
    assert not (tmp_path / "out" / "00.jpg").exists() and not (tmp_path / "out" / "02.pts").exists()


def test_an_image_that_is_cut_off_far_below_the_face(photos, dots, tmp_path):
    folder, truth = photos
    path = folder / "big.jpg"
    cv2.imwrite(str(path), cv2.resize(dots.draw([truth["00.png"]]), (1280, 960)))
    path.write_bytes(path.read_bytes()[:-200])
    results = annotate(path, dots, tmp_path / "out", None)
    assert results.faces == 0 and "big.jpg: cannot be decoded" in results.left_out[0]


def test_memory_does_not_grow_with_the_number_of_images(photos, dots, tmp_path):
    folder, _ = photos
    held, most, lock = set(), 0, threading.Lock()
    landmarker = dots.landmarker(batch_size=2)
    cut, find = landmarker.cut, landmarker.find

    def counted_cut(*args, **options):
        nonlocal most
        answer = cut(*args, **options)
        with lock:
            held.add(id(answer.crops))
            most = max(most, len(held))
        kept.append(answer)
        return answer

    def counted_find(cuts):
        with lock:
            held.difference_update(id(cut.crops) for cut in cuts)
        return find(cuts)

    kept = []  # so that no id comes twice
    landmarker.cut, landmarker.find = counted_cut, counted_find
    with Results(tmp_path / "out", ["csv"], dots.schema, {}) as results:
        annotate_images(landmarker, find_input(str(folder)), results)
    assert results.faces == 20 and most <= 2 * 2 + 1 + 2  # ahead, the one asked for, and a batch


def test_detected_faces(photos, dots, tmp_path):
    folder, truth = photos
    both = [dots.shape + [80, 60], dots.shape + [240, 180]]
    cv2.imwrite(str(folder / "03.png"), dots.draw(both)[..., ::-1])
    found = {cv2.imread(str(folder / name)).tobytes(): [face] for name, face in truth.items()}
    found[cv2.imread(str(folder / "03.png")).tobytes()] = both
    found[cv2.imread(str(folder / "04.png")).tobytes()] = []

    def detector(image):
        return [dots.box(face) for face in found[image[..., ::-1].tobytes()]]

    results = annotate(folder, dots, tmp_path / "out", None, detector=detector)
    assert results.without_face == ["04.png"]
    for number in range(2):
        np.testing.assert_allclose(read_pts(tmp_path / "out" / f"03#{number}.pts", 3) - 1, both[number], atol=0.2)
