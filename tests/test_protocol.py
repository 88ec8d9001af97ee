from pathlib import Path

import numpy as np
import pytest

from wingmark import protocol, schema
from wingmark.protocol import Protocol
from wingmark.types import Box, Face

FIVE = schema.get("five")


def face(landmarks, valid=None, **boxes) -> Face:
    landmarks = np.array(landmarks, float)
    valid = np.ones(len(landmarks), bool) if valid is None else np.array(valid)
    return Face("a.jpg#0", Path("a.jpg"), landmarks, valid, ~valid, "a", boxes)


POINTS = [(10, 20), (40, 60), (25, 45), (12, 70), (38, 72)]


def test_normalizers():
    one = face(POINTS)
    lengths = {
        "inter_ocular": 50.0,  # (30, 40)
        "inter_pupil": 50.0,
        "box_size": np.sqrt(30 * 52),
        "box_diagonal": np.hypot(30, 52),
    }
    for normalizer, length in lengths.items():
        assert Protocol("p", normalizer=normalizer).normalize_by(one, FIVE) == pytest.approx(length, abs=1e-12)


def test_pupil_is_the_mean_of_its_landmarks():
    points = np.zeros((68, 2))
    points[36:42] = [(0, 0), (2, 1), (4, 1), (6, 0), (4, -1), (2, -1)]
    points[42:48] = [(20, 3), (22, 4), (24, 4), (26, 3), (24, 2), (22, 2)]
    length = Protocol("p", normalizer="inter_pupil").normalize_by(face(points), schema.get("ibug68"))
    assert length == pytest.approx(np.hypot(20, 3), abs=1e-12)


def test_tight_box_ignores_what_is_not_valid():
    one = face(POINTS, valid=[True, True, True, True, False])
    assert Protocol("p").crop_box(one) == Box(25, 45, 30, 50)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: Protocol("p", box="detector").crop_box(face(POINTS, file=Box(0, 0, 1, 1))),
            r"only \['file', 'tight'\]",
        ),
        (lambda: Protocol("p").normalize_by(face(POINTS, valid=[False] + [True] * 4), FIVE), "not all are valid"),
        (lambda: Protocol("p").normalize_by(face([(1, 1)] * 5), FIVE), "a.jpg#0: inter_ocular is 0.0 px"),
        (lambda: Protocol("p", margin=0), "margin must be positive"),
        (lambda: Protocol("p", threshold=-1), "threshold must be positive"),
        (lambda: protocol.get("300w"), "no built-in protocol '300w'; there are synthetic/inter-ocular/v1"),
    ],
)
def test_refusals(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_schema_without_eyes():
    blind = schema.LandmarkSchema("blind", 1, (0,))
    with pytest.raises(ValueError, match="schema blind does not define"):
        Protocol("p").check(blind)
    Protocol("p", normalizer="box_size").check(blind)


def test_built_in_names_and_round_trip():
    for name, one in protocol.BUILT_IN.items():
        assert one.name == name and Protocol(**one.to_dict()) == one
