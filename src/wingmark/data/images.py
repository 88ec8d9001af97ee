"""The one function that decodes images."""

import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import ExifTags, Image

from wingmark.geometry import shrink

MAX_PIXELS = 100_000_000


def read_image(path: Path, reduce: int = 1) -> np.ndarray:
    """Decode an image file to (H, W, 3) uint8 RGB, averaged in blocks of `reduce` pixels as `geometry.shrink` does.

    A JPEG is decoded at half, a quarter or an eighth of its size right away, which costs a fraction of the time. Its
    transform averages a little differently, in the same place.

    One policy for all sets: stored pixels as they are (EXIF rotation is ignored, since annotations refer to stored
    pixels), gray repeated, palette, CMYK and alpha converted (alpha dropped), 16-bit gray scaled by 1/257. Raises
    ValueError naming the file where it is truncated, no image, larger than 100 megapixels or a TIFF with an
    orientation; FileNotFoundError where it is missing.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError(f"{image.width}x{image.height} pixels, at most {MAX_PIXELS} are read")
                if image.format == "TIFF" and image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
                    raise ValueError("a TIFF with an orientation, which the decoder would obey; store it without one")
                if image.mode.startswith("I"):
                    gray = np.rint(np.asarray(image.convert("I")) / 257).clip(0, 255).astype(np.uint8)
                    return shrink(np.repeat(gray[..., None], 3, axis=2), reduce)[0]
                if image.format == "JPEG" and image.mode in ("RGB", "L") and reduce in (1, 2, 4, 8):
                    with suppress(ValueError):  # a small fault, which Pillow may read over, or a grave one
                        return _read_jpeg(path, -(-image.height // reduce), -(-image.width // reduce))
                return shrink(np.asarray(image.convert("RGB")), reduce)[0]
    except FileNotFoundError:
        raise
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(
            f"{path}: cannot be decoded as an image ({error}); replace the file or remove its annotation"
        ) from error


def _read_jpeg(path: Path, height: int, width: int) -> np.ndarray:
    """Decode a JPEG at all, a half, a quarter or an eighth of its size: the smallest that is not below these sides."""
    return simplejpeg.decode_jpeg(path.read_bytes(), "RGB", min_height=height, min_width=width)
