"""`read_image` against files of every kind, good and bad, all made here."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from wingmark.data.images import MAX_PIXELS, read_image
from wingmark.geometry import shrink

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
    with pytest.raises(ValueError, match="replace the file or leave it out") as error:
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
    ("content", "says"),
    [(b"", "(it is empty)"), (b"<!DOCTYPE html><html>404 Not Found</html>", "(its format is none that is known)")],
)
def test_no_image_is_refused(tmp_path, content, says):
    path = tmp_path / "face.jpg"
    path.write_bytes(content)
    assert says in refused(path)


@pytest.mark.parametrize("pixels", [np.float32(GRAY) / 255, np.int32(GRAY)])
def test_32_bits_are_refused(tmp_path, pixels):
    """Nothing tells whether they go from 0 to 1, to 255 or to 65,535."""
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    assert "32 bits a pixel" in refused(tmp_path / "a.tif")


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


def smooth_photo(width: int, height: int) -> np.ndarray:
    """Soft colored dots on gray."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    photo = np.full((height, width, 3), 60.0)
    for dot in range(12):
        place = RNG.uniform(0.1, 0.9, 2) * (width, height)
        weight = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * 24**2))
        photo += weight[..., None] * np.eye(3)[dot % 3] * 150
    return photo.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("reduce", [2, 4, 8])
@pytest.mark.parametrize("size", [(256, 192), (333, 251), (1021, 765)])
@pytest.mark.parametrize("name", ["photo.jpg", "photo.png"])
def test_reduced_images_are_block_averages_in_the_same_place(tmp_path, name, size, reduce):
    photo = smooth_photo(*size)
    Image.fromarray(photo).save(tmp_path / name, **({"quality": 97} if name.endswith("jpg") else {}))
    reduced, expected = read_image(tmp_path / name, reduce), shrink(photo, reduce)[0]
    assert reduced.shape == expected.shape
    inner = np.s_[: size[1] // reduce, : size[0] // reduce]  # the last blocks may hang over the border
    difference = reduced[inner].astype(float) - expected[inner]
    assert np.abs(difference).max() <= (6 if name.endswith("jpg") else 0)
    # Moved by a tenth of a reduced pixel the picture would differ more than this.
    slope = np.gradient(expected[inner].astype(float), axis=(0, 1))
    for axis in range(2):
        assert abs((difference * slope[axis]).sum() / (slope[axis] ** 2).sum()) < 0.03


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_reduced_jpegs_of_other_modes(tmp_path, mode):
    Image.fromarray(smooth_photo(256, 192)).convert(mode).save(tmp_path / "photo.jpg", quality=97)
    whole = shrink(read_image(tmp_path / "photo.jpg"), 4)[0].astype(int)
    assert np.abs(read_image(tmp_path / "photo.jpg", 4) - whole).max() <= 4


def test_a_jpeg_smaller_than_a_block_is_averaged_too(tmp_path):
    Image.fromarray(RGB[:5, :3]).save(tmp_path / "tiny.jpg")
    assert read_image(tmp_path / "tiny.jpg", 4).shape == (2, 1, 3)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_of_an_animation_the_first_picture_is_read(tmp_path, suffix):
    path = tmp_path / f"moving.{suffix}"
    frames = [Image.new("RGB", (8, 6), color) for color in ((255, 0, 0), (0, 255, 0))]
    lossless = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **lossless)
    with Image.open(path) as image:
        assert image.n_frames == 2
    assert (read_image(path) == [255, 0, 0]).all()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM"])
def test_no_format_is_decoded_before_its_size_is_known(tmp_path, monkeypatch, format):
    path = tmp_path / "face"
    Image.fromarray(RGB).save(path, format)
    with Image.open(path) as image:
        kind = type(image)
    read_image(path)
    monkeypatch.setattr(kind, "load", lambda image: pytest.fail("the pixels were decoded"))
    monkeypatch.setattr("wingmark.data.images._read_jpeg", lambda *_: pytest.fail("the pixels were decoded"))
    monkeypatch.setattr("wingmark.data.images.MAX_PIXELS", 24 * 36 - 1)
    assert "36x24 pixels, at most 863 are read" in refused(path)


@pytest.mark.parametrize("format", ["EPS", "PCX", "ICO", "SGI"])
def test_other_formats_are_refused(tmp_path, format):
    """Whatever the name says: Pillow hands an EPS, which is a program, to Ghostscript."""
    Image.fromarray(RGB).save(tmp_path / "face.jpg", format)
    assert "its format is none that is known" in refused(tmp_path / "face.jpg")


def test_a_png_is_checked_against_its_checksums(tmp_path):
    """One bit of stored, not packed, pixels: without a look at the checksums it is a picture like any other."""
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path, compress_level=0)
    np.testing.assert_array_equal(read_image(path), RGB)
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[whole.index(b"IDAT") + 100] ^= 1
    path.write_bytes(changed)
    refused(path)
