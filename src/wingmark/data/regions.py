"""The part of a photo that training can see, cut out once and, on request, kept on disk.

Decoding a photo costs far more than warping a crop out of it. A region is the piece around a face that any crop
drawn for it can reach, averaged down where the crop needs less detail. It is the same with and without a cache,
so a cache changes the speed and nothing else.
"""

import fcntl
import hashlib
import json
import logging
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from wingmark.data.sources.reading import parsing
from wingmark.data.sources.source import Source
from wingmark.files import flush, whole_file
from wingmark.foreign import read_arrays
from wingmark.geometry import compose, invert, pixel_sides, reduction
from wingmark.progress import progress
from wingmark.protocol import Protocol
from wingmark.types import Face

log = logging.getLogger(__name__)

MAX_SIDE = 1e6  # of a crop, in pixels of the image: what is larger is no box of a face


class Region(NamedTuple):
    """Pixels (H, W, 3) uint8 around a face and the map (2, 3) from them to the image."""

    pixels: np.ndarray
    to_image: np.ndarray


def region_around(
    image: np.ndarray, reduce: int, crop_to_image: np.ndarray, crop_size: int, reach: float = 1.0
) -> Region:
    """The part of an image, (H, W, 3) uint8 as `Source.read_image` gives it, that a crop can reach: see `Regions`.

    Raises ValueError where that lies outside the image.
    """
    reduced_to_image = np.array([[reduce, 0, (reduce - 1) / 2], [0, reduce, (reduce - 1) / 2]])
    to_reduced = compose(invert(reduced_to_image), crop_to_image)
    step = np.abs(to_reduced[:, :2]).sum(1).max()  # of the upright square around the crop, which may be turned
    center = to_reduced @ [(crop_size - 1) / 2, (crop_size - 1) / 2, 1]
    half = step * crop_size * reach / 2 + 1
    # Where `warp` averages blocks of the region they are those of the whole image.
    block = reduction(pixel_sides(to_reduced))
    low = np.maximum(np.floor((center - half) / block) * block, 0).astype(int)
    high = np.minimum(np.ceil((center + half + 1) / block) * block, image.shape[1::-1]).astype(int)
    if (low >= high).any():
        height, width = image.shape[:2]
        about = "about " * (reduce > 1)
        raise ValueError(f"outside the image of {about}{reduce * width}x{reduce * height} px")
    corner = np.array([[1, 0, low[0]], [0, 1, low[1]]])
    return Region(np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]]), compose(reduced_to_image, corner))


class Regions(Dataset):
    """The regions of a list of faces.

    The crop is `context` times as wide as the protocol's, and `reach` is the side of the square that jittered crops are
    drawn from, in sides of the crop. Items raise ValueError naming the face where its image cannot be decoded or its
    crop lies outside the image.
    """

    def __init__(
        self,
        source: Source,
        faces: list[Face],
        protocol: Protocol,
        crop_size: int,
        reach: float,
        context: float = 1.0,
    ) -> None:
        self.source, self.faces, self.protocol = source, faces, protocol
        self.crop_size, self.reach = crop_size, reach
        self.context = context
        self._cache: _Cache | None = None

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, index: int) -> Region:
        return self.cut(index) if self._cache is None else self._cache[index]

    def cut(self, index: int) -> Region:
        face = self.faces[index]
        to_image = self.protocol.crop_to_image(face, self.crop_size, self.context)
        step = np.hypot(*to_image[:, :2]).min()
        if not step * self.crop_size < MAX_SIDE:
            raise ValueError(
                f"face {face.id}: its {self.protocol.box} box makes a crop of {step * self.crop_size:g} px; mend it"
            )
        # Down to between one and two pixels per pixel of the crop; one that jitter makes smaller may be enlarged a bit.
        reduce = reduction(step)
        image = self.source.read_image(face, reduce)
        try:
            return region_around(image, reduce, to_image, self.crop_size, self.reach)
        except ValueError as error:
            raise ValueError(
                f"face {face.id}: its {self.protocol.box} box lies {error}; check the annotation or choose another "
                "data.protocol.box"
            ) from error

    def faults(self, folder: Path | None, num_workers: int) -> dict[int, str]:
        """Which faces cannot be cut out of their images, by index, and why.

        Looks at every image, unless a file under `folder` tells what was found before.
        """
        known = folder and folder / f"{self.key()}-faults.json"
        if known and known.is_file():
            return _known_faults(known, len(self))
        found = progress(in_order(_Faults(self), num_workers), "Looking at all images", len(self))
        faults = {index: fault for index, fault in enumerate(found) if fault is not None}
        if known:
            with _told(folder), whole_file(known) as path:
                path.write_text(json.dumps(faults))
        return faults

    def keep_in(self, folder: Path, num_workers: int) -> None:
        """Serve the regions from a file under `folder`, written now if it is not there yet."""
        path = folder / self.key()
        if not path.is_dir():
            with _told(folder):
                _Cache.write(path, self, num_workers)
            size = (path / "pixels.bin").stat().st_size / 2**20
            log.info(f"data.cache: {len(self):,} faces kept in {path}, {size:,.0f} MiB")
        self._cache = _Cache(path, len(self))

    def key(self) -> str:
        """Changes with the faces, their images and the crop rule: a stale cache is never read."""
        digest = hashlib.sha256(
            f"3 {self.crop_size} {self.reach} {self.context} {self.protocol.margin} {self.protocol.crop}".encode()
        )
        for face in self.faces:
            digest.update(f"{face.id} {self.source.image_version(face)} {self.protocol.crop_box(face)}\n".encode())
        return digest.hexdigest()[:16]


def _known_faults(path: Path, count: int) -> dict[int, str]:
    """The faults, by the index of their face, that `Regions.faults` wrote; ValueError where the file is damaged."""
    indices = {str(index) for index in range(count)}
    with parsing(path, f"list of faults by the index of a face, below {count}", "delete it"):
        faults = json.loads(path.read_text())
        if not faults.keys() <= indices:
            raise ValueError(f"it has {sorted(faults.keys() - indices)[0]:.80}")
        return {int(index): str(fault) for index, fault in faults.items()}


class _Faults(Dataset):
    """For each region the reason why it cannot be cut, or None."""

    def __init__(self, regions: Regions) -> None:
        self.regions = regions

    def __len__(self) -> int:
        return len(self.regions)

    def __getitem__(self, index: int) -> str | None:
        try:
            self.regions.cut(index)
        except (ValueError, FileNotFoundError) as error:
            return str(error)
        return None


class _Cache:
    """Regions in one memory-mapped file, shared by all workers and processes of a machine."""

    def __init__(self, path: Path, count: int) -> None:
        self.path = path
        try:
            index = read_arrays(path / "index.npz")
            self.shapes, self.to_image, self.checksums = index["shapes"], index["to_image"], index["checksums"]
            self.pixels = np.memmap(path / "pixels.bin", np.uint8, "r")
            arrays = self.shapes, self.to_image, self.checksums
            if [(a.shape, a.dtype.kind) for a in arrays] != [((count, 3), "i"), ((count, 2, 3), "f"), ((count,), "u")]:
                raise ValueError(f"its index is not one of {count} faces")
            if (self.shapes < 1).any() or self.shapes.prod(1, dtype=float).sum() != len(self.pixels):
                raise ValueError("its index does not fit the pixels")
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"the cache {path} is damaged ({error}); delete it") from error
        self.ends = np.cumsum(self.shapes.prod(1))
        self.checked = np.zeros(count, bool)  # by this process

    def __getitem__(self, index: int) -> Region:
        shape, end = self.shapes[index], self.ends[index]
        pixels = self.pixels[end - shape.prod() : end]
        if not self.checked[index] and zlib.crc32(pixels) != self.checksums[index]:
            raise ValueError(f"the cache {self.path} is damaged (face {index} is not as it was written); delete it")
        self.checked[index] = True
        return Region(pixels.reshape(shape), self.to_image[index])

    @staticmethod
    def write(path: Path, regions: Regions, num_workers: int) -> None:
        """Write to a temporary folder and rename it: no half cache is ever read, and the next build removes it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            loader = in_order(regions, num_workers)
            shapes, to_image, checksums = [], [], []
            with open(temporary / "pixels.bin", "wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # the system lifts it when this process ends, however it does
                for region in progress(loader, "Cutting faces out of their images", len(regions)):
                    file.write(region.pixels.data)
                    shapes.append(region.pixels.shape)
                    to_image.append(region.to_image)
                    checksums.append(zlib.crc32(region.pixels))
                file.flush()
                index = temporary / "index.npz"
                np.savez(index, shapes=shapes, to_image=to_image, checksums=np.array(checksums, np.uint32))
                for written in (temporary / "pixels.bin", index, temporary):
                    flush(written)
                try:
                    temporary.rename(path)
                except OSError:
                    if not path.is_dir():
                        raise
                    # Another run was faster; its regions are the same.
                flush(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _remove_abandoned(folder: Path) -> None:
    """Delete what builds of a cache that were killed have left: nobody holds the lock on their pixels."""
    for pixels in folder.glob(".*-*/pixels.bin"):
        with suppress(OSError), open(pixels, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(pixels.parent)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Around writing to the cache: an error tells the setting."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{error}; data.cache is {folder}: give another folder, or null") from error


def start_loading(worker: int) -> None:
    """For loader processes: one thread, and no sudden end by a signal that reaches all processes of a command.

    That process decides when to end, and may need another batch until then.
    """
    cv2.setNumThreads(0)  # in each of them they would fight for the cores
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS, where no scheduler ends a job
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_end_when_told, daemon=True).start()


def _end_when_told() -> None:
    """End this process by a SIGTERM of the one that started it, or within a minute after another's."""
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != multiprocessing.parent_process().pid:
        signal.alarm(60)
    os._exit(0)


def in_order(items: Dataset, num_workers: int) -> DataLoader:
    """The items one by one, made by several processes."""
    return DataLoader(
        items,
        batch_size=None,
        num_workers=num_workers,
        collate_fn=_unchanged,
        worker_init_fn=start_loading,
        generator=torch.Generator(),  # its own: what training draws is the same whether there was a cache or not
    )


def _unchanged(item):
    return item
