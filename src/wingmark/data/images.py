"""The one function that decodes images."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import ExifTags, Image, UnidentifiedImageError

from wingmark.geometry import shrink

MAX_PIXELS = 100_000_000
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # others need not be safe: EPS is a program that is run
EXIF_ROLL = {3: 180.0, 4: 180.0, 5: -90.0, 6: -90.0, 7: 90.0, 8: 90.0}


def read_image(path: Path, reduce: int = 1) -> np.ndarray:
    """Decode an image file to (H, W, 3) uint8 RGB, averaged in blocks of `reduce` pixels as `geometry.shrink` does.

    A JPEG is decoded at half, a quarter or an eighth of its size right away, which costs a fraction of the time. Its
    transform averages a little differently, in the same place.

    One policy for all sets: stored pixels as they are (EXIF rotation is ignored, since annotations refer to stored
    pixels), gray repeated, palette, CMYK and alpha converted (alpha dropped), 16-bit gray scaled by 1/257. Raises
    ValueError naming the file where it is truncated, no image, one of 32 bits a pixel, larger than 100 megapixels or a
    TIFF with an orientation; FileNotFoundError where it is missing.
    """
    with _opened(path) as image:
        if image.format == "JPEG" and image.mode in ("RGB", "L") and reduce in (1, 2, 4, 8):
            with suppress(ValueError):  # a small fault, which Pillow may read over, or a grave one
                return _read_jpeg(path, -(-image.height // reduce), -(-image.width // reduce))
        if image.format == "PNG":  # Pillow decodes without looking at its checksums
            with Image.open(path, formats=["PNG"]) as same:
                same.verify()
        return shrink(pixels_of(image), reduce)[0]


def size_and_roll(path: Path) -> tuple[tuple[int, int], float]:
    """Width and height of an image file in pixels, and `roll_of` it, without decoding. Raises as `read_image` does."""
    with _opened(path) as image:
        return image.size, roll_of(image)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image file whose header was read; what is wrong with it then or later is told as `read_image` says."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError(f"{image.width}x{image.height} pixels, at most {MAX_PIXELS} are read")
                if image.format == "TIFF" and image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
                    raise ValueError("a TIFF with an orientation, which the decoder would obey; store it without one")
                yield image
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged file ends in whatever the bytes make the decoder do
        fault = "it is empty" if path.is_file() and not path.stat().st_size else str(error)
        if isinstance(error, UnidentifiedImageError) and fault != "it is empty":
            fault = "its format is none that is known"
        raise ValueError(
            f"{path}: cannot be decoded as an image ({fault}); replace the file or leave it out"
        ) from error


def pixels_of(image: Image.Image) -> np.ndarray:
    """The pixels of an opened image, (H, W, 3) uint8 RGB, by the policy of `read_image`."""
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        raise ValueError("32 bits a pixel, whose range nothing tells; store it with 8 or 16")
    if image.mode.startswith("I"):
        gray = np.rint(np.asarray(image.convert("I")) / 257).clip(0, 255).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2)
    return np.asarray(image.convert("RGB"))


def roll_of(image: Image.Image) -> float:
    """How stored pixels have to be turned back to be upright, by EXIF: the roll of an upright face, in degrees.

    A mirror image, which EXIF can tell as well, stays one.
    """
    return EXIF_ROLL.get(image.getexif().get(ExifTags.Base.Orientation), 0.0)


def _read_jpeg(path: Path, height: int, width: int) -> np.ndarray:
    """Decode a JPEG at all, a half, a quarter or an eighth of its size: the smallest that is not below these sides."""
    return simplejpeg.decode_jpeg(path.read_bytes(), "RGB", min_height=height, min_width=width)
