"""Random changes of the crop, all in its one affine map."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class GeometryJitter:
    """How far training crops stray from the protocol's crop.

    rotation: degrees, uniform in +-rotation. scale: the crop's side is multiplied by a factor uniform in
    1 +- scale. shift: of the crop's side, uniform in +-shift along image x and y. flip: probability of a mirror.
    """

    rotation: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    flip: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.rotation <= 180 and 0 <= self.scale < 1 and 0 <= self.shift < 1 and 0 <= self.flip <= 1):
            raise ValueError(
                f"data.geometry: rotation must lie in [0, 180], scale and shift in [0, 1), flip in [0, 1]; got {self}"
            )

    def sample(self, random: np.random.Generator) -> dict:
        """Arguments for `geometry.crop_to_image`, drawn from the face's own generator."""
        rotation, scale, *shift = random.uniform(-1, 1, 4) * [self.rotation, self.scale, self.shift, self.shift]
        return {"rotation": rotation, "scale": 1 + scale, "shift": tuple(shift), "flip": random.random() < self.flip}

    @property
    def reach(self) -> float:
        """Side of an upright square that holds every crop this can draw, in sides of the protocol's crop."""
        angle = np.deg2rad(min(self.rotation, 45))
        return float((1 + self.scale) * (np.cos(angle) + np.sin(angle)) + 2 * (1 + self.scale) * self.shift)
