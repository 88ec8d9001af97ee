"""One tile of noise with detail at every size, of which skin, cloth and walls take their patches."""

import cv2
import numpy as np


def _tile(size: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    octaves = [rng.standard_normal((size >> step, size >> step)).astype(np.float32) for step in range(6)]
    tile = sum(cv2.resize(octave, (size, size)) * 1.5**step for step, octave in enumerate(octaves))
    return np.clip(128 + 40 * (tile - tile.mean()) / tile.std(), 0, 255).astype(np.uint8)


_TILE = _tile(512)


def noise(rng: np.random.Generator, shape: tuple[int, int], zoom: tuple[float, float], strength: float) -> np.ndarray:
    """A random patch (*shape) uint8 around 128, enlarged by `zoom` down and across: 1 + strength * noise, times 128."""
    rows, columns = (max(2, min(512, round(length / by))) for length, by in zip(shape, zoom, strict=True))
    top, left = rng.integers(513 - rows), rng.integers(513 - columns)
    patch = _TILE[top : top + rows, left : left + columns]
    patch = cv2.convertScaleAbs(patch, alpha=3.2 * strength, beta=128 * (1 - 3.2 * strength))
    return cv2.resize(patch, shape[::-1], interpolation=cv2.INTER_LINEAR)
