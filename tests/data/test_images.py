"""`read_image` against files of every kind, good and bad, all made here."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from wingmark.data.images import MAX_PIXELS, read_image

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (24, 36, 3), np.uint8)
GRAY = RNG.integers(0, 256, (24, 36), np.uint8)
GRAY16 = RNG.integers(0, 65536, (24, 36)).astype(np.uint16)
GRAY16.flat[:4] = 0, 128, 129, 65535  # 128/257 and 129/257 lie on either side of a half
ALPHA = RNG.integers(0, 256, (24, 36), np.uint8)
ALPHA[:12] = 0


def repeated(gray: np.ndarray) -> np.ndarray:
    return np.stack([gray] * 3, axis=-1)


def palette() -> Image.Image:
    image = Image.fromarray(GRAY % 4)
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    return image


COLORS = np.arange(10, 130, 10, np.uint8).reshape(4, 3)

EXACT = {
    "rgb.png": (lambda path: Image.fromarray(RGB).save(path), RGB),
    "rgb.bmp": (lambda path: Image.fromarray(RGB).save(path), RGB),
    "gray.png": (lambda path: Image.fromarray(GRAY).save(path), repeated(GRAY)),
    "rgba.png": (lambda path: Image.fromarray(np.dstack([RGB, ALPHA])).save(path), RGB),
    "la.png": (lambda path: Image.fromarray(np.dstack([GRAY, ALPHA])).save(path), repeated(GRAY)),
    "palette.png": (lambda path: palette().save(path), COLORS[GRAY % 4]),
    "palette-transparent.png": (
        lambda path: palette().save(path, transparency=bytes([0, 99, 255, 7])),
        COLORS[GRAY % 4],
    ),
    "palette.gif": (lambda path: palette().save(path), COLORS[GRAY % 4]),
    "1-bit.png": (lambda path: Image.fromarray(GRAY > 99).save(path), repeated(np.where(GRAY > 99, 255, 0))),
    "gray16.png": (lambda path: cv2.imwrite(str(path), GRAY16), repeated(np.rint(GRAY16 / 257))),
    "gray16.tif": (lambda path: cv2.imwrite(str(path), GRAY16), repeated(np.rint(GRAY16 / 257))),
    "gray16-big-endian.tif": (
        lambda path: Image.fromarray(GRAY16.astype(">u2")).save(path),
        repeated(np.rint(GRAY16 / 257)),
    ),
    "gray16.pgm": (lambda path: cv2.imwrite(str(path), GRAY16), repeated(np.rint(GRAY16 / 257))),
}


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize("name", EXACT)
def test_every_mode_becomes_rgb(tmp_path, name):
    write, expected = EXACT[name]
    write(tmp_path / name)
    image = read_image(tmp_path / name)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, expected)


def test_16_bit_rgb_is_scaled(tmp_path):
    pixels = RNG.integers(0, 65536, (24, 36, 3)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "rgb16.png"), pixels[..., ::-1])  # OpenCV writes BGR
    np.testing.assert_allclose(read_image(tmp_path / "rgb16.png"), pixels / 257, atol=1)


def test_cmyk_is_converted_and_not_inverted(tmp_path):
    cmyk = RNG.integers(0, 256, (24, 36, 4), np.uint8)
    Image.frombytes("CMYK", (36, 24), cmyk.tobytes()).save(tmp_path / "cmyk.tif")
    ink, black = cmyk[..., :3].astype(float), cmyk[..., 3:].astype(float)
    np.testing.assert_allclose(read_image(tmp_path / "cmyk.tif"), (255 - ink) * (255 - black) / 255, atol=1)
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=95)
    np.testing.assert_allclose(read_image(tmp_path / "red.jpg"), np.broadcast_to([255, 0, 0], (16, 16, 3)), atol=3)


def refused(path: Path) -> str:
    with pytest.raises(ValueError, match="replace the file or remove its annotation") as error:
        read_image(path)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_exif_orientation_is_ignored(tmp_path, format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(tmp_path / "turned", format, exif=exif)
    Image.fromarray(RGB).save(tmp_path / "plain", format)
    assert read_image(tmp_path / "turned").shape == RGB.shape
    np.testing.assert_array_equal(read_image(tmp_path / "turned"), read_image(tmp_path / "plain"))


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_tiff_with_orientation_is_refused(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.tif"
    Image.fromarray(RGB).save(path, exif=exif)
    if orientation == 1:
        np.testing.assert_array_equal(read_image(path), RGB)
    else:
        assert "orientation" in refused(path)


@pytest.mark.parametrize("percent", [30, 70, 98])
@pytest.mark.parametrize("options", [{"format": "JPEG"}, {"format": "JPEG", "progressive": True}, {"format": "PNG"}])
def test_truncated_file_is_refused(tmp_path, percent, options):
    path = tmp_path / "face.jpg"
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8)).save(path, **options)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * percent // 100])
    refused(path)


@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html><html><body>404 Not Found</body></html>"], ids=["empty", "html"]
)
def test_no_image_is_refused(tmp_path, content):
    path = tmp_path / "face.jpg"
    path.write_bytes(content)
    refused(path)


def test_directory_is_refused(tmp_path):
    refused(tmp_path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg"):
        read_image(tmp_path / "gone.jpg")


def png_of_zeros(width: int, height: int) -> bytes:
    """A PNG of 1-bit zeros: small as a file, large once decoded."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + (width + 7) // 8) * height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(10_001, 10_000), (20_000, 20_000)])
def test_over_size_is_refused_before_decoding(tmp_path, monkeypatch, width, height):
    assert width * height > MAX_PIXELS
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of_zeros(width, height))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("the pixels were decoded"))
    assert "pixels" in refused(path)


def test_large_but_allowed_size_is_read(tmp_path):
    (tmp_path / "wide.png").write_bytes(png_of_zeros(3000, 2000))
    assert read_image(tmp_path / "wide.png").shape == (2000, 3000, 3)
