"""What a codec must offer to be used."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from wingmark.schema import LandmarkSchema


class Target(NamedTuple):
    """What one output of the network is trained on.

    value: in the shape of the output.
    weight: how much each element counts, not negative; broadcasts to the value; None for all alike.
    mask: bool, broadcasts to the value, False where nothing counts.
    """

    value: Tensor
    weight: Tensor | None
    mask: Tensor


class Codec(nn.Module, ABC):
    """Turns landmarks into what a network is trained on, and what a network gives back into landmarks.

    outputs: how many numbers (2K) or maps (K, K + 1) the network must give; nothing else decides it.
    kind: what they are, `coordinates` (B, outputs / 2, 2) or `heatmap` (B, outputs, H, W) with H = W, as crops are.

    A codec holds settings and constants, but no weights. Landmarks are pixels of the crop, (B, K, 2).
    """

    outputs: int
    kind: ClassVar[Literal["coordinates", "heatmap"]]

    def encode(self, landmarks_crop: Tensor, valid: Tensor, output_shape: torch.Size, crop_size: int) -> Target:
        """The target of an output of the network.

        `valid` is (B, K) bool; landmarks that are not valid may be NaN. Raises ValueError where `output_shape` is
        not what this codec expects.
        """
        return self.target(self.sketch(landmarks_crop, valid, output_shape, crop_size))

    @abstractmethod
    def sketch(
        self, landmarks_crop: Tensor, valid: Tensor, output_shape: torch.Size, crop_size: int
    ) -> tuple[Tensor | None, ...]:
        """The first half of `encode`: all that is small and serves every output of a batch."""

    @abstractmethod
    def target(self, sketch: tuple[Tensor | None, ...]) -> Target:
        """The second half: cell by cell, so that torch.compile fuses it into the loss and never stores a target."""

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
