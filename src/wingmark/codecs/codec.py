"""What a codec must offer to be used."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from wingmark.schema import LandmarkSchema


class Codec(ABC):
    """Turns landmarks into what a network is trained on, and what a network gives back into landmarks.

    outputs: how many numbers (2K) or maps (K, K + 1) the network must give; nothing else decides it.
    kind: what they are, `coordinates` (B, outputs / 2, 2) or `heatmap` (B, outputs, H, W) with H = W, as crops are.

    A codec holds settings and no weights. Landmarks are pixels of the crop, (B, K, 2).
    """

    outputs: int
    kind: ClassVar[Literal["coordinates", "heatmap"]]

    @abstractmethod
    def encode(
        self, landmarks_crop: Tensor, valid: Tensor, output_shape: torch.Size, crop_size: int
    ) -> tuple[Tensor, Tensor]:
        """The target of one network output, and its weight: broadcasts to the target, 0 where nothing counts.

        `valid` is (B, K) bool; landmarks that are not valid may be NaN. Raises ValueError where `output_shape` is
        not what this codec expects.
        """

    @abstractmethod
    def decode(self, output: Tensor, crop_size: int) -> tuple[Tensor, Tensor | None]:
        """Landmarks (B, K, 2) float32 in one network output, and a score (B, K) where the codec defines one."""

    def check(self, output_shape: torch.Size) -> None:
        """Refuse an output from a head of the other kind or with another number of landmarks."""
        if self.kind == "coordinates":
            expected, ways_out = f"landmarks (B, {self.outputs // 2}, 2)", "a coordinate head or the Heatmap codec"
            fits = output_shape[1:] == (self.outputs // 2, 2)
        else:
            expected, ways_out = f"square maps (B, {self.outputs}, H, W)", "a heatmap head or the Coordinates codec"
            fits = len(output_shape) == 4 and output_shape[1] == self.outputs and output_shape[2] == output_shape[3]
        if not fits:
            given = ", ".join(["B", *map(str, output_shape[1:])])
            raise ValueError(
                f"codec {type(self).__name__} expects {expected}; the network gives ({given}): choose {ways_out}"
            )


class CodecFactory(Protocol):
    """A codec with its settings, still without the schema: what `model.codec` in a config is."""

    def __call__(self, *, schema: LandmarkSchema) -> Codec: ...
