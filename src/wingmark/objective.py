"""From a network's output and landmarks to the scalar that is minimized."""

import torch
from torch import nn

from wingmark.codecs import Codec
from wingmark.losses import LandmarkLoss


class Objective(nn.Module):
    """A codec and a loss: the one region that torch.compile fuses, so that targets are never written to memory.

    Raises ValueError where the loss does not go with what the codec makes the network predict.
    """

    def __init__(self, codec: Codec, loss: LandmarkLoss) -> None:
        super().__init__()
        if codec.kind not in loss.expects:
            raise ValueError(
                f"model.loss {type(loss).__name__} expects {' or '.join(sorted(loss.expects))}; model.codec "
                f"{type(codec).__name__} makes the network predict {codec.kind}: choose another loss or another codec"
            )
        if loss.reduction == "none":
            raise ValueError("model.loss.reduction is none, which gives no scalar to minimize; choose mean or sum")
        self.codec, self.loss = codec, loss

    def forward(
        self, output: torch.Tensor, landmarks_crop: torch.Tensor, valid: torch.Tensor, crop_size: int
    ) -> torch.Tensor:
        """The loss of one output of the network, (B, M, H, W) or (B, K, 2), for landmarks (B, K, 2) in crop pixels."""
        target, weight = self.codec.encode(landmarks_crop, valid, output.shape, crop_size)
        return self.loss(output, target, weight)


def compiler_fault(device: torch.device) -> str | None:
    """Why torch.compile does not work for this device, or None where it does."""
    try:
        torch.compile(lambda x: x + 1)(torch.ones(2, device=device))
    except Exception as error:  # whatever is missing (a C++ compiler, Python headers), training goes on without
        return str(error).strip().splitlines()[0]
    return None
