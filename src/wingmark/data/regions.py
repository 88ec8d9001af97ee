"""The part of a photo that training can see, cut out once and, on request, kept on disk.

Decoding a photo costs far more than warping a crop out of it. A region is the piece around a face that any crop
drawn for it can reach, averaged down where the crop needs less detail. It is the same with and without a cache,
so a cache changes the speed and nothing else.
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from wingmark.data.sources.reading import json_of
from wingmark.data.sources.source import Source
from wingmark.files import whole_file
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
            f"2 {self.crop_size} {self.reach} {self.context} {self.protocol.margin} {self.protocol.crop}".encode()
        )
        for face in self.faces:
            digest.update(f"{face.id} {self.source.image_version(face)} {self.protocol.crop_box(face)}\n".encode())
        return digest.hexdigest()[:16]


def _known_faults(path: Path, count: int) -> dict[int, str]:
    """The faults, by the index of their face, that `Regions.faults` wrote; ValueError where the file is damaged."""
    faults = json_of(path)
    indices = {str(index) for index in range(count)}
    if not (isinstance(faults, dict) and faults.keys() <= indices):
        raise ValueError(f"{path}: expected faults by the index of a face, below {count}; delete it")
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
        try:
            index = read_arrays(path / "index.npz")
            self.shapes, self.to_image = index["shapes"], index["to_image"]
            self.pixels = np.memmap(path / "pixels.bin", np.uint8, "r")
            expected = (count, 3), (count, 2, 3), "if"
            if (self.shapes.shape, self.to_image.shape, self.shapes.dtype.kind + self.to_image.dtype.kind) != expected:
                raise ValueError(f"its index is not one of {count} faces")
            if (self.shapes < 1).any() or self.shapes.prod(1, dtype=float).sum() != len(self.pixels):
                raise ValueError("its index does not fit the pixels")
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"the cache {path} is damaged ({error}); delete it") from error
        self.ends = np.cumsum(self.shapes.prod(1))

    def __getitem__(self, index: int) -> Region:
        shape, end = self.shapes[index], self.ends[index]
        return Region(self.pixels[end - shape.prod() : end].reshape(shape), self.to_image[index])

    @staticmethod
    def write(path: Path, regions: Regions, num_workers: int) -> None:
        """Write to a temporary folder and rename it: no half cache is ever read, and the next build removes it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            loader = in_order(regions, num_workers)
            shapes, to_image = [], []
            with open(temporary / "pixels.bin", "wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # the system lifts it when this process ends, however it does
                for region in progress(loader, "Cutting faces out of their images", len(regions)):
                    file.write(region.pixels.data)
                    shapes.append(region.pixels.shape)
                    to_image.append(region.to_image)
                file.flush()
                os.fsync(file.fileno())
                with open(temporary / "index.npz", "wb") as index:
                    np.savez(index, shapes=np.array(shapes), to_image=np.array(to_image))
                    index.flush()
                    os.fsync(index.fileno())
                try:
                    temporary.rename(path)
                except OSError:
                    if not path.is_dir():
                        raise
                    # Another run was faster; its regions are the same.
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


def one_thread(worker: int) -> None:
    """For loader processes: OpenCV's own threads in each of them would fight for the cores."""
    cv2.setNumThreads(0)


def in_order(items: Dataset, num_workers: int) -> DataLoader:
    """The items one by one, made by several processes."""
    return DataLoader(
        items,
        batch_size=None,
        num_workers=num_workers,
        collate_fn=_unchanged,
        worker_init_fn=one_thread,
        generator=torch.Generator(),  # its own: what training draws is the same whether there was a cache or not
    )


def _unchanged(item):
    return item
