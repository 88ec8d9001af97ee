"""One heatmap per landmark."""

import math
from typing import Literal

import torch
from torch import Tensor

from wingmark import geometry, heatmaps
from wingmark.codecs.codec import Codec
from wingmark.codecs.decoders import Decoder, Taylor
from wingmark.schema import LandmarkSchema

FLOORED_RADIUS = 3  # cells: 7 x 7


class Heatmap(Codec):
    """A Gaussian of height 1 on each landmark; `decoder` finds the landmark in the map that the network gives.

    sigma: of the Gaussian, in cells. 1.5 is what HRNet uses for faces on maps of 64 x 64.
    target: `subpixel` centers the Gaussian on the landmark. `floored` centers it on the cell that holds the landmark
        and keeps 7 x 7 cells, as Adaptive Wing (ICCV 2019) does with a sigma of 1.75: at 4 px per cell a perfect
        network is then off by 1.53 px on average and up to 2.83 px.

    Weight (B, K, 1, 1) is 0, and the map empty, where a landmark is not valid or lies outside the crop. Score is the
    highest value of a map.
    """

    kind = "heatmap"

    def __init__(
        self,
        sigma: float = 1.5,
        target: Literal["subpixel", "floored"] = "subpixel",
        decoder: Decoder = Taylor(),  # noqa: B008  (frozen: sharing it is safe)
        *,
        schema: LandmarkSchema,
    ) -> None:
        if not sigma > 0:
            raise ValueError(f"model.codec: sigma must be a positive number of cells, got {sigma}")
        self.outputs = schema.num_landmarks
        self.sigma = sigma
        self.target = target
        self.decoder = decoder

    @torch.no_grad()
    def encode(
        self, landmarks_crop: Tensor, valid: Tensor, output_shape: torch.Size, crop_size: int
    ) -> tuple[Tensor, Tensor]:
        self.check(output_shape)
        height, width = output_shape[-2:]
        counts = valid & geometry.inside(landmarks_crop, crop_size, crop_size)
        cells = geometry.pixels_to_cells(landmarks_crop.float(), crop_size / width)
        radius = math.inf
        if self.target == "floored":
            cells, radius = cells.round(), FLOORED_RADIUS
        cells = cells.where(counts[..., None], torch.inf)
        maps = heatmaps.gaussian(cells, self.sigma, height, width, radius)
        return maps, counts[..., None, None].float()

    def decode(self, output: Tensor, crop_size: int) -> tuple[Tensor, Tensor]:
        self.check(output.shape)
        cells, score = self.decoder(output)
        return geometry.cells_to_pixels(cells, crop_size / output.shape[-1]), score
