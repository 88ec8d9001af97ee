"""The picture of pose-based data balancing holds what it says."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from wingmark.data import LandmarkDataModule, PoseBalancing
from wingmark.data.sources import SyntheticFaces
from wingmark.evaluation import poses as picture


@pytest.fixture(scope="module")
def data() -> LandmarkDataModule:
    return LandmarkDataModule(SyntheticFaces(train=60, val=1, test=1), "synthetic/inter-ocular/v1")


@pytest.mark.parametrize("signed", [False, True])
def test_bars_are_the_faces_of_the_bins_before_and_after(data, signed):
    poses = data.poses(PoseBalancing(bins=5, signed=signed))
    axes = Figure().subplots()
    picture._draw_histogram(axes, poses)
    after, before = (np.array([bar.get_height() for bar in bars]) for bars in axes.containers)
    if not signed:  # a bin is a bar on each side, and the sides are as they are
        after, before = (side[5:] + side[4::-1] for side in (after, before))
    assert before.tolist() == poses.faces_by_bin.tolist()
    assert after.tolist() == (poses.faces_by_bin * poses.repeats_by_bin).tolist()
    assert after.sum() == poses.repeats.sum() > before.sum() == 60


def test_shapes_are_the_mean_moved_along_the_component(data):
    poses = data.poses(PoseBalancing())
    for component in (0, 2):
        shapes = picture._shapes(poses, component)
        row = picture._draw_shapes(Figure(), poses, component, shapes, data.schema)
        for axes, steps in zip(row, (-2.5, -1.25, 0, 1.25, 2.5), strict=True):
            drawn = np.asarray(axes.collections[0].get_offsets())
            coefficients = np.zeros(len(poses.components))
            coefficients[component] = steps * poses.coefficients[:, component].std()
            expected = poses.mean + np.tensordot(coefficients, poses.components, 1)
            np.testing.assert_allclose(drawn, expected, atol=1e-12)
