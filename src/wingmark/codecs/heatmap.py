"""One heatmap per landmark, and one for the boundary of the face where wanted."""

import math
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from wingmark import curves, geometry, heatmaps
from wingmark.codecs.codec import Codec, Target
from wingmark.codecs.decoders import Decoder, Taylor
from wingmark.codecs.loss_maps import LossMap
from wingmark.schema import LandmarkSchema

TargetKind = Literal["subpixel", "floored"]
FLOORED_RADIUS = 3  # cells: 7 x 7
BOUNDARY_SIGMA = 1.0  # cells


class Sketch(NamedTuple):
    """Maps as products of columns (B, M, H) and rows (B, M, W), and the boundary (B, 1, H, W); the same 3x3 dilated."""

    mask: Tensor  # (B, M, 1, 1) bool
    column: Tensor
    row: Tensor
    boundary: Tensor | None
    dilated_column: Tensor | None
    dilated_row: Tensor | None
    dilated_boundary: Tensor | None


class Heatmap(Codec):
    """A Gaussian of height 1 on each landmark.

    sigma: of the Gaussian, in cells. 1.5 is what HRNet uses for faces on maps of 64 x 64.
    target: `subpixel` centers the Gaussian on the landmark. `floored` centers it on the cell that holds the landmark
        and keeps 7 x 7 cells, as Adaptive Wing (ICCV 2019) does with a sigma of 1.75: at 4 px per cell a perfect
        network is then off by 1.53 px on average and up to 2.83 px.
    decoder: finds the landmark in the map that the network gives; any will do at test time, whatever was trained.
    loss_map: how much more than the background the cells around a landmark and on the boundary count; None: as much.
    boundary: one more map, the last: curves through the landmarks, named in the schema under `boundaries`. It helps
        the network to learn and is not decoded (ICCV 2019, section 5; its Gaussian profile has a sigma of 1 cell). The
        curves go through the landmarks themselves; the released code floors these too.

    A landmark that is not valid or lies outside the crop does not count, and its map is empty; nor does the boundary
    where any landmark of its curves is not valid. Score is the highest value of a map.
    """

    kind = "heatmap"
    pieces: Tensor

    def __init__(
        self,
        sigma: float = 1.5,
        target: TargetKind = "subpixel",
        decoder: Decoder = Taylor(),  # noqa: B008  (frozen: sharing it is safe)
        loss_map: LossMap | None = None,
        boundary: str | None = None,
        *,
        schema: LandmarkSchema,
    ) -> None:
        super().__init__()
        if target not in get_args(TargetKind):
            raise ValueError(f"model.codec: target must be one of {', '.join(get_args(TargetKind))}, got {target!r}")
        if not sigma > 0:
            raise ValueError(f"model.codec: sigma must be a positive number of cells, got {sigma}")
        self.num_landmarks = schema.num_landmarks
        self.outputs = schema.num_landmarks + (boundary is not None)
        self.sigma, self.target_kind, self.loss_map, self.boundary = sigma, target, loss_map, boundary
        self.decoder = decoder
        if boundary is not None:
            pieces = curves.piece_weights(schema.boundary(boundary), schema.num_landmarks)
            self.register_buffer("pieces", pieces, persistent=False)

    @torch.no_grad()
    def sketch(self, landmarks_crop: Tensor, valid: Tensor, output_shape: torch.Size, crop_size: int) -> Sketch:
        self.check(output_shape)
        size = output_shape[-1]
        cells = geometry.pixels_to_cells(landmarks_crop.float(), crop_size / size)
        centers, radius = cells, math.inf
        if self.target_kind == "floored":
            centers, radius = (cells + 0.5).floor().clamp(max=size - 1), FLOORED_RADIUS
        mask = valid & geometry.inside(landmarks_crop, crop_size, crop_size)
        centers = centers.where(mask[..., None], torch.inf)
        boundary = dilated_boundary = None
        if self.boundary is not None:
            # The boundary is added to the empty map of a landmark at infinity, so that no map is copied to join them.
            centers = F.pad(centers, (0, 0, 0, 1), value=torch.inf)
            boundary, boundary_mask = self._draw_boundary(cells, valid, size)
            mask = torch.cat([mask, boundary_mask], dim=1)
        profiles, dilated_profiles = heatmaps.gaussian_profiles(centers, self.sigma, size, size, radius), (None, None)
        if self.loss_map is not None:
            dilated_profiles = heatmaps.gaussian_profiles(centers, self.sigma, size, size, radius, dilated=True)
            dilated_boundary = None if boundary is None else F.max_pool2d(boundary, 3, stride=1, padding=1)
        return Sketch(mask[..., None, None], *profiles, boundary, *dilated_profiles, dilated_boundary)

    def _draw_boundary(self, cells: Tensor, valid: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """The boundary of each face (B, 1, H, W), and whether it counts (B, 1)."""
        used = self.pieces.ne(0).any(0).any(0)
        counts = (valid | ~used).all(-1, keepdim=True)
        landmarks = cells.where(valid[..., None], 0)  # what is not valid may be NaN
        drawn = curves.draw(self.pieces, landmarks, BOUNDARY_SIGMA, size, size)
        return drawn[:, None].where(counts[..., None, None], 0), counts

    def target(self, sketch: Sketch) -> Target:
        maps, weight = self._join(sketch.column, sketch.row, sketch.boundary), None
        if self.loss_map is not None:
            dilated = self._join(sketch.dilated_column, sketch.dilated_row, sketch.dilated_boundary)
            weight = self.loss_map(maps, dilated)
        return Target(maps, weight, sketch.mask)

    def _join(self, column: Tensor, row: Tensor, boundary: Tensor | None) -> Tensor:
        maps = heatmaps.outer(column, row)
        if boundary is None:
            return maps
        last = torch.arange(self.outputs, device=maps.device)[:, None, None] == self.outputs - 1
        return maps + last * boundary

    def decode(self, output: Tensor, crop_size: int) -> tuple[Tensor, Tensor]:
        self.check(output.shape)
        cells, score = self.decoder(output[:, : self.num_landmarks])
        return geometry.cells_to_pixels(cells, crop_size / output.shape[-1]), score
