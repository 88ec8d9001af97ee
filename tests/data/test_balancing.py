"""Pose-based data balancing against the published steps, and against poses that are known."""

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from wingmark import schema
from wingmark.data import PoseBalancing
from wingmark.data.sources import SyntheticFaces
from wingmark.protocol import Protocol
from wingmark.types import Box, Face

TIGHT = Protocol("clouds/box/v1", normalizer="box_size")
EVERYTHING = 10**6  # so many repeats as never come


def turn(angle: np.ndarray, first: int, second: int) -> np.ndarray:
    """Rotation matrices (N, 3, 3) in the plane of two axes, from the second to the first."""
    matrix = np.tile(np.eye(3), (len(angle), 1, 1))
    matrix[:, first, first] = matrix[:, second, second] = np.cos(angle)
    matrix[:, first, second], matrix[:, second, first] = np.sin(angle), -np.sin(angle)
    return matrix


def cloud_faces(name: str, count: int, seed: int, yaw: float = 15.0, pitch: float = 5.0, grimace: float = 0.03):
    """Faces made of a symmetric cloud of points, nose in front, turned at random, in photos of any size.

    yaw, pitch: standard deviations in degrees; grimace: of a symmetric movement of each landmark. Returns the faces
    and their yaw in radians, positive where the nose (the middle, z > 0) goes to larger x.
    """
    markup, random = schema.get(name), np.random.default_rng(seed)
    flip = markup.flip
    cloud = random.uniform([-1, -1.2, -0.6], [1, 1.2, 0.1], (markup.num_landmarks, 3))
    cloud[flip == np.arange(len(flip)), 2] += 0.7
    moved = random.normal(size=cloud.shape)
    cloud, moved = ((points + points[flip] * [-1, 1, 1]) / 2 for points in (cloud, moved))
    angle, nod = np.radians(yaw * random.normal(size=count)), np.radians(pitch * random.normal(size=count))
    points = cloud + grimace * random.normal(size=(count, 1, 1)) * moved
    points = points + 0.01 * random.normal(size=points.shape)
    points = np.einsum("nij,njk,nlk->nli", turn(angle, 0, 2), turn(nod, 1, 2), points)
    roll = turn(np.radians(8 * random.normal(size=count)), 0, 1)
    points = np.einsum("nij,nlj->nli", roll, points)[..., :2]
    points = points * np.exp(random.normal(size=(count, 1, 1))) * 80 + random.uniform(0, 500, (count, 1, 2))
    return [face(landmarks, number) for number, landmarks in enumerate(points)], angle


def face(landmarks: np.ndarray, number: int = 0, valid: np.ndarray | None = None, **fields) -> Face:
    valid = np.ones(len(landmarks), bool) if valid is None else valid
    return Face(f"{number}.png#0", Path(f"{number}.png"), landmarks, f"{number}.png", valid=valid, **fields)


def published_indices(faces: list[Face], bins: int, axis: int) -> list[int]:
    """The steps of the authors' pdb.m, one shape at a time; with the mended faults only where they would show.

    Faces are brought into the crop of TIGHT by arithmetic of its own.
    """
    shapes = []
    for one in faces:
        low, high = one.landmarks_image.min(0), one.landmarks_image.max(0)
        shapes.append((one.landmarks_image - (low + high) / 2) / (1.25 * (high - low).max()))
    reference = np.mean(shapes, axis=0)
    aligned = []
    for shape in shapes:
        x, y = reference - reference.mean(0), shape - shape.mean(0)
        left, values, right = np.linalg.svd(x.T @ y)
        scale = values.sum() / (y**2).sum()
        aligned.append((scale * y @ (left @ right).T + reference.mean(0)).T.ravel())  # all x, then all y
    centered = np.array(aligned) - np.mean(aligned, axis=0)
    vectors = np.linalg.eigh(np.cov(centered.T))[1][:, ::-1]
    coefficient = abs(centered @ vectors[:, axis - 1])
    edges = np.linspace(0, coefficient.max(), bins + 1)
    aim = np.histogram(coefficient, bins)[0].max()
    indices = []
    for low, high in pairwise(edges):
        (chosen,) = np.nonzero((coefficient >= low) & (coefficient <= high))
        if len(chosen):
            indices += max((2 * aim + len(chosen)) // (2 * len(chosen)), 1) * chosen.tolist()  # halves up
    return sorted(indices)


@pytest.mark.parametrize("bins", [4, 5, 6, 7, 8, 9])
@pytest.mark.parametrize(("name", "axis"), [("aflw19", 2), ("ibug68", 1)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_repeats_are_those_of_the_published_code(name, axis, bins, seed):
    faces, _ = cloud_faces(name, 300, seed)
    balancing = PoseBalancing(bins=bins, axis=axis, max_repeats=EVERYTHING)
    poses = balancing.poses(faces, schema.get(name), TIGHT)
    repeats = poses.repeats
    assert repeats.dtype == np.int64 and repeats.max() > 3
    assert np.repeat(np.arange(300), repeats).tolist() == published_indices(faces, bins, axis)
    assert poses.faces_by_bin.sum() == 300 and (poses.faces_by_bin * poses.repeats_by_bin).sum() >= repeats.sum()


def test_axis_decides():
    faces, _ = cloud_faces("ibug68", 200, 0)
    first, second = (published_indices(faces, 9, axis) for axis in (1, 2))
    assert first != second


@pytest.mark.parametrize("name", ["ibug68", "wflw98", "cofw29", "aflw19"])
@pytest.mark.parametrize("distractor", [{"pitch": 20.0}, {"grimace": 0.3}])
def test_auto_finds_yaw_among_larger_movements(name, distractor):
    faces, yaw = cloud_faces(name, 400, 5, yaw=10.0, **distractor)
    poses = PoseBalancing().poses(faces, schema.get(name), TIGHT)
    assert poses.axis > 1  # something else moves more
    assert np.corrcoef(poses.pose, yaw)[0, 1] > 0.95
    assert poses.yaw_correlations[poses.axis - 1] > 0.95


@pytest.mark.parametrize("name", ["ibug68", "wflw98"])
def test_auto_finds_the_yaw_of_drawn_faces(name):
    source = SyntheticFaces(name, train=200)
    poses = PoseBalancing().poses(source.faces("train"), source.schema, TIGHT)
    heads, *_ = source._draw("train", range(200))
    assert (
        np.corrcoef(poses.pose, heads.yaw[:, 0])[0, 1] > 0.97
    )  # of angles, to 75 degrees; a shape goes with their sine
    nose = 30 if name == "ibug68" else 54
    sides = poses.components[poses.axis - 1][[0, source.schema.flip[0]], 0].mean()
    assert poses.components[poses.axis - 1][nose, 0] > sides + 0.05  # to the right of the image


def test_components_and_correlations_are_what_they_are_called():
    faces, _ = cloud_faces("cofw29", 100, 0)
    poses = PoseBalancing().poses(faces, schema.get("cofw29"), TIGHT)
    flat = poses.components.reshape(len(poses.components), -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-9)
    np.testing.assert_allclose(poses.coefficients.mean(0), 0, atol=1e-12)
    assert poses.shares.sum() == pytest.approx(1) and (np.diff(poses.shares) <= 0).all()
    assert (poses.yaw_correlations**2).sum() == pytest.approx(1)  # yaw is a sum of uncorrelated coefficients


def test_without_middle_landmarks_the_largest_entry_is_positive():
    pairs = schema.LandmarkSchema("pairs", 4, (1, 0, 3, 2))
    random = np.random.default_rng(0)
    base = np.array([(0, 0), (100, 0), (20, 80), (80, 80)])
    faces = [face(base + 10 * random.normal(size=(4, 2)), number) for number in range(20)]
    for component in PoseBalancing().poses(faces, pairs, TIGHT).components:
        assert component.flat[abs(component).argmax()] > 0


@pytest.mark.parametrize("signed", [False, True])
def test_mirrored_faces_are_the_same_poses_on_the_other_side(signed):
    faces, _ = cloud_faces("ibug68", 150, 3)
    markup, balancing = schema.get("ibug68"), PoseBalancing(signed=signed)
    mirrored = [
        dataclasses.replace(one, landmarks_image=one.landmarks_image[markup.flip] * [-1, 1] + [639, 0]) for one in faces
    ]
    poses, other = (balancing.poses(some, markup, TIGHT) for some in (faces, mirrored))
    np.testing.assert_allclose(other.pose, -poses.pose, atol=1e-10)
    assert other.axis == poses.axis
    order = slice(None, None, -1 if signed else None)
    assert other.faces_by_bin[order].tolist() == poses.faces_by_bin.tolist()
    assert other.repeats.tolist() == poses.repeats.tolist()


def test_signed_tells_left_from_right():
    faces, yaw = cloud_faces("ibug68", 400, 3)
    faces = [one for one, angle in zip(faces, yaw, strict=True) if angle > -0.1]  # hardly any turns left
    signed, merged = (PoseBalancing(signed=s).poses(faces, schema.get("ibug68"), TIGHT) for s in (True, False))
    assert (signed.edges[0], signed.edges[-1]) == (signed.pose.min(), signed.pose.max())
    assert (merged.edges[0], merged.edges[-1]) == (0, abs(merged.pose).max())
    assert signed.faces_by_bin.tolist() == np.histogram(signed.pose, 9)[0].tolist()
    assert merged.faces_by_bin.tolist() == np.histogram(abs(merged.pose), 9, (0, abs(merged.pose).max()))[0].tolist()


def test_a_face_on_an_edge_counts_once():
    edges, faces, repeats_by_bin, repeats = PoseBalancing(bins=4).count(np.array([0.0, -1, 1, 2, 3, 3, -4]))
    assert edges.tolist() == [0, 1, 2, 3, 4]
    assert faces.tolist() == [1, 2, 1, 3]
    assert repeats_by_bin.tolist() == [3, 2, 3, 1]  # 3/2 is rounded up
    assert repeats.tolist() == [3, 2, 2, 3, 1, 1, 1]


def test_an_empty_bin_stays_empty():
    _, faces, repeats_by_bin, repeats = PoseBalancing(bins=4).count(np.array([0.1, 0.2, 0.3, 0.4, 4.0, 3.9]))
    assert faces.tolist() == [4, 0, 0, 2] and repeats_by_bin.tolist() == [1, 0, 0, 2]
    assert repeats.tolist() == [1, 1, 1, 1, 2, 2]


def test_no_face_comes_more_often_than_allowed():
    coefficient = np.array([*np.linspace(0.01, 0.9, 50), 4.0])
    assert PoseBalancing(bins=4, max_repeats=EVERYTHING).count(coefficient)[3][-1] == 50
    assert PoseBalancing(bins=4).count(coefficient)[3][-1] == 20
    assert PoseBalancing(bins=4, max_repeats=3).count(coefficient)[3].tolist() == [1] * 50 + [3]


def test_no_face_is_lost():
    """Where all poses are far from 0, the aim is far below the number of faces in the last bin: 5/20 rounds to 0."""
    _, faces, _, repeats = PoseBalancing(bins=4).count(np.linspace(90, 100, 20))
    assert faces.tolist() == [0, 0, 0, 20] and repeats.tolist() == [1] * 20


@pytest.mark.parametrize("count", [2, 3, 10])
def test_fewer_faces_than_coordinates(count):
    faces, _ = cloud_faces("ibug68", count, 0)
    poses = PoseBalancing().poses(faces, schema.get("ibug68"), TIGHT)
    assert len(poses.components) == count - 1 and poses.faces_by_bin.sum() == count
    assert (poses.repeats >= 1).all()


def test_photos_of_any_size_count_alike():
    faces, _ = cloud_faces("ibug68", 60, 0)
    larger = [dataclasses.replace(one, landmarks_image=one.landmarks_image * (1 + i)) for i, one in enumerate(faces)]
    poses, other = (PoseBalancing().poses(some, schema.get("ibug68"), TIGHT) for some in (faces, larger))
    np.testing.assert_allclose(other.coefficients, poses.coefficients, atol=1e-10)


def test_landmarks_that_are_not_valid_lie_where_the_mean_has_them():
    faces, yaw = cloud_faces("aflw19", 50, 0, pitch=0)
    boxes = {"dataset": Box(300, 300, 500, 500)}
    random = np.random.default_rng(1)
    for number, one in enumerate(faces):
        valid = random.random(19) > 0.2
        faces[number] = face(np.where(valid[:, None], one.landmarks_image, np.nan), number, valid, boxes=boxes)
    protocol = Protocol("clouds/dataset/v1", box="dataset", margin=1.0, normalizer="box_size")
    poses = PoseBalancing(axis=1).poses(faces, schema.get("aflw19"), protocol)

    shapes = np.stack([(one.landmarks_image - 300) / 500 for one in faces])
    reference = np.nanmean(shapes, axis=0)
    for number, one in enumerate(faces):  # rotation, scale and shift by linear least squares
        (x, y), (u, v) = shapes[number][one.valid].T, reference[one.valid].T
        zero, unit = np.zeros_like(x), np.ones_like(x)
        equations = np.vstack([np.stack([x, -y, unit, zero], 1), np.stack([y, x, zero, unit], 1)])
        a, b, c, d = np.linalg.lstsq(equations, np.concatenate([u, v]), rcond=None)[0]
        x, y = shapes[number].T
        shapes[number] = np.stack([a * x - b * y + c, b * x + a * y + d], 1)
    mean = np.nanmean(shapes, axis=0)
    deviations = np.nan_to_num(shapes - mean).reshape(50, -1)
    np.testing.assert_allclose(poses.mean, mean, atol=1e-10)
    expected = deviations @ poses.components[0].ravel()
    np.testing.assert_allclose(poses.pose, expected, atol=1e-10)
    assert np.var(expected) == pytest.approx(np.linalg.svd(deviations)[1][0] ** 2 / 50)
    assert abs(np.corrcoef(poses.pose, yaw)[0, 1]) > 0.8


FACES = cloud_faces("five", 6, 0)[0]
NO_NOSE = [face(one.landmarks_image, i, np.arange(5) != 2) for i, one in enumerate(FACES)]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: PoseBalancing(bins=1), r"bins and max_repeats are 2 or more.*got PoseBalancing\(bins=1"),
        (lambda: PoseBalancing(max_repeats=1), "bins and max_repeats are 2 or more"),
        (lambda: PoseBalancing(axis=0), "axis is auto or a component counted from 1"),
        (lambda: poses_of(FACES[:1]), "data.balancing needs training faces of different shapes, got 1, all alike"),
        (lambda: poses_of(FACES[:1] * 3), "got 3, all alike"),
        (lambda: poses_of(FACES[:3], axis=3), "data.balancing.axis is 3, but the shapes have only 2 components"),
        (lambda: poses_of(NO_NOSE), r"five landmarks \[2\] are valid in none; set it to null"),
        (lambda: poses_of([*FACES, one_landmark()]), "shape 6, counted from 0, has no two valid landmarks"),
    ],
)
def test_refusals(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def poses_of(faces: list[Face], **settings):
    return PoseBalancing(**settings).poses(faces, schema.get("five"), Protocol("all", "photo", normalizer="box_size"))


def one_landmark() -> Face:
    return face(FACES[0].landmarks_image, 6, np.arange(5) == 2, boxes={"photo": Box(50, 50, 100, 100)})


for one in FACES + NO_NOSE:
    one.boxes["photo"] = Box(50, 50, 100, 100)
