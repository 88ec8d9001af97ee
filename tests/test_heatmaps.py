"""Drawing and finding, against loops over cells in float64."""

import math

import numpy as np
import pytest
import torch

from wingmark import heatmaps

FINDERS = {
    "peaks": heatmaps.peaks,
    "quarter_offset": heatmaps.quarter_offset,
    "local_centroid": lambda maps: heatmaps.local_centroid(maps, 3),
    "taylor": lambda maps: heatmaps.taylor(maps, blur=0.0),
    "taylor blurred": lambda maps: heatmaps.taylor(maps, blur=1.0),
}
finders = pytest.mark.parametrize("find", FINDERS.values(), ids=FINDERS)


def gaussian_by_loops(centers, sigma, height, width, radius=math.inf):
    maps = np.zeros((len(centers), height, width))
    for k, (cx, cy) in enumerate(centers):
        for y in range(height):
            for x in range(width):
                if abs(x - cx) <= radius and abs(y - cy) <= radius:
                    maps[k, y, x] = math.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
    return maps


def random_centers(count, height, width, inset, seed=0):
    """(1, count, 2) cells at least `inset` cells from the outermost cell centers."""
    span = torch.tensor([width - 1 - 2 * inset, height - 1 - 2 * inset])
    return inset + torch.rand(1, count, 2, generator=torch.Generator().manual_seed(seed)) * span


@pytest.mark.parametrize("radius", [math.inf, 3])
def test_gaussian_matches_a_loop_over_cells(radius):
    centers = torch.tensor([[3.0, 4.0], [0.3, 8.7], [-0.5, 5.5], [11.2, 20.0], [-4.0, 2.0]])
    maps = heatmaps.gaussian(centers[None], 1.5, height=9, width=12, radius=radius)
    assert maps.shape == (1, 5, 9, 12) and maps.dtype == torch.float32
    np.testing.assert_allclose(maps[0], gaussian_by_loops(centers.double().numpy(), 1.5, 9, 12, radius), atol=1e-6)


def test_gaussian_peaks_at_one_on_a_cell_and_below_between_cells():
    maps = heatmaps.gaussian(torch.tensor([[[5.0, 2.0], [5.5, 2.5]]]), 1.5, 8, 8)
    assert maps[0, 0, 2, 5] == 1
    assert maps[0, 1].amax() == pytest.approx(math.exp(-0.25 / 1.5**2), rel=1e-6)


def test_gaussian_of_adaptive_wing_has_the_published_row():
    """Facts of the released code: sigma 1.75, 7 x 7 cells, corner 0.053."""
    maps = heatmaps.gaussian(torch.tensor([[[5.0, 5.0]]]), 1.75, 11, 11, radius=3)[0, 0]
    np.testing.assert_allclose(maps[5, 2:9], [0.230, 0.520, 0.849, 1, 0.849, 0.520, 0.230], atol=5e-4)
    assert maps[2, 2] == pytest.approx(0.053, abs=5e-4)
    assert (maps > 0).sum() == 49


def test_gaussian_at_infinity_is_empty():
    assert not heatmaps.gaussian(torch.full((1, 1, 2), torch.inf), 1.5, 8, 8).any()


def test_peaks_are_x_y_and_the_first_among_equals():
    maps = torch.zeros(1, 3, 5, 7)
    maps[0, 0, 4, 1] = 2
    maps[0, 1, 2, 3] = maps[0, 1, 2, 4] = maps[0, 1, 3, 0] = 1
    maps[0, 2] = -3
    assert heatmaps.peaks(maps).tolist() == [[[1, 4], [3, 2], [0, 0]]]


def test_patches_match_a_zero_padded_picture():
    maps = torch.randn(2, 3, 6, 8)
    centers = torch.stack([torch.randint(0, 8, (2, 3)), torch.randint(0, 6, (2, 3))], dim=-1)
    found = heatmaps.patches(maps, centers, 2)
    padded = np.pad(maps.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)))
    for b in range(2):
        for k in range(3):
            x, y = centers[b, k].tolist()
            np.testing.assert_array_equal(found[b, k], padded[b, k, y : y + 5, x : x + 5])


def test_quarter_offset_by_hand():
    maps = torch.zeros(1, 5, 5, 6)
    maps[0, :, 2, 3] = 1
    maps[0, 0, 2, 4] = 0.5  # right is higher
    maps[0, 1, 2, 2] = maps[0, 1, 1, 3] = 0.5  # left and above are higher
    maps[0, 2, 2, 2] = maps[0, 2, 2, 4] = 0.5  # equal
    maps[0, 3, 2, 5], maps[0, 3, 2, 4] = 2, 1  # highest on the right border
    maps[0, 4, 0, 3], maps[0, 4, 0, 4] = 2, 1  # highest on the upper border
    expected = [[3.25, 2.0], [2.75, 1.75], [3.0, 2.0], [5.0, 2.0], [3.0, 0.0]]
    assert heatmaps.quarter_offset(maps)[0].tolist() == expected


def test_quarter_offset_moves_on_the_cells_next_to_the_border():
    maps = heatmaps.gaussian(torch.tensor([[[0.8, 1.2], [4.2, 2.8]]]), 1.5, height=5, width=6)
    assert heatmaps.quarter_offset(maps)[0].tolist() == [[0.75, 1.25], [4.25, 2.75]]


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_local_centroid_matches_a_loop_over_the_window(radius):
    """Negative values weigh nothing; the window is cut at the border."""
    maps = torch.randn(1, 40, 9, 11, generator=torch.Generator().manual_seed(0))
    for found, heat, peak in zip(
        heatmaps.local_centroid(maps, radius)[0], maps[0].double(), heatmaps.peaks(maps)[0], strict=True
    ):
        px, py = peak.tolist()
        cells = [(x, y) for y in range(9) for x in range(11) if abs(x - px) <= radius and abs(y - py) <= radius]
        mass = np.array([max(heat[y, x].item(), 0) for x, y in cells])
        np.testing.assert_allclose(found, (mass[:, None] * cells).sum(0) / mass.sum(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("blur", [0.0, 1.0])
@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0, 3.0])
def test_taylor_is_exact_on_gaussians_of_any_width_and_height(sigma, blur):
    centers = random_centers(200, 48, 64, inset=3 * sigma)
    maps = 0.3 * heatmaps.gaussian(centers, sigma, 48, 64)
    np.testing.assert_allclose(heatmaps.taylor(maps, blur), centers, rtol=0, atol=1e-3)


@pytest.mark.parametrize("blur", [0.0, 1.0])
def test_taylor_is_exact_up_to_the_edge_of_the_map(blur):
    """Half a Gaussian is enough: no blur reaches off the map, cells from -0.5 to 15.5 in y and to 23.5 in x."""
    centers = random_centers(3000, 16, 24, inset=-0.499)
    maps = heatmaps.gaussian(centers, 1.5, 16, 24)
    np.testing.assert_allclose(heatmaps.taylor(maps, blur), centers, rtol=0, atol=1e-3)


def test_taylor_follows_a_slanted_ellipse():
    """The mixed derivative counts: without it this is off by 0.2 cell."""
    center, precision = np.array([10.3, 12.4]), np.array([[0.5, 0.3], [0.3, 0.4]])
    y, x = np.mgrid[:24, :24]
    offset = np.stack([x, y], axis=-1) - center
    log_map = -0.5 * np.einsum("hwi,ij,hwj->hw", offset, precision, offset)
    found = heatmaps.taylor(torch.tensor(np.exp(log_map), dtype=torch.float32)[None, None], blur=0.0)
    np.testing.assert_allclose(found[0, 0], center, rtol=0, atol=1e-3)


def test_taylor_of_blurred_maps_equals_blurring_the_whole_map_in_float64():
    generator = torch.Generator().manual_seed(0)
    centers = random_centers(50, 32, 32, inset=7)
    maps = heatmaps.gaussian(centers, 1.5, 32, 32) + 0.03 * torch.randn(1, 50, 32, 32, generator=generator)
    kernel = np.exp(-0.5 * np.arange(-3, 4) ** 2.0)
    kernel /= kernel.sum()
    for found, heat, peak in zip(heatmaps.taylor(maps, 1.0)[0], maps[0], heatmaps.peaks(maps)[0], strict=True):
        rows = np.apply_along_axis(np.convolve, 1, heat.double().numpy(), kernel, mode="same")
        smooth = np.apply_along_axis(np.convolve, 0, rows, kernel, mode="same")
        px, py = peak.tolist()
        q = np.log(np.maximum(smooth[py - 1 : py + 2, px - 1 : px + 2], 1e-10))
        gradient = np.array([q[1, 2] - q[1, 0], q[2, 1] - q[0, 1]]) / 2
        dxy = (q[2, 2] + q[0, 0] - q[0, 2] - q[2, 0]) / 4
        hessian = np.array([[q[1, 0] + q[1, 2] - 2 * q[1, 1], dxy], [dxy, q[0, 1] + q[2, 1] - 2 * q[1, 1]]])
        step = np.linalg.solve(-hessian, gradient)
        np.testing.assert_allclose(
            found, np.clip([px + step[0], py + step[1]], [px - 1, py - 1], [px + 1, py + 1]), atol=1e-3
        )


def test_blur_pays_under_noise():
    """The reason for the default: white noise of 3 % of the peak, mean error in cells."""
    generator = torch.Generator().manual_seed(0)
    centers = random_centers(500, 64, 64, inset=4.5)
    maps = heatmaps.gaussian(centers, 1.5, 64, 64) + 0.03 * torch.randn(1, 500, 64, 64, generator=generator)
    sharp, blurred = ((heatmaps.taylor(maps, blur) - centers).norm(dim=-1).mean() for blur in (0.0, 1.0))
    assert 0.08 < sharp < 0.12
    assert 0.03 < blurred < 0.04


def test_taylor_stays_at_the_peak_without_a_top():
    """A flat map; a saddle, high along one diagonal, with a slope to be tempted by; a bowl, highest in a corner."""
    saddle = torch.full((9, 9), -3.0)
    saddle[3:6, 3:6] = torch.tensor([[-0.001, -0.1, -2.0], [-0.1, 0.0, -0.05], [-2.0, -0.1, -0.001]])
    square = (torch.arange(9.0) - 3.9) ** 2
    maps = torch.stack([torch.full((9, 9), 0.5), saddle.exp(), (0.05 * (square[:, None] + square)).exp()])[None]
    assert heatmaps.taylor(maps, blur=0.0).tolist() == [[[0, 0], [4, 4], [8, 8]]]


def test_taylor_goes_at_most_one_cell():
    """Almost level in x: the top of the parabola lies far outside."""
    x, y = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="xy")
    maps = torch.exp(-1e-3 * (x - 20) ** 2 - (y - 4.25) ** 2)[None, None]
    torch.testing.assert_close(heatmaps.taylor(maps, blur=0.0), torch.tensor([[[9.0, 4.25]]]), rtol=0, atol=1e-3)


@finders
def test_any_finite_map_gives_finite_points_near_its_peak(find):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 50, 16, 16, generator=generator)
    plateau = torch.zeros(16, 16)
    plateau[5:9, 5:9] = 1
    spike = torch.zeros(16, 16)
    spike[15, 0] = 1e30
    special = [torch.zeros(16, 16), torch.ones(16, 16), torch.full((16, 16), -2.0), plateau, -plateau, spike, -spike]
    special += [1e-30 * spike / 1e30, torch.ones(16, 16) + 6e-8 * noise[0, 0].round()]
    maps = torch.cat([noise, noise - 10, 1e-20 * noise, 1e20 * noise, torch.stack(special)[None]], dim=1)
    points = find(maps)
    assert points.shape == (1, maps.shape[1], 2)
    assert points.isfinite().all()
    assert (points - heatmaps.peaks(maps)).abs().max() <= 3


@finders
def test_finders_treat_all_directions_alike(find):
    maps = torch.rand(1, 60, 12, 12, generator=torch.Generator().manual_seed(0))
    x, y = find(maps).unbind(-1)
    torch.testing.assert_close(find(maps.flip(-1)), torch.stack([11 - x, y], dim=-1), rtol=0, atol=1e-4)
    torch.testing.assert_close(find(maps.mT), torch.stack([y, x], dim=-1), rtol=0, atol=1e-4)
