"""Landmarker against a stand-in for a network that finds five white dots, and against `wingmark test`."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import wingmark.schema
from wingmark.engines import Answer
from wingmark.geometry import apply, crop_to_image
from wingmark.infer import Landmarker
from wingmark.protocol import Protocol
from wingmark.types import Box

SIZE = 96
SHAPE = np.array([(0.3, 0.35), (0.7, 0.35), (0.5, 0.55), (0.35, 0.75), (0.65, 0.75)])  # of the box


class Dots:
    """Finds five dots; the upper two are the eyes, the one below them the nose, and so on, the left one first."""

    schema = wingmark.schema.get("five")
    crop_size, context = SIZE, 1.0

    def __init__(self, box: str = "dataset", **rules) -> None:
        self.protocol = Protocol("dots/box/v1", box=box, normalizer="box_size", **rules)
        self.seen = []

    def __call__(self, crops: np.ndarray) -> Answer:
        assert crops.dtype == np.uint8 and crops.shape[1:] == (3, SIZE, SIZE)
        self.seen.append(len(crops))
        found = np.stack([self._dots(crop[0]) for crop in crops])
        return Answer(found, found[..., 0].astype(np.float32) / 100, np.full(found.shape[:2], 0.5, np.float32))

    @staticmethod
    def _dots(crop: np.ndarray) -> np.ndarray:
        count, labels = cv2.connectedComponents((crop > 20).astype(np.uint8))
        rows, columns = np.mgrid[:SIZE, :SIZE]
        dots = [np.average(np.stack([columns, rows])[:, labels == k], 1, crop[labels == k]) for k in range(1, count)]
        if len(dots) != 5:
            return np.zeros((5, 2))
        dots.sort(key=lambda dot: dot[1])
        (a, b), (nose,), (c, d) = (sorted(part, key=lambda dot: dot[0]) for part in (dots[:2], dots[2:3], dots[3:]))
        return np.stack([a, b, nose, c, d])


def draw(faces: list[Box], width: int = 400, height: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """An image with white dots in each box, and where they are (F, 5, 2)."""
    image, landmarks = np.zeros((height, width), float), []
    rows, columns = np.mgrid[:height, :width]
    for box in faces:
        points = apply(crop_to_image(box, 1, stretched=True), SHAPE - 0.5)
        radius = box.width / 40
        for x, y in points:
            image += 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * radius**2))
        landmarks.append(points)
    return np.repeat(image.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2), np.array(landmarks)


FACES = [Box(120, 110, 150, 150), Box(300, 200, 90, 90)]


def corners(box: Box) -> list[float]:
    return [box.x - box.width / 2, box.y - box.height / 2, box.x + box.width / 2, box.y + box.height / 2]


def test_faces_of_an_image(tmp_path):
    image, landmarks = draw(FACES)
    Image.fromarray(image).save(tmp_path / "a.png")
    rows = np.array([corners(box) for box in FACES])
    for picture in (image, Image.fromarray(image), tmp_path / "a.png", str(tmp_path / "a.png")):
        found = Landmarker(Dots())(picture, rows)
        np.testing.assert_allclose(found.landmarks_image, landmarks, rtol=0, atol=0.15)
        assert found.boxes == FACES and len(found) == 2
        to_image = [crop_to_image(box, SIZE, 1.25) for box in FACES]
        np.testing.assert_array_equal(found.crop_to_image, to_image)
        expected = 0.5 * np.array([[150 * 1.25 / SIZE], [90 * 1.25 / SIZE]])
        np.testing.assert_allclose(found.expected_error, np.repeat(expected, 5, axis=1), rtol=1e-6)


def test_a_list_of_images_is_cut_into_batches():
    image, landmarks = draw(FACES)
    engine = Dots()
    faces = Landmarker(engine, batch_size=3)([image] * 4, [FACES, FACES[:1], [], FACES[1:]])
    assert engine.seen == [3, 1]
    for found, expected in zip(faces, [landmarks, landmarks[:1], landmarks[:0], landmarks[1:]], strict=True):
        assert found.landmarks_image.shape == expected.shape
        np.testing.assert_allclose(found.landmarks_image, expected, rtol=0, atol=0.15)


def test_the_whole_image_is_the_box_where_there_is_none():
    image, landmarks = draw([Box(199.5, 149.5, 300, 300)])
    found = Landmarker(Dots(margin=1.0))(image)
    assert found.boxes == [Box(199.5, 149.5, 400, 300)]
    np.testing.assert_allclose(found.landmarks_image, landmarks, rtol=0, atol=0.4)  # a pixel of the crop is 4.2


def test_a_detector_says_where_faces_are():
    image, landmarks = draw(FACES)
    shapes = []
    found = Landmarker(Dots(), detector=lambda pixels: shapes.append(pixels.shape) or FACES)([image])[0]
    assert shapes == [(300, 400, 3)]
    np.testing.assert_allclose(found.landmarks_image, landmarks, rtol=0, atol=0.15)
    nothing = Landmarker(Dots(), detector=lambda pixels: [])(image)
    assert nothing.landmarks_image.shape == (0, 5, 2) and nothing.boxes == []


ORIENTATIONS = {3: 2, 6: 1, 8: -1}  # EXIF, and the turns against the clock by which the upright image was stored


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_exif_says_which_way_is_up(tmp_path, orientation):
    """A photo that is stored on its side is cut out upright, and its landmarks are pixels as stored."""
    upright, landmarks = draw([Box(150, 120, 180, 160)])
    stored = np.ascontiguousarray(np.rot90(upright, ORIENTATIONS[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png"))), upright)
    marks = [np.rot90(_mark(x, y), ORIENTATIONS[orientation]) for x, y in landmarks[0]]
    expected = np.array([np.array(np.unravel_index(mark.argmax(), mark.shape))[::-1] for mark in marks])
    for boxes, detector in ((None, lambda pixels: [Box(150, 120, 180, 160)]), (_stored_box(stored), None)):
        found = Landmarker(Dots(), detector=detector)(tmp_path / "a.png", boxes)
        np.testing.assert_allclose(found.landmarks_image[0], expected, rtol=0, atol=0.6)
    whole = Landmarker(Dots(margin=1.0))(tmp_path / "a.png")
    np.testing.assert_allclose(whole.landmarks_image[0], expected, rtol=0, atol=0.6)
    assert (whole.boxes[0].width, whole.boxes[0].height) == (400, 300)


def _mark(x: float, y: float) -> np.ndarray:
    mark = np.zeros((300, 400))
    mark[round(y), round(x)] = 1
    return mark


def _stored_box(stored: np.ndarray) -> np.ndarray:
    """The corners of the face in the stored picture, with its sides as they lie there."""
    rows, columns = np.nonzero(stored[..., 0] > 20)
    x, y = (columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2
    return np.array([[x - 90, y - 90, x + 90, y + 90]])


def test_refine_looks_again_at_the_box_of_the_landmarks():
    """The first box is too large and off; the second crop is that of the landmarks."""
    image, landmarks = draw(FACES)
    engine = Dots("tight")
    found = Landmarker(engine, refine=True)([image, image], [[Box(130, 115, 190, 190)], FACES[1:]])
    assert engine.seen == [2, 2]
    for faces, expected in zip(found, (landmarks[0], landmarks[1]), strict=True):
        np.testing.assert_allclose(faces.landmarks_image[0], expected, rtol=0, atol=0.15)
        low, high = expected.min(0), expected.max(0)
        box = faces.boxes[0]
        np.testing.assert_allclose([box.x, box.y], (low + high) / 2, rtol=0, atol=0.15)
        np.testing.assert_allclose([box.width, box.height], high - low, rtol=0, atol=0.3)
        np.testing.assert_allclose(faces.crop_to_image[0], crop_to_image(box, SIZE, 1.25))


@pytest.mark.parametrize("roll", [-90.0, 30.0])
def test_refine_keeps_the_roll_of_the_box(roll):
    """A face on its side, as EXIF tells of photos, is upright in the second crop too."""
    face = Box(200, 150, 140, 140, roll=roll)
    image, landmarks = draw([face])
    found = Landmarker(Dots("tight"), refine=True)(image, [Box(205, 145, 160, 160, roll=roll)])
    np.testing.assert_allclose(found.landmarks_image, landmarks, rtol=0, atol=0.2)
    spans = np.ptp(SHAPE, axis=0) * 140
    assert found.boxes[0].roll == roll
    np.testing.assert_allclose([found.boxes[0].width, found.boxes[0].height], spans, rtol=0, atol=0.4)


def test_refine_turns_the_box_where_the_model_was_trained_so():
    face = Box(150, 140, 150, 150, roll=12.0)
    image, landmarks = draw([face])
    found = Landmarker(Dots("refined"), refine=True)(image, [face])
    assert abs(found.boxes[0].roll - 12) < 0.3
    np.testing.assert_allclose(found.landmarks_image, landmarks, rtol=0, atol=0.15)


def test_refine_needs_boxes_that_landmarks_make():
    with pytest.raises(ValueError, match="this model was trained on dataset boxes: leave it out"):
        Landmarker(Dots(), refine=True)


def test_flip_is_the_mean_of_both_sides():
    """A network that sees a mirrored face names its left eye right; one that errs to the right errs both ways."""
    image, landmarks = draw(FACES)

    class Shifted(Dots):
        def __call__(self, crops):
            answer = super().__call__(crops)
            return Answer(answer.landmarks_crop + [3.0, 2.0], answer.score, answer.expected_error)

    found = Landmarker(Shifted(), flip=True)(image, FACES)
    shift = np.array([0, 2]) * found.crop_to_image[:, 0, 0][:, None, None]
    np.testing.assert_allclose(found.landmarks_image, landmarks + shift, rtol=0, atol=0.15)
    # The stand-in's score is x of its dots over 100: that of a landmark and of its mirror image are SIZE - 1 together.
    np.testing.assert_allclose(found.score, (SIZE - 1) / 200, atol=0.01)


def test_the_same_photo_gives_the_same_landmarks_however_it_comes(tmp_path):
    face = Box(800, 700, 900, 900)  # four pixels of the photo make one of the crop
    image, landmarks = draw([face], 1600, 1400)
    Image.fromarray(image).save(tmp_path / "a.jpg", quality=95)
    from_path = Landmarker(Dots())(tmp_path / "a.jpg", [face])
    np.testing.assert_allclose(from_path.landmarks_image, landmarks, rtol=0, atol=0.4)
    with Image.open(tmp_path / "a.jpg") as opened:
        for picture in (opened, np.asarray(opened.convert("RGB"))):
            again = Landmarker(Dots())(picture, [face])
            np.testing.assert_array_equal(again.landmarks_image, from_path.landmarks_image)


def test_the_last_bits_of_the_first_look_do_not_move_the_second():
    image, _ = draw(FACES)

    class Trembling(Dots):
        def __call__(self, crops: np.ndarray) -> Answer:
            answer = super().__call__(crops)
            return answer if len(self.seen) > 1 else answer._replace(landmarks_crop=answer.landmarks_crop + 1e-5)

    one, other = (Landmarker(dots("tight"), refine=True)(image, FACES) for dots in (Dots, Trembling))
    np.testing.assert_array_equal(one.landmarks_image, other.landmarks_image)


def test_a_batch_holds_a_face():
    with pytest.raises(ValueError, match="batch_size must be 1 or more, got 0"):
        Landmarker(Dots(), batch_size=0)


BAD = {
    "no rows": ({"boxes": [[1, 2, 3]]}, "boxes are a list of `Box`, or of rows x_min.*; one of them is .1, 2, 3"),
    "one row": ({"boxes": np.array([1.0, 2, 3, 4])}, "one of them is 1.0"),
    "no area": ({"boxes": [[5, 5, 5, 9]]}, "a face box needs finite numbers and positive sides"),
    "outside": ({"boxes": [[500, 500, 600, 600]]}, r"lies outside the image of 400x300 px; give boxes in its pixels"),
    "endless": ({"boxes": [[0, 0, 1e300, 1e300]]}, "is no box of a face; give boxes in pixels"),
    "float image": ({"images": np.zeros((9, 9, 3))}, r"\(H, W, 3\) uint8 RGB, got \(9, 9, 3\) float64"),
    "gray image": ({"images": np.zeros((9, 9), np.uint8)}, r"got \(9, 9\) uint8"),
    "tensor": ({"images": torch.zeros(9, 9, 3)}, "or a list of these; got Tensor"),
    "no image": ({"images": None}, "or a list of these; got NoneType"),
    "numbers": ({"images": b"abc", "boxes": None}, "image 0 of the list: an image is a path, .* got int"),
    "box in a list": (
        {"images": 2 * [np.zeros((9, 9, 3), np.uint8)], "boxes": [None, [[5, 5]]]},
        "image 1 of the list",
    ),
    "lists": ({"images": [np.zeros((9, 9, 3), np.uint8)], "boxes": [None, None]}, "1 images, but boxes for 2"),
}


def test_where_landmarks_make_no_box_the_first_look_counts():
    image, landmarks = draw(FACES)
    landmarker = Landmarker(Dots("tight", margin=1.3), refine=True)
    blank = np.zeros_like(image)  # all of its landmarks are found in one place
    one, other = landmarker([blank, image], [[FACES[0]], FACES])
    assert one.boxes == [FACES[0]] and np.isfinite(one.landmarks_image).all()
    assert all(box != given for box, given in zip(other.boxes, FACES, strict=True))
    np.testing.assert_allclose(other.landmarks_image, landmarks, atol=0.3)


@pytest.mark.parametrize("rows", [[[10, 20, 110, 120]], np.array([[10.0, 20, 110, 120]]), [Box(60, 70, 100, 100)]])
def test_detectors_give_boxes_or_rows(rows):
    image, _ = draw(FACES)
    found = Landmarker(Dots(), detector=lambda pixels: rows)(image)
    assert found.boxes == [Box(60, 70, 100, 100)]


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    arguments, says = BAD[case]
    with pytest.raises(ValueError, match=says):
        Landmarker(Dots())(**{"images": draw(FACES)[0], **arguments})


def test_no_image(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"a\.jpg: cannot be decoded as an image"):
        Landmarker(Dots())(tmp_path / "a.jpg")
    with pytest.raises(FileNotFoundError):
        Landmarker(Dots())(tmp_path / "gone.jpg")
