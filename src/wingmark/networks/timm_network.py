"""A whole timm model, with its own classifier for the outputs."""

from typing import Any, Literal

import torch
from torch import nn

from wingmark.networks.network import Normalize, to_landmarks
from wingmark.networks.timm_model import classifier_names, create_timm_model


class TimmNetwork(nn.Module):
    """Any timm model whose classifier has `outputs` outputs, as a network.

    model: a timm name. Vectors (B, 2K) become coordinates (B, K, 2) in pixels of the crop; models that give maps
        (B, M, H, W), or a list of them, are taken as they are. The classifier starts near zero: with timm's own start
        a first guess can lie several crops away from the face.
    unit: what the numbers of a vector count, from the middle of the crop: `crop` its sides, `pixel` its pixels. With
        plain SGD a classifier of pixels learns crop_size**2 times slower; learning rates of papers whose networks give
        pixels (Wing) are made for that.
    options: more arguments for timm's model, such as `{width: 64}` for an hourglass.
    pretrained, weights: where the weights come from, see `create_timm_model`; without both, from scratch.
    """

    def __init__(
        self,
        model: str,
        options: dict[str, Any] | None = None,
        pretrained: bool = False,
        weights: str | None = None,
        unit: Literal["crop", "pixel"] = "crop",
        *,
        outputs: int,
        crop_size: int,
    ) -> None:
        super().__init__()
        self.crop_size, self.unit = crop_size, unit
        options = options or {}
        try:
            self.model = create_timm_model(
                model, crop_size=crop_size, pretrained=pretrained, weights=weights, options=options, num_classes=outputs
            )
        except TypeError as error:  # an argument that is unknown, or said twice
            raise ValueError(
                f"timm cannot build {model} with num_classes and options {options} ({str(error).splitlines()[0]}); "
                "leave out what it does not take, or choose another model"
            ) from error
        for name in classifier_names(self.model):
            classifier = self.model.get_submodule(name)
            nn.init.normal_(classifier.weight, std=0.001)
            nn.init.zeros_(classifier.bias)
        self.normalize = Normalize(self.model)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Image (B, 3, H, W) uint8 to a list of S outputs, (B, K, 2) or (B, M, H', W')."""
        raw = self.model(self.normalize(image))
        outputs = raw if isinstance(raw, (list, tuple)) else [raw]
        return [self._landmarks(output) if output.ndim == 2 else output for output in outputs]

    def _landmarks(self, vector: torch.Tensor) -> torch.Tensor:
        sides = vector.float() / self.crop_size if self.unit == "pixel" else vector
        return to_landmarks(sides, self.crop_size)
