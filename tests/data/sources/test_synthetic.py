"""The drawn pixels are the judge of the landmarks here: features are found in pictures and compared."""

import multiprocessing

import cv2
import numpy as np
import pytest

from wingmark import schema
from wingmark.data.sources import face_paint, face_person, face_render, synthetic
from wingmark.data.sources.face_camera import photograph
from wingmark.data.sources.face_cover import make_occluder
from wingmark.data.sources.face_model import Head, curves, landmarks, place, project, relief
from wingmark.data.sources.face_noise import noise
from wingmark.data.sources.face_person import Paint, Style, mix
from wingmark.data.sources.face_population import (
    SPREAD,
    TAG_RATES,
    Draws,
    draw_expressions,
    draw_people,
    draw_poses,
)
from wingmark.data.sources.synthetic import SyntheticFaces
from wingmark.geometry import fractions_to_pixels, tight_box

SIZE = 160
BLUE = (0, 0, 255)
BLANK = np.zeros((SIZE, SIZE, 3), np.uint8)
POSES = [
    {},
    {"yaw": 0.25, "center_x": 0.05},
    {"yaw": -0.25, "pitch": 0.15, "roll": 0.3, "center_y": -0.04},
    {"pitch": -0.2, "roll": -0.2, "scale": 0.42},
]


@pytest.fixture(scope="module")
def source() -> SyntheticFaces:
    return SyntheticFaces(train=300, val=6, test=6)


@pytest.fixture(scope="module")
def faces(source):
    return source.faces("train")


def centroid(weight: np.ndarray) -> np.ndarray:
    rows, columns = np.mgrid[: weight.shape[0], : weight.shape[1]]
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


def shaven(seed: int) -> Paint:
    """A bald person without beard and glasses."""
    paint = mix(np.random.default_rng(seed), False)
    bald = Style(hairline=-2.0, volume=0.0)
    return paint._replace(style=bald, hairline=-2.0, part=0.0, volume=0.0, beard=0.0, mustache=0.0, glasses=False)


def portrait(monkeypatch, head: Head, size: int = SIZE) -> np.ndarray:
    """A shaven head without neck and ears before plain blue, seen by a perfect camera."""
    monkeypatch.setattr(face_render, "background", lambda side, rng: np.full((side, side, 3), BLUE, np.uint8))
    monkeypatch.setattr(face_render, "paint_behind", lambda *_: None)
    monkeypatch.setattr(face_render, "photograph", lambda picture, rng, blurred: picture)
    return face_render.render(head, size, shaven(2), np.random.default_rng(2)).astype(np.float32)


def test_faces_carry_what_the_data_module_needs(source, faces):
    assert [face.id for face in faces[:2]] == ["train/000000#0", "train/000001#0"]
    assert len(faces) == 300
    for face in faces:
        assert face.landmarks_image.shape == (68, 2) and face.landmarks_image.dtype == np.float64
        assert face.landmarks_image.min() > -0.5 and face.landmarks_image.max() < SIZE - 0.5
        assert face.valid.all()
        assert str(face.image) == face.id.removesuffix("#0")
    image = source.read_image(faces[0])
    assert image.shape == (SIZE, SIZE, 3) and image.dtype == np.uint8


def test_four_pictures_show_one_person(source, faces, monkeypatch):
    drawn = []
    monkeypatch.setattr(synthetic, "render", lambda head, size, paint, *_, **__: drawn.append((head, paint)) or BLANK)
    for face in faces[:8]:
        source.read_image(face)
    assert [face.group for face in faces[:8]] == ["train/person000000"] * 4 + ["train/person000001"] * 4
    shapes = [tuple(getattr(head, name) for name in SPREAD if name != "mouth_half_width") for head, _ in drawn]
    colors = [(*paint.skin, *paint.hair, *paint.iris, paint.style, paint.beard) for _, paint in drawn]
    poses = [(head.yaw, head.pitch, head.smile_left, head.scale) for head, _ in drawn]
    assert len(set(shapes)) == len(set(colors)) == 2 and len(set(shapes[:4])) == len(set(colors[:4])) == 1
    assert len(set(poses)) == 8
    groups = [{face.group for face in source.faces(split)} for split in ("train", "val", "test")]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 75 + 2 + 2


def test_box_is_the_tight_one_within_a_few_percent(faces):
    pairs = [(face.boxes["dataset"], tight_box(face.landmarks_image)) for face in faces]
    moved = np.array([[(box.x - tight.x) / tight.width, (box.y - tight.y) / tight.height] for box, tight in pairs])
    grown = np.array([[box.width / tight.width - 1, box.height / tight.height - 1] for box, tight in pairs])
    for off in (moved, grown):
        assert np.abs(off).max() < 0.08
        assert np.all((off.std(0) > 0.02) & (off.std(0) < 0.04)) and np.all(np.abs(off.mean(0)) < 0.006)


def test_same_seed_same_faces_in_any_order(source, faces):
    again = SyntheticFaces(train=300)
    forth = [source.read_image(face) for face in faces[:4]]
    back = [again.read_image(face) for face in again.faces("train")[3::-1]][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forth, back, strict=True))
    assert all(
        np.array_equal(a.landmarks_image, b.landmarks_image) for a, b in zip(faces, again.faces("train"), strict=True)
    )
    fewer = SyntheticFaces(train=2).faces("train")
    np.testing.assert_allclose(fewer[1].landmarks_image, faces[1].landmarks_image, atol=1e-9)


def test_other_split_and_other_seed_are_other_faces(source, faces):
    other = [source.faces("val")[0], source.faces("test")[0], SyntheticFaces(train=1, seed=1).faces("train")[0]]
    points = [faces[0].landmarks_image, *(face.landmarks_image for face in other)]
    for i in range(4):
        for j in range(i):
            assert np.abs(points[i] - points[j]).max() > 1
    assert source.image_version(faces[0]) != SyntheticFaces(seed=1).image_version(faces[0])
    assert source.image_version(faces[0]) != SyntheticFaces(image_size=96).image_version(faces[0])


def test_another_process_draws_the_same_bytes(source, faces):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.map(source.read_image, faces[5:7])
    assert all(np.array_equal(image, source.read_image(face)) for image, face in zip(there, faces[5:7], strict=True))


def test_landmarks_scale_with_the_picture(faces):
    large = SyntheticFaces(train=1, image_size=320).faces("train")[0].landmarks_image
    np.testing.assert_allclose((large + 0.5) / 2 - 0.5, faces[0].landmarks_image, atol=1e-9)


@pytest.mark.parametrize("name", ["ibug68", "wflw98"])
def test_neutral_face_mirrors_onto_itself(name):
    points = landmarks(Head(), name)
    np.testing.assert_allclose(points[schema.get(name).flip] * [-1, 1], points, atol=1e-12)


@pytest.mark.parametrize("name", ["ibug68", "wflw98"])
def test_mirrored_pose_and_expression_mirror_the_landmarks(name):
    one = Head(yaw=0.4, roll=0.2, smile_right=1.0, lid_left=0.1, brow_raise_right=0.05, mouth_gap=0.1)
    other = Head(yaw=-0.4, roll=-0.2, smile_left=1.0, lid_right=0.1, brow_raise_left=0.05, mouth_gap=0.1)
    np.testing.assert_allclose(
        landmarks(one, name)[schema.get(name).flip] * [-1, 1], landmarks(other, name), atol=1e-12
    )


def test_index_layout_reads_like_a_face():
    points = landmarks(Head(lid_right=1.3), "wflw98")
    x, y = points.T
    assert np.all(np.diff(x[:33]) > 0) and y[16] == y.max()  # jaw, left to right, chin lowest
    assert np.all(np.diff(x[33:38]) > 0) and np.all(np.diff(x[38:42]) < 0)  # brow: out and back
    assert np.all(y[38:42] > y[37:33:-1])
    assert np.all(np.diff(y[51:55]) > 0) and np.all(np.diff(x[55:60]) > 0)
    assert y[62] < y[66] and y[70] < y[74] and x[60] < x[96] < x[64] < x[68] < x[97] < x[72]
    assert y[79] < y[90] <= y[94] < y[85] and x[76] < x[88] < x[92] < x[82]


def test_both_schemas_name_the_same_places():
    same = {0: 0, 8: 16, 16: 32, 17: 33, 21: 37, 22: 42, 26: 46, 27: 51, 30: 54, 31: 55, 33: 57, 35: 59}
    same |= {36: 60, 39: 64, 42: 68, 45: 72, 48: 76, 51: 79, 54: 82, 57: 85, 60: 88, 62: 90, 64: 92, 66: 94}
    few, many = (SyntheticFaces(name, train=20).faces("train") for name in ("ibug68", "wflw98"))
    for a, b in zip(few, many, strict=True):
        np.testing.assert_allclose(a.landmarks_image[list(same)], b.landmarks_image[list(same.values())], atol=1e-9)


CORNERS = {"right_eye": (0, 12), "left_eye": (0, 12), "outer_lip": (0, 12), "right_brow": (0,), "left_brow": (16,)}


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize(("curve", "index"), [(curve, index) for curve in CORNERS for index in CORNERS[curve]])
def test_a_dot_painted_at_a_landmark_appears_at_the_landmark(pose, curve, index):
    head = Head(**pose)
    x, y = (axis[index] for axis in curves(head)[curve])
    turn = np.linspace(0, 2 * np.pi, 24)
    texture = face_paint.Texture(head, 240 * head.scale)
    texture.fill(x + 0.04 * np.cos(turn), y + 0.04 * np.sin(turn), (255, 255, 255))
    paint = shaven(0)
    position, _ = face_render.surface(head, paint, np.random.default_rng(0))
    layer = np.zeros((242, 242, 4), np.uint8)
    face_render.drop(layer, head, position, texture.image((0, 0, 0)))
    picture = cv2.resize(face_render.mend(layer)[1:-1, 1:-1, 0], (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    expected = fractions_to_pixels(project(head, x, y, relief(head, x, y)), SIZE)
    assert np.linalg.norm(centroid(picture) - expected) < 0.3


@pytest.mark.parametrize("pose", [{"yaw": 0.7}, {"yaw": -0.7, "pitch": 0.3}, {"pitch": -0.35}, {"pitch": 0.35}])
def test_near_points_hide_far_ones_as_a_depth_buffer_would(pose):
    head = Head(**pose)
    position, _ = face_render.surface(head, shaven(0), np.random.default_rng(0))
    numbers = np.arange(220 * 340, dtype=np.uint32).reshape(220, 340)
    layer = np.zeros((242, 242, 4), np.uint8)
    face_render.drop(layer, head, position, numbers.view(np.uint8).reshape(220, 340, 4))
    winner = layer.view(np.uint32)[..., 0]

    dense = cv2.resize(position, (340, 220))
    columns, rows = (np.rint(fractions_to_pixels(place(head, *cv2.split(dense)), 240)).astype(int) + 1).reshape(-1, 2).T
    seen = (columns >= 1) & (columns <= 240) & (rows >= 1) & (rows <= 240)
    nearest = np.full((242, 242), -np.inf)
    np.maximum.at(nearest, (rows[seen], columns[seen]), dense[..., 2].reshape(-1)[seen])
    hit = np.isfinite(nearest)
    behind = (nearest - dense[..., 2].reshape(-1)[winner])[hit]
    assert hit.sum() > 10_000
    assert (behind > 0.05).mean() < 0.003


@pytest.mark.parametrize("pose", POSES)
def test_pupils_lie_in_the_middle_of_the_drawn_irises(pose, monkeypatch):
    size = 2 * SIZE
    head = Head(**pose, eye_half_height=0.12)  # eyes so wide that the lids hide nothing of the iris
    pictures = []
    for color in ((250.0, 0.0, 0.0), (0.0, 250.0, 0.0)):
        monkeypatch.setattr(face_person, "IRISES", np.array([color] * 5))
        pictures.append(portrait(monkeypatch, head, size))
    difference = np.abs(pictures[0] - pictures[1]).max(-1)
    rows, columns = np.mgrid[:size, :size]
    for pupil in fractions_to_pixels(landmarks(head, "wflw98"), size)[96:]:
        iris = (difference > 25) & (np.hypot(columns - pupil[0], rows - pupil[1]) < 16)
        disc = cv2.convexHull(np.argwhere(iris)[:, ::-1].astype(np.int32))  # with the pupil and its glint
        assert len(disc) > 8
        off = centroid(cv2.fillConvexPoly(np.zeros((size, size)), disc, 1)) - pupil
        assert np.linalg.norm(off) < 0.45  # 0.22 px of the usual size; the eyeball's curvature takes half of it


@pytest.mark.parametrize("pose", [{"yaw": 0.8}, {"yaw": 1.3}, {"yaw": -1.1, "pitch": 0.15, "roll": 0.2}])
def test_what_the_head_turns_away_is_marked_on_its_contour(pose, monkeypatch):
    head = Head(**pose)
    face = (np.linalg.norm(portrait(monkeypatch, head) - BLUE, axis=-1) > 60).astype(np.uint8)
    outside, inside = (cv2.distanceTransform(mask, cv2.DIST_L2, 5) for mask in (1 - face, face))
    columns, rows = np.rint(fractions_to_pixels(landmarks(head, "wflw98"), SIZE)).astype(int).T
    assert outside[rows, columns][33:].max() < 1.5
    far = [72, 46] if head.yaw > 0 else [60, 33]  # outer corner of the eye, outer tip of the brow
    assert inside[rows, columns][far].max() < 4.5


@pytest.mark.parametrize("pose", [*POSES, {"yaw": 0.6}, {"yaw": -0.7}])
def test_jaw_landmarks_lie_on_the_drawn_outline(pose, monkeypatch):
    head = Head(**pose)
    face = np.linalg.norm(portrait(monkeypatch, head) - BLUE, axis=-1).astype(np.float32)
    jaw = fractions_to_pixels(landmarks(head, "wflw98"), SIZE)[:33]
    along = np.gradient(jaw, axis=0)
    outward = np.stack([-along[:, 1], along[:, 0]], -1) / np.linalg.norm(along, axis=1, keepdims=True)
    steps = np.linspace(-3, 3, 121)
    off = []
    for point, normal in zip(jaw[1:-1], outward[1:-1], strict=True):
        x, y = (point + steps[:, None] * normal).astype(np.float32).T
        profile = cv2.remap(face, x[None], y[None], cv2.INTER_LINEAR)[0]
        inside = profile > (profile[20] + profile[-1]) / 2
        off.append(steps[np.flatnonzero(inside)[-1]])
    assert np.abs(off).max() < 0.6 and np.abs(np.mean(off)) < 0.2


def test_tags_say_what_was_drawn():
    count = 2000
    tags = [face.tags for face in SyntheticFaces(train=count).faces("train")]
    for tag, rate in TAG_RATES.items():
        assert abs(sum(tag in each for each in tags) / count - rate) < 0.03
    turned, expressive = (np.arange(count)[:, None] % 2 == 1), (np.arange(count)[:, None] % 3 == 1)
    draws = Draws([np.random.default_rng(i) for i in range(count)])
    people = draw_people(Draws([np.random.default_rng([1, i]) for i in range(count)]))
    heads = draw_poses(draws, draw_expressions(draws, people, expressive), turned)
    assert np.all((np.abs(heads.yaw) >= np.deg2rad(25)) == turned)
    assert np.deg2rad(70) < np.abs(heads.yaw).max() <= np.deg2rad(75)
    wide = np.minimum(heads.lid_right, heads.lid_left)
    calm = (wide > 0.5) & (heads.mouth_gap < 0.1) & (np.abs(heads.brow_raise_left) < 0.065) & (heads.lid_left < 1.35)
    calm &= (heads.smile_right + heads.smile_left > -1.75) & (heads.mouth_half_width > 0.75 * people.mouth_half_width)
    assert calm[~expressive].all() and calm[expressive].mean() < 0.35
    points = landmarks(heads, "wflw98")
    assert np.abs(points).max() < 0.4901


def test_blurred_faces_are_blurred_and_hard_light_is_uneven(source, faces):
    sharpness, contrast = {True: [], False: []}, {True: [], False: []}
    for face in faces[:120]:
        gray = cv2.cvtColor(source.read_image(face), cv2.COLOR_RGB2GRAY).astype(np.float32)
        eyes = tight_box(face.landmarks_image[36:48])
        window = gray[int(eyes.y) - 6 : int(eyes.y) + 7, int(eyes.x) - 20 : int(eyes.x) + 21]
        cheeks = (face.landmarks_image[[36, 45]] + face.landmarks_image[[48, 54]]) / 2
        right, left = (gray[y, x] for x, y in np.rint(cheeks).astype(int))
        smooth = cv2.GaussianBlur(window, (0, 0), 1)  # grain is not sharpness
        sharpness["blur" in face.tags].append(np.abs(cv2.Laplacian(smooth, cv2.CV_32F)).mean() / window.mean())
        contrast["illumination" in face.tags].append(abs(np.log(left / right)))
    assert np.median(sharpness[True]) < 0.8 * np.median(sharpness[False])
    assert np.median(contrast[True]) > 2 * np.median(contrast[False])


def test_occluded_landmarks_are_those_inside_the_occluder(faces):
    for face in faces:
        assert face.occluded.any() <= ("occlusion" in face.tags)
    head = Head(yaw=0.2)
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (400, 2))
    for seed in range(20):
        occluder = make_occluder(head, np.random.default_rng(seed))
        expected = [
            any(cv2.pointPolygonTest(outline.astype(np.float32), point, False) > 0 for outline in occluder.outlines)
            for point in points.tolist()
        ]
        assert np.array_equal(occluder.covers(points), expected)


def test_the_drawn_occluder_hides_the_occluded_landmarks(source, faces, monkeypatch):
    monkeypatch.setattr(face_render, "photograph", lambda picture, rng, blurred: picture)
    occluded = [face for face in faces if face.occluded.any()][:15]
    shown = [source.read_image(face) for face in occluded]
    paint, held = face_render.paint_occluder, []
    monkeypatch.setattr(  # in vain, and remembered
        face_render, "paint_occluder", lambda canvas, *rest: held.append(rest[0]) or paint(canvas.copy(), *rest)
    )
    around = 2 / SIZE * np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), -1).reshape(9, 1, 2)
    for face, image in zip(occluded, shown, strict=True):
        changed = (source.read_image(face) != image).any(-1)
        fractions = (face.landmarks_image + 0.5) / SIZE - 0.5
        covered = np.array([held[-1].covers(fractions + offset) for offset in around])
        for (x, y), near in zip(np.rint(face.landmarks_image).astype(int), covered.T, strict=True):
            if near.all() or not near.any():
                assert changed[y, x] == near.all()
        assert np.array_equal(covered[4], face.occluded)


def test_the_camera_moves_nothing():
    rows, columns = np.mgrid[:SIZE, :SIZE]
    center = np.array([70.3, 85.6])
    disc = np.clip(20.5 - np.hypot(columns - center[0], rows - center[1]), 0, 1)
    scene = (60 + 130 * disc[..., None] * np.array([1.0, 0.9, 0.8])).astype(np.uint8)
    for seed in range(40):
        photo = photograph(scene, np.random.default_rng(seed), blurred=seed % 2 == 0)
        gray = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(float)
        low, high = np.median(gray), np.median(gray[disc == 1])
        seen = np.clip((gray - low) / (high - low), 0.2, 0.8) - 0.2
        assert photo.shape == scene.shape and photo.dtype == np.uint8
        assert np.abs(centroid(seen) - center).max() < 0.35, seed


def test_light_from_one_side_casts_shadow_on_the_other():
    position, _ = face_render.surface(Head(), shaven(0), np.random.default_rng(0))
    front = face_render.cast_shadow(position, np.array([0, 0, 1], np.float32))
    assert front[10:-10, 5:-5].mean() < 0.02
    side = np.array([-0.9, -0.1, 0.45], np.float32)
    shadow = face_render.cast_shadow(position, side / np.linalg.norm(side))
    x, y = position[..., 0], position[..., 1] + 0.35
    beside_nose = (np.abs(y - 0.33) < 0.08) & (np.abs(np.abs(x) - 0.22) < 0.06)
    assert shadow[beside_nose & (x > 0)].mean() > 0.5 > 0.05 > shadow[beside_nose & (x < 0)].mean()


def test_noise_has_the_strength_asked_for():
    patches = [noise(np.random.default_rng(i), (120, 200), (1, 1), 0.1) for i in range(20)]
    assert patches[0].shape == (120, 200) and patches[0].dtype == np.uint8
    assert abs(np.mean(patches) / 128 - 1) < 0.02 and 0.07 < np.std(patches) / 128 < 0.13


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_may_be_empty(split):
    assert SyntheticFaces(**{split: 0}).faces(split) == []


def test_wrong_settings_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="data.source.schema: SyntheticFaces knows ibug68 and wflw98, not 'five'"):
        SyntheticFaces("five")
    with pytest.raises(ValueError, match="data.source.val: a split cannot have -1 faces; give 0 or more"):
        SyntheticFaces(val=-1)
    with pytest.raises(ValueError, match="SyntheticFaces has the splits train, val, test, not 'dev'"):
        SyntheticFaces().faces("dev")
