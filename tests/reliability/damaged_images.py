"""The decoder of images against damaged files of every kind.

    python tests/reliability/damaged_images.py [--images 2000] [--seed 0]

A file is read, or refused by a ValueError that names it: another exception, a file of more than 5 s, or a growth of
more than 1 GiB fails. So does a wrong picture where that could be told: a file of any format that was cut off, and a
PNG, which has checksums, with any other damage, must be refused or give the very pixels of the whole file.
"""

import argparse
import faulthandler
import io
import logging
import os
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from wingmark.data.images import read_image

SLOWEST, HANGS, GROWTH = 5.0, 60.0, 1024  # seconds, seconds, MiB
SHOWN = 10
WIDTH, HEIGHT = 61, 47
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH]
NOISE = np.random.default_rng(0).integers(0, 40, (HEIGHT, WIDTH, 4))
FOUR = (np.stack([ROWS * 4, COLUMNS * 3, ROWS + COLUMNS, 215 - COLUMNS], axis=-1) + NOISE).clip(0, 255).astype(np.uint8)
RGB, GRAY = FOUR[..., :3], FOUR[..., 0]
GRAY16 = (GRAY.astype(np.uint16) << 8) + FOUR[..., 1]


def saved(image: Image.Image, format: str, **options) -> bytes:
    content = io.BytesIO()
    image.save(content, format, **options)
    return content.getvalue()


def encoded(suffix: str, pixels: np.ndarray) -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


def whole_images() -> dict[str, bytes]:
    color, gray, cmyk = (
        Image.fromarray(RGB),
        Image.fromarray(GRAY),
        Image.frombytes("CMYK", (WIDTH, HEIGHT), FOUR.tobytes()),
    )
    palette, alpha = color.quantize(64), Image.fromarray(FOUR)
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "JPEG": saved(color, "JPEG"),
        "JPEG progressive": saved(color, "JPEG", progressive=True, exif=exif),
        "JPEG gray": saved(gray, "JPEG"),
        "JPEG CMYK": saved(cmyk, "JPEG"),
        "PNG": saved(color, "PNG"),
        "PNG alpha": saved(alpha, "PNG", exif=exif),
        "PNG palette": saved(palette, "PNG"),
        "PNG 1 bit": saved(gray.convert("1"), "PNG"),
        "PNG gray 16 bit": encoded(".png", GRAY16),
        "PNG RGB 16 bit": encoded(".png", RGB.astype(np.uint16) * 257),
        "BMP": saved(color, "BMP"),
        "BMP palette": saved(palette, "BMP"),
        "WebP": saved(color, "WEBP"),
        "WebP lossless": saved(alpha, "WEBP", lossless=True),
        "GIF": saved(palette, "GIF"),
        "GIF moving": saved(palette, "GIF", save_all=True, append_images=[palette.rotate(180)]),
        "TIFF": saved(color, "TIFF"),
        "TIFF LZW": saved(color, "TIFF", compression="tiff_lzw"),
        "TIFF deflate": saved(color, "TIFF", compression="tiff_adobe_deflate"),
        "TIFF JPEG": saved(color, "TIFF", compression="jpeg"),
        "TIFF CMYK": saved(cmyk, "TIFF"),
        "TIFF gray 16 bit": encoded(".tif", GRAY16),
        "PPM": saved(color, "PPM"),
        "PGM 16 bit": encoded(".pgm", GRAY16),
    }


def damaged(whole: bytes, kind: int, random: np.random.Generator) -> tuple[str, bytes]:
    start, size = int(random.integers(len(whole))), int(2 ** random.uniform(0, 8))
    match kind:
        case 0:
            return "cut off", whole[:start]
        case 1:
            return "cut off", whole[: -int(random.integers(1, 20))]
        case 2:
            changed = bytearray(whole)
            for position in random.integers(len(whole), size=random.integers(1, 9)):
                changed[position] ^= 1 << random.integers(8)
            return "bits", bytes(changed)
        case 3:
            changed = bytearray(whole)
            for position in random.integers(min(64, len(whole)), size=random.integers(1, 5)):
                changed[position] = random.choice([0, 1, 127, 128, 255])
            return "header", bytes(changed)
        case 4:
            return "part lost", whole[:start] + whole[start + size :]
        case 5:
            return "part random", whole[:start] + random.bytes(size) + whole[start + size :]
        case 6:
            return "part zero", whole[:start] + bytes(min(size, len(whole) - start)) + whole[start + size :]


KINDS = 7


def outcome_of(path: Path, reduce: int, pixels: np.ndarray, must_be_known: bool) -> str:
    try:
        found = read_image(path, reduce)
    except Exception as error:
        named = type(error) is ValueError and str(error).startswith(f"{path}: cannot be decoded as an image")
        return "refused" if named else f"{type(error).__name__}: {error}"[:200]
    if np.array_equal(found, pixels):
        return "the same"
    if must_be_known:
        return "a wrong picture"
    sound = found.dtype == np.uint8 and found.ndim == 3 and found.shape[2] == 3
    return "other pixels" if sound else f"an array {found.dtype} {found.shape}"


def main(options: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000, help="damaged files in all, at least one of each format")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(options)
    images, failures, slowest_of_all = whole_images(), [], 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{'image':18}{'files':>7}{'refused':>9}{'the same':>10}{'other pixels':>14}{'failed':>8}{'slowest ms':>12}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "face.jpg"  # whatever it is: names tell nothing
        for row, (name, whole) in enumerate(images.items()):
            path.write_bytes(whole)
            pixels = {reduce: read_image(path, reduce) for reduce in (1, 4)}
            counts, slowest = Counter(), 0.0
            for number in range(-(-arguments.images // len(images))):
                random = np.random.default_rng([arguments.seed, row, number])
                damage, content = damaged(whole, number % KINDS, random)
                path.write_bytes(content)
                reduce = (1, 1, 4)[number % 3]
                must_be_known = damage == "cut off" or name.startswith("PNG")
                faulthandler.dump_traceback_later(HANGS, exit=True, file=sys.__stdout__)
                start = time.perf_counter()
                outcome = outcome_of(path, reduce, pixels[reduce], must_be_known)
                slowest = max(slowest, time.perf_counter() - start)
                faulthandler.cancel_dump_traceback_later()
                if outcome not in ("refused", "the same", "other pixels"):
                    failures.append(
                        f"{name}, number {number}, {damage}, {len(content)} of {len(whole)} bytes: {outcome}"
                    )
                    outcome = "failed"
                counts[outcome] += 1
            slowest_of_all = max(slowest_of_all, slowest)
            shown = [counts[outcome] for outcome in ("refused", "the same", "other pixels", "failed")]
            print(
                f"{name:18}{counts.total():>7}{shown[0]:>9}{shown[1]:>10}{shown[2]:>14}{shown[3]:>8}"
                f"{1000 * slowest:>12.0f}"
            )
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"memory grew by {growth:.0f} MiB", *failures[:SHOWN], sep="\n")
    return int(bool(failures) or slowest_of_all > SLOWEST or growth > GROWTH)


if __name__ == "__main__":
    logging.disable()
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff tells there of every fault
    sys.exit(main())
