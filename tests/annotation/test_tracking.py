"""Faces of dots, followed through frames that are drawn."""

import numpy as np
import pytest

from wingmark.annotation.smoothing import OneEuro
from wingmark.annotation.tracking import Tracker
from wingmark.types import Box

SECONDS = 0.04


def corners(box: Box) -> list[float]:
    return [box.x - box.width / 2, box.y - box.height / 2, box.x + box.width / 2, box.y + box.height / 2]


def never(frame: np.ndarray) -> list[Box]:
    raise AssertionError("no face was lost")


def follow(tracker: Tracker, dots, faces: list[np.ndarray]):
    return tracker(dots.draw(faces), SECONDS)


@pytest.mark.parametrize("protocol_box", ["detector", "tight"])
def test_a_face_is_followed_far_beyond_its_first_crop(dots, protocol_box):
    places = [dots.shape * (1 + 0.04 * t) + [60 + 7 * t, 60 + 4 * t] for t in range(20)]
    boxes = [[dots.box(places[0])]]
    tracker = Tracker(dots.landmarker(protocol_box), lambda frame: boxes.pop(), None, None)
    for number, landmarks in enumerate(places):
        faces, tracks = follow(tracker, dots, [landmarks])
        assert tracks == [0] and len(faces) == 1
        np.testing.assert_allclose(faces.landmarks_image[0], landmarks, atol=0.2)
        low, high = landmarks.min(0), landmarks.max(0)
        following = tracker.tracks[0].box
        if protocol_box == "tight":
            np.testing.assert_allclose(corners(following), [*low, *high], atol=0.3)
        else:
            # As the first box around the first landmarks, enlarged as they were.
            grown = 1 + 0.04 * number
            expected = [*(low - grown * np.array([4, 10])), *(high + grown * np.array([8, 6]))]
            np.testing.assert_allclose(corners(following), expected, atol=0.6)
    assert boxes == []  # asked once


def test_a_face_that_leaves_is_lost_and_looked_for_again(dots):
    inside = dots.shape + [280, 120]
    asked = []

    def detect(frame):
        asked.append(frame)
        return [dots.box(inside)]

    landmarker = dots.landmarker()
    tracker = Tracker(landmarker, detect, None, None)
    for x in (0, 5, 10):
        assert follow(tracker, dots, [inside + [x, 0]])[1] == [0]
    landmarker.engine.shift = [64 / 104 * 29, 0]  # the crop is 2 * 52 px wide: 290.67 + 29 is out of 319.5
    faces, tracks = follow(tracker, dots, [inside + [10, 0]])
    assert (tracks, len(faces), len(asked)) == ([], 0, 1)
    assert faces.landmarks_image.shape == (0, 3, 2)
    landmarker.engine.shift = 0.0
    faces, tracks = follow(tracker, dots, [inside])
    assert (tracks, len(asked)) == ([1], 2)
    np.testing.assert_allclose(faces.landmarks_image[0], inside, atol=0.2)


def test_landmarks_that_collapse_are_lost(dots):
    landmarks = dots.shape + [100, 100]
    tracker = Tracker(dots.landmarker(), lambda frame: [dots.box(landmarks)], None, None)
    assert follow(tracker, dots, [landmarks])[1] == [0]
    assert follow(tracker, dots, [landmarks.mean(0) + 0.01 * dots.shape])[1] == []
    assert follow(tracker, dots, [landmarks])[1] == [1]


def test_a_large_expected_error_is_lost(dots):
    landmarks = dots.shape + [100, 100]
    landmarker = dots.landmarker()
    tracker = Tracker(landmarker, lambda frame: [dots.box(landmarks)], None, None)
    # The face size is sqrt(40 * 33) = 36.3 px; the crop is 2 * 52 px wide, shown in 64.
    pixel = 64 / (2 * 52)
    landmarker.engine.expected_error = np.full(3, 5.0 * pixel)
    faces, tracks = follow(tracker, dots, [landmarks])
    assert tracks == [0]
    np.testing.assert_allclose(faces.expected_error, 5.0, atol=0.01)
    landmarker.engine.expected_error = np.full(3, 6.0 * pixel)
    assert follow(tracker, dots, [landmarks])[1] == []


def test_faces_keep_their_tracks_and_new_ones_are_seen_in_time(dots):
    one, other = dots.shape + [70, 80], dots.shape + [230, 150]
    seen = [one]
    tracker = Tracker(dots.landmarker(), lambda frame: [dots.box(face) for face in seen], 3.5 * SECONDS, None)
    assert follow(tracker, dots, [one])[1] == [0]
    seen = [other, one]  # the detector names them in any order
    assert [follow(tracker, dots, [one, other])[1] for _ in range(4)] == [[0], [0], [0], [0, 1]]
    faces, _ = follow(tracker, dots, [one, other])
    np.testing.assert_allclose(faces.landmarks_image, [one, other], atol=0.2)
    seen = [other]  # the first is not detected anymore
    assert [follow(tracker, dots, [one, other])[1] for _ in range(8)] == [*6 * [[0, 1]], [1], [1]]


def test_a_face_that_is_missed_once_keeps_its_track(dots):
    face = dots.shape + [70, 80]
    answers = iter([[face], [], [face], [], [face]])
    tracker = Tracker(dots.landmarker(), lambda frame: [dots.box(f) for f in next(answers)], 0.5 * SECONDS, None)
    assert [follow(tracker, dots, [face])[1] for _ in range(5)] == 5 * [[0]]


def test_given_boxes_replace_the_detector(dots):
    landmarks = dots.shape + [100, 100]
    tracker = Tracker(dots.landmarker(), never, None, None)
    frame = dots.draw([landmarks])
    assert tracker(frame, SECONDS, [dots.box(landmarks)])[1] == [0]
    assert tracker(frame, SECONDS)[1] == [0]
    assert tracker(frame, SECONDS, [dots.box(landmarks)])[1] == [0]  # the same face
    other = dots.shape + [230, 150]
    assert tracker(dots.draw([landmarks, other]), SECONDS, [dots.box(other)])[1] == [0, 1]  # one more


def test_the_crop_follows_what_was_found_and_not_what_was_smoothed(dots):
    places = [dots.shape + [60 + 8 * t, 100] for t in range(12)]
    tracker = Tracker(dots.landmarker("tight"), lambda frame: [dots.box(places[0])], None, lambda: OneEuro(0.1, 0.0))
    for landmarks in places:
        faces, _ = follow(tracker, dots, [landmarks])
        np.testing.assert_allclose(corners(tracker.tracks[0].box), [*landmarks.min(0), *landmarks.max(0)], atol=0.3)
    assert (faces.landmarks_image[0] < landmarks - [40, -1]).any()  # far behind


def test_a_face_at_rest_is_followed_without_trembling(dots):
    """By a network that errs by up to 1.5 % of its crop, another way in each."""
    landmarker, landmarks = dots.landmarker("tight"), dots.shape + [100, 100]

    class Erring(type(landmarker.engine)):
        def __call__(self, crops):
            answer = super().__call__(crops)
            error = np.random.default_rng(int(crops.astype(np.int64).sum())).uniform(-1, 1, (1, 3, 2))
            return answer._replace(landmarks_crop=answer.landmarks_crop + error)

    landmarker.engine = Erring("tight")
    tracker = Tracker(landmarker, lambda frame: [dots.box(landmarks)], None, None)
    found = [follow(tracker, dots, [landmarks])[0].landmarks_image for _ in range(20)]
    assert all((landmarks == found[-1]).all() for landmarks in found[5:])


def test_smoothed_landmarks_are_given(dots):
    random = np.random.default_rng(0)
    places = [dots.shape + [100, 100] + random.normal(0, 1, (3, 2)) for _ in range(30)]
    tracker = Tracker(dots.landmarker("tight"), lambda frame: [dots.box(places[0])], None, lambda: OneEuro(1.0, 10.0))
    smooth = OneEuro(1.0, 10.0)
    for landmarks in places:
        faces, _ = follow(tracker, dots, [landmarks])
        np.testing.assert_allclose(faces.landmarks_image[0], smooth(landmarks, SECONDS), atol=0.2)
    found = tracker.jitter()
    assert 0 < found["jitter_smoothed"] < 0.5 * found["jitter"]
    # Noise of 1 px per axis on faces of sqrt(40 * 33) px, of which the mean of three landmarks was taken away.
    assert found["jitter"] == pytest.approx(100 * np.sqrt(2 * 2 / 3) / np.sqrt(40 * 33), rel=0.25)
