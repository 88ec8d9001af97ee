"""Curves through landmarks and the boundary maps drawn of them, against other formulas and a loop over points."""

import itertools

import numpy as np
import pytest
import torch

from wingmark import curves, schema
from wingmark.schema import Contour

OPEN, CLOSED = Contour((0, 1, 2, 3, 4)), Contour((0, 1, 2, 3, 4), closed=True)


def hermite(points, closed, steps):
    """The same spline by another formula: cubic Hermite spans between points with given tangents."""
    if closed:
        tangents = (np.roll(points, -1, 0) - np.roll(points, 1, 0)) / 2
        points, tangents = np.vstack([points, points[:1]]), np.vstack([tangents, tangents[:1]])
    else:
        tangents = np.gradient(points, axis=0, edge_order=min(2, len(points) - 1))
    t = np.arange(steps)[:, None] / steps
    spans = [
        (2 * t**3 - 3 * t**2 + 1) * p + (t**3 - 2 * t**2 + t) * m + (3 * t**2 - 2 * t**3) * q + (t**3 - t**2) * n
        for p, m, q, n in zip(points[:-1], tangents[:-1], points[1:], tangents[1:], strict=True)
    ]
    return np.vstack([*spans, points[-1:]])


def nearest(points, height, width):
    """The distance from each cell to the nearest of the points."""
    y, x = np.mgrid[:height, :width]
    return np.sqrt((x[..., None] - points[:, 0]) ** 2 + (y[..., None] - points[:, 1]) ** 2).min(-1)


@pytest.mark.parametrize(
    ("count", "closed"), [(2, False), (3, False), (4, False), (9, False), (3, True), (4, True), (9, True)]
)
def test_a_curve_is_the_hermite_spline_through_its_landmarks(count, closed):
    landmarks = np.random.default_rng(0).random((count, 2)) * 30
    points = curves.curve_weights(Contour(tuple(range(count)), closed)).numpy() @ landmarks
    np.testing.assert_allclose(points, hermite(landmarks, closed, curves.PIECES_PER_SPAN), atol=1e-12)
    assert len(curves.curve_weights(Contour(tuple(range(33))))) == 65
    np.testing.assert_allclose(points[:: curves.PIECES_PER_SPAN][:count], landmarks, atol=1e-12)


def test_three_landmarks_make_a_parabola_and_two_a_line():
    t = np.linspace(0, 2, 9)
    parabola = curves.curve_weights(Contour((0, 1, 2))).numpy() @ np.array([[0.0, 5.0], [1.0, 3.0], [2.0, 9.0]])
    np.testing.assert_allclose(parabola[:, 1], 5 - 6 * t + 4 * t**2, atol=1e-12)
    line = curves.curve_weights(Contour((0, 1))).numpy() @ np.array([[1.0, 2.0], [5.0, 4.0]])
    np.testing.assert_allclose(line, np.linspace([1, 2], [5, 4], 5), atol=1e-12)


def test_a_curve_needs_two_landmarks():
    with pytest.raises(ValueError, match=r"at least two landmarks, got \[3\]"):
        curves.curve_weights(Contour((3,)))


def draw(contours, landmarks, height=48, width=64, sigma=1.0):
    landmarks = torch.as_tensor(np.asarray(landmarks), dtype=torch.float32)
    pieces = curves.piece_weights(contours, landmarks.shape[1])
    return curves.draw(pieces, landmarks, sigma, height, width)


@pytest.mark.parametrize("sigma", [1.0, 1.5])
@pytest.mark.parametrize("contour", [OPEN, CLOSED], ids=["open", "closed"])
def test_a_boundary_is_the_gaussian_of_the_distance_to_the_curve(contour, sigma):
    landmarks = np.array([[10.0, 30.0], [20.0, 38.0], [32.0, 40.0], [44.0, 38.0], [54.0, 28.0]])
    drawn = draw([contour], landmarks[None], sigma=sigma)[0].numpy()
    ends = curves.curve_weights(contour).numpy() @ landmarks
    pieces = [np.linspace(start, end, 300) for start, end in itertools.pairwise(ends)]
    distance = nearest(np.vstack(pieces), 48, 64)
    expected = np.exp(-(distance**2) / (2 * sigma**2)) * (distance < 3 * sigma)
    assert np.abs(drawn - expected)[np.abs(distance - 3 * sigma) > 1e-3].max() < 1e-3


def test_a_straight_line_has_the_profile_of_the_paper_and_is_zero_three_sigma_away():
    """Along column 5: distances 0, 1, 2 and, from 3 on, nothing; x is the column."""
    drawn = draw([Contour((0, 1))], [[[5.0, -20.0], [5.0, 80.0]]], height=10, width=12)[0]
    row = torch.exp(-0.5 * torch.tensor([0.0, 1.0, 2.0]) ** 2)
    assert torch.allclose(drawn[:, 5:8], row.expand(10, 3), atol=1e-6)
    assert torch.allclose(drawn[:, 3:6], row.flip(0).expand(10, 3), atol=1e-6)
    assert not drawn[:, :3].any() and not drawn[:, 8:].any()


def test_lines_merge_by_the_highest_value():
    landmarks = np.random.default_rng(1).random((3, 6, 2)) * 40
    one, two = Contour((0, 1, 2)), Contour((3, 4, 5))
    both = draw([one, two], landmarks)
    assert torch.equal(both, torch.maximum(draw([one], landmarks), draw([two], landmarks)))


def test_landmarks_on_one_spot_are_a_dot():
    drawn = draw([OPEN], np.full((1, 5, 2), 7.0), height=16, width=16)[0]
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    squared = (x - 7) ** 2 + (y - 7) ** 2
    assert torch.allclose(drawn, torch.exp(-squared / 2).where(squared < 9, 0), atol=1e-6)


def test_a_landmark_may_come_twice_in_a_contour():
    landmarks = np.array([[[4.0, 4.0], [20.0, 4.0], [12.0, 20.0]]])
    there_and_back = draw([Contour((0, 1, 2, 0))], landmarks)
    assert (there_and_back[0, 4, 4] - 1).abs() < 1e-6


def test_pieces_stay_close_to_the_curve_on_faces_as_large_as_the_map(landmarks_of_synthetic_faces):
    off = []
    for name, faces in landmarks_of_synthetic_faces.items():
        markup = schema.get(name)
        for contour in markup.boundary("full"):
            weights = curves.curve_weights(contour).numpy()
            for face in faces:
                ends = weights @ face[list(contour.indices)]
                spans = len(contour.indices) - (not contour.closed)
                dense = hermite(face[list(contour.indices)], contour.closed, 10 * (len(ends) - 1) // spans)
                middles, true = (ends[:-1] + ends[1:]) / 2, dense[5::10]
                off.extend(np.linalg.norm(middles - true, axis=1))
    # In cells. The outer tips of the brows are sharp; on real faces of WFLW and 300W: 0.11 and 0.07, at most 0.31.
    assert np.percentile(off, 99) < 0.13 and max(off) < 0.4


@pytest.fixture(scope="module")
def landmarks_of_synthetic_faces():
    """For 68 and 98 landmarks: faces whose landmarks span a map of 64 cells."""
    from wingmark.data.sources import SyntheticFaces

    spanning = {}
    for name in ("ibug68", "wflw98"):
        faces = SyntheticFaces(schema=name, train=20, val=1, test=1).faces("train")
        landmarks = [face.landmarks_image for face in faces]
        spanning[name] = [63 * (points - points.min(0)) / np.ptp(points, axis=0).max() for points in landmarks]
    return spanning


@pytest.mark.parametrize("name", ["ibug68", "wflw98", "lapa106", "cofw29", "aflw19"])
@pytest.mark.parametrize("boundary", ["paper", "full"])
def test_every_markup_with_contours_has_both_boundaries(name, boundary):
    markup = schema.get(name)
    pieces = curves.piece_weights(markup.boundary(boundary), markup.num_landmarks)
    assert pieces.shape[0] == 2 and pieces.shape[2] == markup.num_landmarks
    assert torch.allclose(pieces.sum(-1), torch.ones(()), atol=1e-6)
