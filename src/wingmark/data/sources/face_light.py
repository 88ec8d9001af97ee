"""The light on a `face_model` head."""

import numpy as np


class Light:
    """Where light comes from, its strength and color: a lamp or the sun, another weak one, and what is all around."""

    def __init__(self, rng: np.random.Generator, hard: bool, skin: np.ndarray):
        aside = rng.uniform(0.8, 2.0) if hard else rng.uniform(0.0, 0.9)
        aside, up = rng.choice([-1, 1]) * aside, rng.uniform(-0.2, 1.2) if hard else rng.uniform(0.1, 1.0)
        self.direction = _unit(aside, -up, rng.uniform(0.5, 1.2))
        self.back = _unit(-np.sign(aside), rng.uniform(-0.6, 0.4), rng.uniform(-0.2, 0.6))
        ambient = rng.uniform(0.15, 0.35) if hard else rng.uniform(0.4, 0.65)
        # A camera exposes dark skin longer, but not by all of the difference.
        exposed = (160 / skin.mean()) ** 0.45
        strength = exposed * (rng.uniform(0.6, 1.25) if hard else rng.uniform(0.8, 1.15))
        self.ambient, self.diffuse = strength * ambient, strength * (1.15 - ambient)
        self.fill = strength * rng.uniform(0, 0.35) ** 1.5
        self.gloss = rng.uniform(0.05, 0.4)
        self.shadow = rng.uniform(0.5, 0.9) if hard else rng.uniform(0.1, 0.5)
        self.below = rng.uniform(0.0, 0.35)  # how much darker the light from below is than that from above
        warmth, tint = rng.normal(0, 0.07), rng.normal(0, 0.025)
        self.color = np.array([1 + warmth, 1 + tint, 1 - warmth], np.float32)

    def flat(self) -> np.ndarray:
        """Brightness (3,) of what has no relief."""
        return (self.ambient + 0.5 * self.diffuse) * self.color


def _unit(*direction: float) -> np.ndarray:
    return (np.array(direction) / np.linalg.norm(direction)).astype(np.float32)
