"""Annotating images: decoding, cutting and writing go on in threads while the network works."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from wingmark.annotation.inputs import ImageInput
from wingmark.annotation.results import Results, draw_faces, stems, write_overlay, write_pts
from wingmark.data.images import read_image, size_and_roll
from wingmark.infer import Cut, Faces, Landmarker
from wingmark.progress import progress
from wingmark.types import Box

# Pixels. Larger images are decoded a second time to be drawn on, since some dozens wait.
KEPT = 4_000_000

Item, Result = TypeVar("Item"), TypeVar("Result")


class Photo(NamedTuple):
    """An image on its way: cut, then with faces; or why not. `pixels` are kept where it is to be drawn on."""

    name: str
    cut: Cut | None = None
    pixels: np.ndarray | None = None
    faces: Faces | None = None
    fault: str = ""


def annotate_images(
    landmarker: Landmarker, images: ImageInput, results: Results, boxes: dict[str, list[Box]] | None = None
) -> None:
    """Find the faces of all images and write them down; what cannot be read is noted in `results`.

    boxes: those of each image by name; None: as the landmarker looks for them.
    """
    stem_of = stems(images.names)

    def load(name: str) -> Photo:
        path, of_image = images.root / name, None if boxes is None else boxes.get(name, [])
        try:
            cut = landmarker.cut(path, of_image, keep="overlay" in results.formats)
            kept = cut.image is not None and cut.image[..., 0].size <= KEPT
            return Photo(name, cut if landmarker.refine else cut._replace(image=None), cut.image if kept else None)
        except (ValueError, OSError) as error:
            return Photo(name, fault=str(error) if str(path) in str(error) else f"{path}: {error}")

    def write(image: Photo) -> Photo:
        if image.faces is not None:
            _write_files(images.root / image.name, stem_of[image.name], image, landmarker, results)
        return image._replace(pixels=None)

    # As many images wait as two batches hold: memory does not depend on how many there are.
    ahead = 2 * landmarker.batch_size
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = _find(landmarker, in_order(pool, load, images.names, ahead))
        try:
            for image in progress(in_order(pool, write, found, ahead), "annotating", len(images.names)):
                _note(image, results)
        except KeyboardInterrupt:  # what was found is kept
            results.interrupted = True
            pool.shutdown(cancel_futures=True)


def _note(image: Photo, results: Results) -> None:
    if image.faces is None:
        results.left_out.append(image.fault)
    else:
        results.add(image.name, image.faces)
        if not len(image.faces):
            results.without_face.append(image.name)


def in_order(pool: Executor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int) -> Iterator[Result]:
    """`map(work, items)` by a pool, at most `ahead` items before what was asked for."""
    waiting = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _find(landmarker: Landmarker, images: Iterator[Photo]) -> Iterator[Photo]:
    """Run the network on so many images at once as its batch holds faces."""
    while batch := list(islice(images, landmarker.batch_size)):
        cut = [image for image in batch if image.cut is not None]
        faces = iter(landmarker.find([image.cut for image in cut]) if cut else [])
        for image in batch:
            yield image if image.cut is None else image._replace(cut=None, faces=next(faces))


def _write_files(path: Path, stem: str, image: Photo, landmarker: Landmarker, results: Results) -> None:
    """The files of one image."""
    if "pts" in results.formats:
        write_pts(results.folder, stem, image.faces)
    if "overlay" in results.formats:
        pixels = np.require(read_image(path) if image.pixels is None else image.pixels, requirements="W")
        draw_faces(pixels, image.faces, landmarker.schema, landmarker.crop_size)
        _, roll = size_and_roll(path)
        write_overlay(results.folder / f"{stem}.jpg", np.rot90(pixels, round(roll / 90)))
