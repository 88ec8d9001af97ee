"""From a network's outputs and landmarks to the scalars that are minimized."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wingmark.codecs import Codec
from wingmark.losses import LandmarkLoss

# Of torch.compile: store no intermediate, however much it reads.
FUSE_ALL = {"realize_reads_threshold": 1000, "realize_opcount_threshold": 10000}


class Objective(nn.Module):
    """A codec and a loss.

    Value and gradient come from one pass over an output, and the gradient can be had once. The pass cannot be put under
    activation checkpointing, which has nothing to save there; the network can.

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

    def compile(self) -> None:
        """Fuse what happens per cell into one pass that reads an output and writes its gradient, and stores no target.

        A copy of this objective starts without.
        """
        torch.compiler.reset()  # what was compiled for other objectives would count against the limit of this one
        self._sketch = torch.compile(self._sketch)
        in_one_pass = torch.func.grad_and_value(self._total, has_aux=True)
        self._gradient_and_total = torch.compile(in_one_pass, options=FUSE_ALL)

    def __getstate__(self) -> dict[str, Any]:
        compiled = ("_sketch", "_gradient_and_total")
        return {name: value for name, value in super().__getstate__().items() if name not in compiled}

    def forward(self, outputs: Sequence[Tensor], landmarks_crop: Tensor, valid: Tensor, crop_size: int) -> list[Tensor]:
        """The loss of each output of a network, all (B, M, H, W) or all (B, K, 2).

        Landmarks (B, K, 2) are pixels of the crop. Raises ValueError for outputs that the codec does not expect.
        """
        shapes = {tuple(output.shape) for output in outputs}
        if len(shapes) > 1:
            raise ValueError(f"all outputs of a network must have one shape, got {sorted(shapes)}")
        sketch = self._sketch(landmarks_crop, valid, outputs[0].shape, crop_size)
        return [self.loss.reduce(*_Total.apply(output, sketch, self._gradient_and_total)) for output in outputs]

    def _sketch(self, *arguments: Any) -> tuple[Tensor | None, ...]:
        return self.codec.sketch(*arguments)

    def _gradient_and_total(self, output: Tensor, sketch: tuple[Tensor | None, ...]) -> tuple[Tensor, Any]:
        # What torch.func.grad_and_value gives, which compiles, but takes a millisecond longer without.
        with torch.enable_grad():
            leaf = output.detach().requires_grad_()
            total, count = self._total(leaf, sketch)
            (gradient,) = torch.autograd.grad(total, leaf)
        return gradient, (total.detach(), count)

    def _total(self, output: Tensor, sketch: tuple[Tensor | None, ...]) -> tuple[Tensor, Tensor]:
        target = self.codec.target(sketch)
        return self.loss.weighted(output, *target).sum(), self.loss.count(target.mask, target.value)


class _Total(torch.autograd.Function):
    """Value and gradient in one pass, where autograd makes two and keeps what lies between them.

    The gradient is that of the sum, so that it is well scaled in half floats too.
    """

    @staticmethod
    def forward(
        ctx: Any, output: Tensor, sketch: tuple[Tensor | None, ...], gradient_and_total: Any
    ) -> tuple[Tensor, Tensor]:
        gradient, (total, count) = gradient_and_total(output, sketch)
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(count)
        return total, count

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor, _: None) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient.mul_(grad_total), None, None  # in place: autograd refuses a second backward


def compiler_fault(device: torch.device) -> str | None:
    """Why torch.compile does not work for this device, or None where it does."""
    try:
        probe = torch.func.grad_and_value(lambda x: x.square().sum())
        torch.compile(probe, options=FUSE_ALL)(torch.ones(2, device=device))
    except Exception as error:  # whatever is missing (a C++ compiler, Python headers), training goes on without
        return str(error).strip().splitlines()[0]
    return None
