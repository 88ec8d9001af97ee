"""Regression: the network gives the landmarks themselves."""

import torch
from torch import Tensor

from wingmark.codecs.codec import Codec, Target
from wingmark.schema import LandmarkSchema


class Coordinates(Codec):
    """Pixels of the crop, for landmarks outside of it too. The mask (B, K, 1) is `valid`; no score."""

    kind = "coordinates"

    def __init__(self, *, schema: LandmarkSchema) -> None:
        super().__init__()
        self.outputs = 2 * schema.num_landmarks

    def sketch(
        self, landmarks_crop: Tensor, valid: Tensor, output_shape: torch.Size, crop_size: int
    ) -> tuple[Tensor, Tensor]:
        self.check(output_shape)
        return landmarks_crop.detach().float(), valid[..., None]

    def target(self, sketch: tuple[Tensor, Tensor]) -> Target:
        return Target(sketch[0], None, sketch[1])

    def decode(self, output: Tensor, crop_size: int) -> tuple[Tensor, None]:
        self.check(output.shape)
        return output.float(), None
