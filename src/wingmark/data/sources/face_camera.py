"""What a camera does to a picture: motion, focus, resolution, color, grain and JPEG."""

import cv2
import numpy as np


def photograph(picture: np.ndarray, rng: np.random.Generator, blurred: bool) -> np.ndarray:
    """The photo (S, S, 3) uint8 of a scene (S, S, 3) uint8. Blur grows with the picture."""
    unit = picture.shape[0] / 160
    picture = _blur(picture, rng, unit) if blurred else cv2.GaussianBlur(picture, (0, 0), unit * rng.uniform(0.3, 0.7))
    if rng.random() < 0.3:
        picture = _coarse(picture, rng.uniform(0.35, 0.8))
    picture = _expose(picture, rng)
    grain = np.frombuffer(rng.bytes(picture.size), np.uint8).reshape(picture.shape)
    strength = 0.12 * rng.random() ** 2
    picture = cv2.addWeighted(picture, 1.0, grain, strength, -127.5 * strength)
    if rng.random() < 0.35:
        encoded = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 95))))[1]
        picture = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    return picture


def _blur(picture: np.ndarray, rng: np.random.Generator, unit: float) -> np.ndarray:
    """Out of focus, or moved while the shutter was open."""
    if rng.random() < 0.5:
        return cv2.GaussianBlur(picture, (0, 0), unit * rng.uniform(1.4, 2.6))
    length, angle = unit * rng.uniform(6, 12), rng.uniform(0, np.pi)
    half = int(np.ceil(length / 2))
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kernel = np.clip(length / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(1 - np.abs(across), 0, 1)
    return cv2.filter2D(picture, -1, kernel / kernel.sum())


def _coarse(picture: np.ndarray, factor: float) -> np.ndarray:
    """As if taken with `factor` times the pixels on a side, and enlarged."""
    few = max(8, round(factor * picture.shape[0]))
    small = cv2.resize(picture, (few, few), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def _expose(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Saturation, color cast, contrast and gamma; a few photos are black and white or brownish."""
    saturation = 0.0 if rng.random() < 0.08 else rng.uniform(0.5, 1.3)
    cast = 1 + 0.06 * rng.standard_normal((3, 1))
    gray = np.full((3, 3), 1 / 3)
    picture = cv2.transform(picture, cast * (saturation * np.eye(3) + (1 - saturation) * gray))
    level = np.arange(256) / 255
    gamma, contrast, lift = rng.uniform(0.65, 1.2), rng.uniform(0.8, 1.3), rng.uniform(-0.05, 0.08)
    curve = (level**gamma - 0.5) * contrast + 0.5 + lift
    return cv2.LUT(picture, np.clip(255 * curve, 0, 255).astype(np.uint8))
