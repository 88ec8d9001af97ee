"""The one function that decodes images."""

import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

MAX_PIXELS = 100_000_000


def read_image(path: Path) -> np.ndarray:
    """Decode an image file to (H, W, 3) uint8 RGB.

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
                    return np.repeat(gray[..., None], 3, axis=2)
                return np.asarray(image.convert("RGB"))
    except FileNotFoundError:
        raise
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(
            f"{path}: cannot be decoded as an image ({error}); replace the file or remove its annotation"
        ) from error
