"""Frames: every map against independent arithmetic, and against pictures of a dot."""

import cmath
import math

import numpy as np
import pytest
import torch

from wingmark import geometry
from wingmark.types import Box

SIZE = 96
BOX = Box(x=210.3, y=150.8, width=120.0, height=90.0, roll=12.0)
POSES = [
    {},
    {"rotation": 30.0},
    {"rotation": -140.0, "scale": 1.2},
    {"shift": (0.08, -0.05)},
    {"flip": True},
    {"rotation": 25.0, "scale": 0.85, "shift": (-0.06, 0.04), "flip": True},
]
poses = pytest.mark.parametrize("pose", POSES, ids=lambda pose: "-".join(pose) or "upright")


def crop_point_to_image(point, box, size, margin=1.0, rotation=0.0, scale=1.0, shift=(0.0, 0.0), flip=False):
    """The documented crop with complex numbers, one point at a time."""
    side = max(box.width, box.height) * margin * scale
    from_center = complex(point[0] - (size - 1) / 2, point[1] - (size - 1) / 2) * side / size
    if flip:
        from_center = complex(-from_center.real, from_center.imag)
    turned = from_center * cmath.exp(1j * math.radians(box.roll + rotation))
    return [turned.real + box.x + shift[0] * side, turned.imag + box.y + shift[1] * side]


def dot(height, width, center, sigma):
    """A picture of a round dot, (H, W, 3) float32."""
    y, x = np.mgrid[:height, :width]
    gray = np.exp(-((x - center[0]) ** 2 + (y - center[1]) ** 2) / (2 * sigma**2))
    return np.repeat(gray[..., None], 3, axis=2).astype(np.float32)


def centroid(picture):
    gray = picture[..., 0].astype(np.float64)
    y, x = np.mgrid[: gray.shape[0], : gray.shape[1]]
    return np.array([(x * gray).sum(), (y * gray).sum()]) / gray.sum()


def test_tight_box():
    box = geometry.tight_box(np.array([[3.0, 8.0], [-1.0, 4.0], [2.0, 5.0]]))
    assert box == Box(x=1.0, y=6.0, width=4.0, height=4.0)


@poses
def test_crop_to_image_matches_the_formula_point_by_point(pose):
    crop = np.random.default_rng(0).uniform(-10, SIZE + 10, (20, 2))
    expected = [crop_point_to_image(point, BOX, SIZE, 1.25, **pose) for point in crop]
    matrix = geometry.crop_to_image(BOX, SIZE, 1.25, **pose)
    assert matrix.dtype == np.float64
    np.testing.assert_allclose(geometry.apply(matrix, crop), expected, rtol=0, atol=1e-10)


def test_crop_edges_are_box_edges():
    """The crop spans [-0.5, size - 0.5]: half a pixel too much anywhere turns this red."""
    box = Box.from_corners(99.5, 49.5, 299.5, 249.5)  # pixels 100..299 and 50..249
    matrix = geometry.crop_to_image(box, 100)
    np.testing.assert_allclose(
        geometry.apply(matrix, np.array([[-0.5, -0.5], [99.5, 99.5]])), [[99.5, 49.5], [299.5, 249.5]], atol=1e-12
    )


def test_a_quarter_turn_clockwise_sends_right_to_down():
    matrix = geometry.crop_to_image(Box(50, 50, 10, 10), 10, rotation=90.0)
    right = geometry.apply(matrix, np.array([[4.5, 4.5], [5.5, 4.5]]))
    np.testing.assert_allclose(right[1] - right[0], [0.0, 1.0], atol=1e-12)


def test_a_flipped_crop_is_the_mirror_of_the_crop():
    points = np.random.default_rng(1).uniform(0, SIZE, (9, 2))
    mirrored = np.column_stack([SIZE - 1 - points[:, 0], points[:, 1]])
    plain, flipped = (geometry.crop_to_image(BOX, SIZE, rotation=20.0, flip=flip) for flip in (False, True))
    np.testing.assert_allclose(geometry.apply(flipped, mirrored), geometry.apply(plain, points), atol=1e-10)


@pytest.mark.parametrize(
    "box",
    [
        Box(0, 0, 0, 5),
        Box(0, 0, 5, -1),
        Box(math.nan, 0, 5, 5),
        Box(0, math.inf, 5, 5),
        Box(0, 0, math.nan, 5),
        Box(0, 0, math.inf, 5),
        Box(0, 0, 5, 5, roll=math.nan),
    ],
    ids=str,
)
def test_a_box_without_area_or_with_broken_numbers_is_refused(box):
    with pytest.raises(ValueError, match="finite numbers and positive sides, got Box"):
        geometry.crop_to_image(box, SIZE)


@poses
def test_invert_and_compose_bring_points_back(pose):
    matrix = geometry.crop_to_image(BOX, SIZE, 1.25, **pose)
    points = np.random.default_rng(2).uniform(0, 400, (30, 2))
    there = geometry.apply(geometry.invert(matrix), points)
    np.testing.assert_allclose(geometry.apply(matrix, there), points, rtol=0, atol=1e-9)
    np.testing.assert_allclose(geometry.compose(matrix, geometry.invert(matrix)), np.eye(2, 3), atol=1e-12)


def test_compose_applies_inner_first():
    double, right = np.array([[2.0, 0, 0], [0, 2, 0]]), np.array([[1.0, 0, 10], [0, 1, 0]])
    assert geometry.apply(geometry.compose(double, right), np.array([[1.0, 1.0]])).tolist() == [[22.0, 2.0]]


def test_invert_refuses_a_flat_map():
    with pytest.raises(np.linalg.LinAlgError):
        geometry.invert(np.array([[1.0, 2, 0], [2, 4, 0]]))


def test_apply_batched_torch_equals_numpy_one_by_one_also_in_mixed_precision():
    matrices = np.stack([geometry.crop_to_image(BOX, SIZE, 1.25, **pose) for pose in POSES])
    points = np.random.default_rng(3).uniform(0, 400, (len(POSES), 7, 2))
    expected = [geometry.apply(matrix, face) for matrix, face in zip(matrices, points, strict=True)]
    np.testing.assert_array_equal(geometry.apply(matrices, points), expected)
    np.testing.assert_allclose(geometry.apply(torch.tensor(matrices), torch.tensor(points)), expected, atol=1e-10)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        single = geometry.apply(torch.tensor(matrices).float(), torch.tensor(points).float())
    np.testing.assert_allclose(single, expected, rtol=0, atol=1e-3)


def lines_of(points: np.ndarray) -> np.ndarray:
    """Rows of the linear equations for (a, b, c, d) in (a x - b y + c, b x + a y + d): all x, then all y."""
    (x, y), zero, one = points.T, np.zeros(len(points)), np.ones(len(points))
    return np.vstack([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])


def test_procrustes_is_the_least_squares_fit():
    random = np.random.default_rng(7)
    shapes, reference = random.normal(size=(20, 9, 2)) * 50 + 300, random.normal(size=(9, 2))
    valid = random.random((20, 9)) < 0.7
    valid[:, :2] = True
    shapes[~valid] = np.nan
    matrices = geometry.procrustes(shapes, reference, valid)
    assert matrices.shape == (20, 2, 3) and matrices.dtype == np.float64
    for matrix, shape, known in zip(matrices, shapes, valid, strict=True):
        a, b, c, d = np.linalg.lstsq(lines_of(shape[known]), reference[known].T.ravel(), rcond=None)[0]
        np.testing.assert_allclose(matrix, [[a, -b, c], [b, a, d]], rtol=1e-9, atol=1e-9)


def test_procrustes_finds_the_map_back_but_never_a_mirror():
    """The crop's map, without and with flip: the mirrored face is not laid onto the upright one."""
    reference = np.random.default_rng(8).uniform(0, 96, (12, 2))
    straight, flipped = (
        geometry.crop_to_image(BOX, SIZE, 1.25, rotation=70.0, shift=(0.3, 0.1), flip=flip) for flip in (False, True)
    )
    shapes = np.stack([geometry.apply(straight, reference), geometry.apply(flipped, reference)])
    matrices = geometry.procrustes(shapes, reference, np.ones((2, 12), bool))
    np.testing.assert_allclose(matrices[0], geometry.invert(straight), rtol=0, atol=1e-9)
    assert (np.linalg.det(matrices[:, :, :2]) > 0).all()
    assert np.abs(geometry.apply(matrices, shapes)[1] - reference).max() > 10


@pytest.mark.parametrize("shape", [[(5.0, 5.0), (np.nan, 5.0), (7.0, 7.0)], [(5.0, 5.0), (5.0, 5.0), (7.0, 7.0)]])
def test_procrustes_refuses_a_shape_without_extent(shape):
    valid = np.array([[True, True, True], [True, ~np.isnan(shape[1][0]), False]])
    shapes = np.array([[(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)], shape])
    with pytest.raises(ValueError, match="shape 1, counted from 0, has no two valid landmarks in different places"):
        geometry.procrustes(shapes, shapes[0], valid)


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_shrink_averages_blocks(factor):
    image = np.random.default_rng(4).integers(0, 256, (6 * factor, 5 * factor, 3), np.uint8)
    shrunk, _ = geometry.shrink(image, factor)
    expected = image.reshape(6, factor, 5, factor, 3).mean((1, 3))
    np.testing.assert_allclose(shrunk, expected, rtol=0, atol=0.501)


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_shrink_keeps_an_incomplete_block_and_maps_back(factor):
    height, width, center = 40 * factor + 1, 50 * factor + 1, np.array([23.3, 17.9]) * factor
    shrunk, shrunk_to_image = geometry.shrink(dot(height, width, center, 2.5 * factor), factor)
    assert shrunk.shape == (math.ceil(height / factor), math.ceil(width / factor), 3)
    np.testing.assert_allclose(geometry.apply(shrunk_to_image, centroid(shrunk)[None])[0], center, rtol=0, atol=1e-3)


@poses
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_a_dot_is_drawn_where_the_map_says(factor, pose):
    """Centroid of the drawn dot in the crop against the point mapped by the crop matrix alone."""
    height, width = 100 * factor + 1, 120 * factor + 2  # neither a multiple of the factor
    center = np.array([0.52 * width, 0.47 * height])
    image = dot(height, width, center, 2.5 * factor)
    box = Box(width / 2, height / 2, 60 * factor, 50 * factor, roll=12.0)
    crop_to_image = geometry.crop_to_image(box, SIZE, 1.25, **pose)
    expected = geometry.apply(geometry.invert(crop_to_image), center[None])[0]
    shrunk, shrunk_to_image = geometry.shrink(image, factor)
    in_two_steps = geometry.warp(shrunk, geometry.compose(geometry.invert(shrunk_to_image), crop_to_image), SIZE)
    for crop in (in_two_steps, geometry.warp(image, crop_to_image, SIZE)):
        np.testing.assert_allclose(centroid(crop), expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("step", [2.5, 4.0, 8.0])
def test_warp_of_a_big_face_does_not_alias(step):
    """One-pixel stripes become even gray; sampling them every `step` pixels would give black and white."""
    image = np.zeros((400, 400, 3), np.uint8)
    image[:, ::2] = 200
    crop = geometry.warp(image, np.array([[step, 0, 20.3], [0, step, 20.3]]), 40)
    np.testing.assert_allclose(crop.astype(float), 100, rtol=0, atol=1)


def test_warp_is_black_outside_and_copies_where_pixels_coincide():
    image = np.random.default_rng(5).integers(1, 256, (20, 30, 3), np.uint8)
    crop = geometry.warp(image, np.array([[1.0, 0, 15], [0, 1, -5]]), 20)
    np.testing.assert_array_equal(crop[5:, :15], image[:15, 15:])
    assert not crop[:5].any() and not crop[:, 15:].any()


def test_warp_is_bilinear():
    """Half a pixel to the right is the mean of two neighbors."""
    image = np.random.default_rng(6).random((20, 20, 3), np.float32)
    crop = geometry.warp(image, np.array([[1.0, 0, 0.5], [0, 1, 0]]), 19)
    np.testing.assert_allclose(crop, (image[:19, :19] + image[:19, 1:]) / 2, rtol=0, atol=1e-6)


@pytest.mark.parametrize("stride", [1, 2, 4, 2.5])
def test_cells_and_pixels(stride):
    """A cell covers `stride` pixels: its center is their mean; the edges of map and crop coincide."""
    cells = np.arange(8)
    pixels = np.array([np.mean(np.linspace(c * stride - 0.5, (c + 1) * stride - 0.5, 1001)) for c in cells])
    np.testing.assert_allclose(geometry.cells_to_pixels(cells, stride), pixels, atol=1e-12)
    np.testing.assert_allclose(geometry.pixels_to_cells(pixels, stride), cells, atol=1e-12)
    assert geometry.cells_to_pixels(-0.5, stride) == -0.5
    assert geometry.cells_to_pixels(7.5, stride) == 8 * stride - 0.5


def test_cells_to_pixels_at_stride_four():
    assert [geometry.cells_to_pixels(cell, 4) for cell in (0, 1, 63)] == [1.5, 5.5, 253.5]


def test_fractions_span_the_crop():
    assert [geometry.fractions_to_pixels(f, 128) for f in (-0.5, 0.0, 0.5)] == [-0.5, 63.5, 127.5]


def test_inside_includes_the_border_pixels_whole():
    points = np.array(
        [[-0.5, -0.5], [29.5, 19.5], [-0.51, 5], [29.51, 5], [5, -0.51], [5, 19.51], [20, 25], [np.nan, 5]]
    )
    assert geometry.inside(points, width=30, height=20).tolist() == [True, True] + [False] * 6
    assert geometry.inside(torch.tensor(points), width=30, height=20).tolist() == [True, True] + [False] * 6


def pictures():
    """Noise and a smooth picture, (311, 402, 3) uint8."""
    y, x = np.mgrid[:311, :402]
    smooth = np.stack([127 + 120 * np.sin(x / 19 + channel) * np.cos(y / 23) for channel in range(3)], -1)
    return {
        "noise": np.random.default_rng(7).integers(0, 256, smooth.shape, np.uint8),
        "smooth": smooth.astype(np.uint8),
    }


def as_batch(*images):
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def maps(side, count=8):
    """Crops turned, mirrored and in part outside of `pictures`, whose sides are `side` pixels."""
    random = np.random.default_rng(8)
    boxes = [Box(*random.uniform(-20, 420, 2), side, side * 0.8) for _ in range(count)]
    return np.stack(
        [
            geometry.crop_to_image(box, 64, rotation=random.uniform(-180, 180), flip=i % 2 == 1)
            for i, box in enumerate(boxes)
        ]
    )


@pytest.mark.parametrize("side", [20, 64, 120, 180, 220, 300, 450, 600])  # 0.3 to 9 pixels a step: averaged by 1 to 5
@pytest.mark.parametrize("name", ["smooth", "noise"])
def test_warp_of_tensors_equals_that_of_arrays(side, name):
    image, to_image = pictures()[name], maps(side)
    expected = as_batch(*(geometry.warp(image, matrix, 64) for matrix in to_image)).int()
    found = geometry.warp(as_batch(*[image] * len(to_image)), torch.from_numpy(to_image), 64)
    assert found.dtype == torch.uint8 and found.shape == (8, 3, 64, 64)
    difference = (found.int() - expected).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.02  # 1.3 % where 4 x 4 pixels are averaged, below 0.1 % elsewhere


def test_warp_of_tensors_is_bilinear_and_black_outside():
    """Against the textbook formula in float64, one pixel at a time."""
    image, to_image = pictures()["noise"][:40, :50], geometry.crop_to_image(Box(44, 4, 22, 22), 24, rotation=33.0)
    found = geometry.warp(as_batch(image), torch.from_numpy(to_image)[None], 24)[0].permute(1, 2, 0).double().numpy()
    assert (found == 0).all(2).any() and found.any()
    for row in range(24):
        for column in range(24):
            x, y = geometry.apply(to_image, np.array([[column, row]], float))[0]
            left, top = math.floor(x), math.floor(y)
            value = np.zeros(3)
            for c, r in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
                if 0 <= c < 50 and 0 <= r < 40:
                    value += image[r, c] * (1 - abs(x - c)) * (1 - abs(y - r))
            np.testing.assert_allclose(found[row, column], value, rtol=0, atol=0.501)


@poses
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_a_dot_is_drawn_where_the_map_says_by_tensors(factor, pose):
    height, width = 100 * factor + 1, 120 * factor + 2
    center = np.array([0.52 * width, 0.47 * height])
    image = np.rint(255 * dot(height, width, center, 2.5 * factor)).astype(np.uint8)
    box = Box(width / 2, height / 2, 60 * factor, 50 * factor, roll=12.0)
    crop_to_image = geometry.crop_to_image(box, SIZE, 1.25, **pose)
    crop = geometry.warp(as_batch(image), torch.from_numpy(crop_to_image)[None], SIZE)[0]
    expected = geometry.apply(geometry.invert(crop_to_image), center[None])[0]
    np.testing.assert_allclose(centroid(crop.permute(1, 2, 0).numpy()), expected, rtol=0, atol=0.02)


def test_crops_of_a_batch_do_not_know_each_other_nor_mixed_precision():
    image, to_image = as_batch(*pictures().values()), torch.from_numpy(np.concatenate([maps(40, 1), maps(500, 1)]))
    together = geometry.warp(image, to_image, 64)
    for one in range(2):
        assert torch.equal(geometry.warp(image[one : one + 1], to_image[one : one + 1], 64)[0], together[one])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(geometry.warp(image, to_image, 64), together)


def test_maps_of_tensors_are_composed_and_inverted_like_those_of_arrays():
    outer, inner = maps(100, 6), maps(30, 6)
    composed = [geometry.compose(a, b) for a, b in zip(outer, inner, strict=True)]
    inverted = [geometry.invert(matrix) for matrix in outer]
    np.testing.assert_array_equal(geometry.compose(outer, inner), composed)
    np.testing.assert_array_equal(geometry.invert(outer), inverted)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outer, inner = torch.from_numpy(outer), torch.from_numpy(inner)
        np.testing.assert_allclose(geometry.compose(outer, inner), composed, rtol=0, atol=1e-10)
        np.testing.assert_allclose(geometry.invert(outer), inverted, rtol=0, atol=1e-10)


EYES = ((0, 1), (2,))


def level_box(landmarks):
    """The documented box with complex numbers, one face at a time."""
    points = [complex(x, y) for x, y in landmarks]
    between = points[2] - (points[0] + points[1]) / 2
    direction = between / abs(between)
    level = [point / direction for point in points]
    left, right = min(p.real for p in level), max(p.real for p in level)
    top, bottom = min(p.imag for p in level), max(p.imag for p in level)
    center = complex(left + right, top + bottom) / 2 * direction
    return [center.real, center.imag, right - left, bottom - top, math.degrees(cmath.phase(direction))]


def test_eye_level_boxes_match_a_loop():
    landmarks = np.random.default_rng(9).uniform(0, 200, (3, 20, 7, 2))
    expected = [[level_box(face) for face in row] for row in landmarks]
    found = geometry.eye_level_boxes(torch.from_numpy(landmarks), EYES)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_an_eye_level_box_turns_grows_and_moves_with_the_face():
    face = torch.tensor([[20.0, 30], [24, 30], [60, 30], [40, 80], [10, 50]], dtype=torch.float64)
    assert geometry.eye_level_boxes(face, EYES).tolist() == [35, 55, 50, 50, 0]
    by = geometry.crop_to_image(Box(17, -5, 1, 1), 2, margin=3.0, rotation=35.0)  # 1.5 times as large
    moved = geometry.eye_level_boxes(geometry.apply(torch.from_numpy(by), face), EYES)
    center = geometry.apply(by, np.array([[35.0, 55.0]]))[0]
    np.testing.assert_allclose(moved, [*center, 75, 75, 35], rtol=0, atol=1e-9)


def test_crops_of_many_boxes_are_those_of_each_box():
    boxes = np.random.default_rng(10).uniform([-50, -50, 10, 10, -180], [300, 300, 200, 200, 180], (4, 9, 5))
    expected = [[geometry.crop_to_image(Box(*box), SIZE, 1.3) for box in row] for row in boxes]
    found = geometry.crops_to_image(torch.from_numpy(boxes), SIZE, 1.3)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
