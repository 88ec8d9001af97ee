"""Heatmaps: drawing Gaussians where landmarks are, and finding points in maps.

Functions of tensors, on any device. Maps are (B, K, H, W). Points are (B, K, 2) in cells of the map, (x, y) with the
cell center at the integer; `geometry.pixels_to_cells` and `cells_to_pixels` convert them.
"""

import math

import torch
from torch import Tensor

from wingmark import geometry


def gaussian(centers: Tensor, sigma: float, height: int, width: int, radius: float = math.inf) -> Tensor:
    """Draw Gaussians of `sigma` cells that are 1 exactly at `centers` and 0 farther than `radius` cells in x or y.

    A center at infinity gives an empty map.
    """
    return outer(*gaussian_profiles(centers, sigma, height, width, radius))


def gaussian_profiles(
    centers: Tensor, sigma: float, height: int, width: int, radius: float = math.inf, dilated: bool = False
) -> tuple[Tensor, Tensor]:
    """The same maps as a column (B, K, H) and a row (B, K, W) each: a Gaussian is separable.

    dilated: of the maps after 3x3 gray dilation, where each cell is the highest of nine; for centers on the map.
    """

    def profile(center: Tensor, length: int) -> Tensor:
        distance = (torch.arange(length, device=center.device) - center[..., None]).abs()
        if dilated:  # the distance of the nearest of three cells; one off the map is never nearer than the last on it
            distance = torch.minimum(distance, (distance - 1).abs())
        return torch.exp(-0.5 * (distance / sigma) ** 2) * (distance <= radius)

    return profile(centers[..., 1], height), profile(centers[..., 0], width)


def outer(column: Tensor, row: Tensor) -> Tensor:
    """Maps (B, K, H, W) that are a column (B, K, H) times a row (B, K, W)."""
    return column[..., :, None] * row[..., None, :]


def peaks(maps: Tensor) -> Tensor:
    """The highest cell of each map as integers (B, K, 2); among equals the first in reading order."""
    index, width = maps.flatten(-2).argmax(-1), maps.shape[-1]
    return torch.stack([index % width, index // width], dim=-1)


def patches(maps: Tensor, centers: Tensor, radius: int) -> Tensor:
    """The cells around integer `centers`, (B, K, n, n) with n = 2 radius + 1, 0 where they lie off the map."""
    height, width = maps.shape[-2:]
    reach = torch.arange(-radius, radius + 1, device=maps.device)
    cells = centers[..., None, None, :] + torch.stack(torch.meshgrid(reach, reach, indexing="xy"), dim=-1)
    index = cells[..., 1].clamp(0, height - 1) * width + cells[..., 0].clamp(0, width - 1)
    values = maps.flatten(-2).gather(-1, index.flatten(-2)).view(index.shape)
    return values.where(geometry.inside(cells, width, height), 0)


def quarter_offset(maps: Tensor) -> Tensor:
    """The highest cell, moved 0.25 cell in x and in y toward the higher neighbor unless it lies on the map's border.

    As in the released code of Adaptive Wing (ICCV 2019), which then adds 0.5 and multiplies by 4 to count from the
    corner of the first pixel; counted from its center that is `geometry.cells_to_pixels(cell, 4)`.
    """
    height, width = maps.shape[-2:]
    peak = peaks(maps)
    patch = patches(maps, peak, 1)
    slope = torch.stack([patch[..., 1, 2] - patch[..., 1, 0], patch[..., 2, 1] - patch[..., 0, 1]], dim=-1)
    interior = geometry.inside(peak - 1, width - 2, height - 2)[..., None]
    return peak + 0.25 * slope.sign() * interior


def local_centroid(maps: Tensor, radius: int) -> Tensor:
    """The center of mass of the positive values at most `radius` cells from the highest cell in x and in y."""
    peak = peaks(maps)
    mass = patches(maps, peak, radius).clamp(min=0)
    reach = torch.arange(-radius, radius + 1, device=maps.device)
    moment = torch.stack([(mass * reach).sum((-2, -1)), (mass * reach[:, None]).sum((-2, -1))], dim=-1)
    return peak + moment / mass.sum((-2, -1)).clamp(min=torch.finfo(mass.dtype).tiny)[..., None]


def taylor(maps: Tensor, blur: float) -> Tensor:
    """The top of the parabola through the logarithm of the map around its highest cell, at most 1 cell away from it.

    The logarithm of a Gaussian is a parabola: the point is exact whatever the width, also on the border, where the
    parabola is taken one cell further in. The 3x3 cells it goes through are first smoothed by a Gaussian of `blur`
    cells (0 for none) against noise, which keeps a Gaussian a Gaussian, except where that would reach off the map.
    Where it has no top (a flat, a saddle) the point is the highest cell itself. Zhang et al., Distribution-Aware
    Coordinate Representation for Human Pose Estimation (CVPR 2020), coordinate decoding.
    """
    height, width = maps.shape[-2:]
    peak = peaks(maps)
    center = torch.stack([peak[..., 0].clamp(1, width - 2), peak[..., 1].clamp(1, height - 2)], dim=-1)
    patch = patches(maps, center, 1)
    if blur > 0:
        margin = math.ceil(3 * blur) + 1
        interior = geometry.inside(peak - margin, width - 2 * margin, height - 2 * margin)
        patch = torch.where(interior[..., None, None], _smooth(patches(maps, center, margin), blur), patch)
    offset, has_top = _top_of_parabola(patch.clamp(min=1e-10).log())
    point = torch.where(has_top[..., None], center + offset, peak)
    return torch.clamp(point, peak - 1, peak + 1)


def _smooth(patch: Tensor, sigma: float) -> Tensor:
    """The middle 3x3 cells of patches after a Gaussian blur, (B, K, 3, 3), times a constant.

    Sums, since a matrix product may run in TF32 on a GPU.
    """
    length = patch.shape[-1] - 2
    kernel = torch.exp(-0.5 * ((torch.arange(length, device=patch.device) - length // 2) / sigma) ** 2)
    rows = (patch.unfold(-1, length, 1) * kernel).sum(-1)
    return (rows.unfold(-2, length, 1) * kernel).sum(-1)


def _top_of_parabola(patch: Tensor) -> tuple[Tensor, Tensor]:
    """From the middle of 3x3 patches to the top of their second-order expansion, (B, K, 2), and whether it has one."""
    left, right, above, below = patch[..., 1, 0], patch[..., 1, 2], patch[..., 0, 1], patch[..., 2, 1]
    dx, dy = (right - left) / 2, (below - above) / 2
    dxx, dyy = right + left - 2 * patch[..., 1, 1], below + above - 2 * patch[..., 1, 1]
    dxy = (patch[..., 2, 2] - patch[..., 2, 0] - patch[..., 0, 2] + patch[..., 0, 0]) / 4
    determinant = dxx * dyy - dxy * dxy
    has_top = (dxx < 0) & (determinant > 0)
    newton_step = torch.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], dim=-1)
    return newton_step / determinant[..., None], has_top
