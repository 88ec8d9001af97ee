"""data.cache against other processes, crashes, full disks and folders that cannot be written."""

import errno
import logging
import multiprocessing
import os
import resource
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from wingmark.data import LandmarkDataModule
from wingmark.data.regions import Regions, start_loading
from wingmark.data.sources import CSVFaces, SyntheticFaces
from wingmark.protocol import get

PROTOCOL = get("synthetic/inter-ocular/v1")


def regions(count: int = 12) -> Regions:
    source = SyntheticFaces(train=count, image_size=64)
    return Regions(source, source.faces("train"), PROTOCOL, 32, 1.5)


def build(folder: Path, delay: float = 0.0) -> None:
    one = regions()
    cut = one.cut
    one.cut = lambda index: (time.sleep(delay), cut(index))[1]
    one.keep_in(folder, num_workers=0)


def same_as_uncached(folder: Path) -> None:
    cached, plain = regions(), regions()
    cached.keep_in(folder, num_workers=0)
    for index in range(len(plain)):
        assert (cached[index].pixels == plain[index].pixels).all()
        assert (cached[index].to_image == plain[index].to_image).all()


def test_two_processes_build_it_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=build, args=(tmp_path, 0.02)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == [regions().key()]
    same_as_uncached(tmp_path)


def test_a_killed_build_is_not_believed(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=build, args=(tmp_path, 0.5))
    process.start()
    while not list(tmp_path.glob(".*/pixels.bin")):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not (tmp_path / regions().key()).exists()
    same_as_uncached(tmp_path)


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("wingmark.data.regions.os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device.*data\.cache") as error:
        regions().keep_in(tmp_path, num_workers=0)
    assert str(tmp_path) in str(error.value)
    assert not list(tmp_path.iterdir())


def build_with_a_limit(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        regions(11).keep_in(folder, num_workers=0)
    except OSError as error:
        os._exit(7 if f"File too large; data.cache is {folder}: give another folder" in str(error) else 1)


def test_a_file_that_may_not_grow_leaves_the_other_caches(tmp_path):
    build(tmp_path)
    process = multiprocessing.get_context("fork").Process(target=build_with_a_limit, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 7
    assert [path.name for path in tmp_path.iterdir()] == [regions().key()]
    same_as_uncached(tmp_path)


def build_with_loaders(folder: Path) -> None:
    one = regions(40)
    cut = one.cut

    def slow(index: int):
        (folder / f"loader {os.getpid()}").touch()
        time.sleep(0.1)
        return cut(index)

    one.cut = slow
    one.keep_in(folder / "cache", num_workers=2)


def test_loader_processes_survive_what_is_sent_to_all(tmp_path, capfd):
    process = multiprocessing.get_context("fork").Process(target=build_with_loaders, args=(tmp_path,))
    process.start()
    while len(loaders := list(tmp_path.glob("loader *"))) < 2:
        time.sleep(0.01)
    for loader in loaders:
        for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGTERM):
            os.kill(int(loader.name.split()[1]), number)
    process.join()
    assert process.exitcode == 0 and "Traceback" not in capfd.readouterr().err
    assert len(list(tmp_path.glob("loader *"))) == 2


class Numbers(Dataset):
    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> int:
        return index


def test_loader_processes_end_when_their_parent_tells_them():
    loader = iter(DataLoader(Numbers(), num_workers=2, worker_init_fn=start_loading, multiprocessing_context="fork"))
    next(loader)
    start = time.monotonic()
    for process in multiprocessing.active_children():
        process.terminate()
        process.join(20)
        assert process.exitcode == 0
    assert time.monotonic() - start < 10


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match=r"Permission denied.*data\.cache"):
        regions().keep_in(tmp_path, num_workers=0)


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "cache").touch()
    with pytest.raises(OSError, match=r"data\.cache"):
        regions().keep_in(tmp_path / "cache", num_workers=0)


def test_a_read_only_cache_that_is_complete_is_read(tmp_path):
    build(tmp_path)
    tmp_path.chmod(0o500)
    try:
        same_as_uncached(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_a_changed_bit_is_noticed_in_every_process(tmp_path):
    build(tmp_path)
    path = tmp_path / regions().key() / "pixels.bin"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # of the last face
    path.write_bytes(content)
    cached = regions()
    cached.keep_in(tmp_path, num_workers=0)
    for index in range(11):
        cached[index]
    for _ in range(2):
        with pytest.raises(ValueError, match=r"is damaged \(face 11 is not as it was written\); delete it") as error:
            cached[11]
        assert str(path.parent) in str(error.value)


@pytest.mark.parametrize("damage", ["pixels.bin", "index.npz"])
def test_a_damaged_cache_is_named(tmp_path, damage):
    build(tmp_path)
    file = tmp_path / regions().key() / damage
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"is damaged.*delete it") as error:
        regions().keep_in(tmp_path, num_workers=0)
    assert str(file.parent) in str(error.value)


def test_a_changed_image_is_noticed(tmp_path, caplog):
    caplog.set_level(logging.INFO, "wingmark")
    (tmp_path / "faces.csv").write_text("image,x0,y0,x1,y1,x2,y2,x3,y3,x4,y4\na.png,20,20,40,20,30,30,22,40,38,40\n")

    def crop(gray: int) -> np.ndarray:
        if gray:
            Image.new("RGB", (64, 64), (gray,) * 3).save(tmp_path / "a.png", compress_level=gray % 9)
        source = CSVFaces(str(tmp_path), "faces.csv", "five")
        data = LandmarkDataModule(source, "csv-tight/inter-ocular/v1", 32, num_workers=0, cache=str(tmp_path / "cache"))
        return data.dataset("train")[0].image.numpy()

    assert (crop(100) == 100).all() and (crop(0) == 100).all()
    assert (crop(200) == 200).all()
    assert len(list((tmp_path / "cache").iterdir())) == 2
    said = {f"data.cache: 1 faces kept in {path}, 0 MiB" for path in (tmp_path / "cache").iterdir()}
    assert set(caplog.messages) == said


def test_what_a_killed_build_left_is_removed_and_a_live_one_is_not(tmp_path):
    context = multiprocessing.get_context("fork")
    killed, alive = (context.Process(target=build, args=(tmp_path, 0.5)) for _ in range(2))
    left = []
    for process in (killed, alive):
        process.start()
        while not (new := [path for path in tmp_path.glob(".*/pixels.bin") if path not in left]):
            time.sleep(0.01)
        left += new
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    regions(3).keep_in(tmp_path, num_workers=0)  # another cache in that folder
    assert not left[0].parent.exists() and left[1].exists()
    alive.terminate()
    alive.join()
    build(tmp_path)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("content", ["[]", "[1", '{"99": "x"}', '{"a": "x"}'])
def test_damaged_faults_are_named(tmp_path, content):
    regions().faults(tmp_path, 0)
    (path,) = tmp_path.iterdir()
    path.write_text(content)
    with pytest.raises(ValueError, match=r"-faults\.json: .*; delete it$"):
        regions().faults(tmp_path, 0)


HOSTILE_INDEX = {
    "other shapes": ({"shapes": np.array([[2, 2, 3]])}, "not one of 12 faces"),
    "no numbers": ({"shapes": np.array([["a", "b", "c"]] * 12)}, "not one of 12 faces"),
    "one axis": ({"shapes": np.arange(12)}, "not one of 12 faces"),
    "other checksums": ({"checksums": np.zeros((12, 2), np.uint32)}, "not one of 12 faces"),
    "negative": ({"shapes": np.array([[-2, -2, 3]] * 12)}, "does not fit the pixels"),
    "far too large": ({"shapes": np.full((12, 3), 2**21)}, "does not fit the pixels"),
    "objects": ({"shapes": np.array([object()] * 12)}, "no .npz file of plain arrays"),
}


@pytest.mark.parametrize("case", HOSTILE_INDEX)
def test_an_index_that_does_not_fit_is_refused(tmp_path, case):
    build(tmp_path)
    folder = tmp_path / regions().key()
    changes, said = HOSTILE_INDEX[case]
    with np.load(folder / "index.npz") as index:
        np.savez(folder / "index.npz", allow_pickle=True, **{**index, **changes})
    with pytest.raises(ValueError, match=f"is damaged .*{said}.*; delete it"):
        regions().keep_in(tmp_path, num_workers=0)
