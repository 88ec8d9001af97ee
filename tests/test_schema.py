import numpy as np
import pytest
import yaml

from wingmark import schema
from wingmark.schema import LandmarkSchema

COUNTS = {
    "ibug68": 68,
    "wflw98": 98,
    "cofw29": 29,
    "aflw19": 19,
    "aflw21": 21,
    "lapa106": 106,
    "five": 5,
    "kaggle15": 15,
}
# Outer eye corners, image-left one first, as facial-landmark papers and data sets give them.
CORNERS = {
    "ibug68": (36, 45),
    "wflw98": (60, 72),
    "cofw29": (8, 9),
    "aflw19": (6, 11),
    "aflw21": (6, 11),
    "lapa106": (66, 79),
    "five": (0, 1),
    "kaggle15": (5, 3),
}


@pytest.mark.parametrize("name", schema.BUILT_IN)
def test_built_in(name):
    one = schema.get(name)
    assert one.name == name
    assert one.num_landmarks == COUNTS[name]
    assert one.inter_ocular == CORNERS[name]
    assert (one.flip[one.flip] == np.arange(one.num_landmarks)).all()
    assert LandmarkSchema.from_dict(one.to_dict()) == one


# The curves that the released code of Adaptive Wing draws, but for landmark 5 of the 19, which it drops by a slip.
PAPER = {
    "ibug68": [
        range(17), range(17, 22), range(22, 27), range(36, 40), (36, 41, 40, 39), range(42, 46), (42, 47, 46, 45),
        range(27, 31), range(31, 36), range(48, 55), range(60, 65), (48, 59, 58, 57, 56, 55, 54), (60, 67, 66, 65, 64),
    ],
    "wflw98": [
        range(33), range(33, 38), range(42, 47), range(60, 65), (60, 67, 66, 65, 64), range(68, 73),
        (68, 75, 74, 73, 72), range(51, 55), range(55, 60), range(76, 83), range(88, 93),
        (76, 87, 86, 85, 84, 83, 82), (88, 95, 94, 93, 92),
    ],
    "cofw29": [
        (0, 4, 2), (0, 5, 2), (1, 6, 3), (1, 7, 3), (8, 12, 10), (8, 13, 10), (9, 14, 11), (9, 15, 11),
        (18, 21, 19), (22, 24, 23), (22, 25, 23), (22, 26, 23), (22, 27, 23),
    ],
    "aflw19": [range(3), range(3, 6), range(6, 9), range(9, 12), range(12, 15)],
}  # fmt: skip


@pytest.mark.parametrize("name", PAPER)
def test_the_boundary_of_the_paper(name):
    drawn = schema.get(name).boundary("paper")
    assert sorted(contour.indices for contour in drawn) == sorted(map(tuple, PAPER[name]))
    assert not any(contour.closed for contour in drawn)


@pytest.mark.parametrize("name", ["ibug68", "wflw98", "cofw29", "aflw19", "aflw21", "lapa106"])
def test_the_fuller_boundary_holds_all_landmarks_of_the_paper_and_those_of_all_contours(name):
    one = schema.get(name)
    full, paper = ({i for curve in one.boundary(which) for i in curve.indices} for which in ("full", "paper"))
    annotated = {i for contour in one.contours.values() for i in contour.indices}
    assert paper <= full == annotated


def test_a_schema_stored_before_there_were_boundaries_is_read():
    fields = schema.get("wflw98").to_dict()
    del fields["boundaries"]
    assert LandmarkSchema.from_dict(fields).boundaries == {}


@pytest.mark.parametrize("name", schema.BUILT_IN)
def test_a_mirror_maps_every_contour_onto_a_contour(name):
    one = schema.get(name)
    drawn = {frozenset(contour.indices) for contour in one.contours.values()}
    assert {frozenset(one.flip[list(contour)].tolist()) for contour in drawn} == drawn


def test_the_21_landmarks_of_aflw_are_the_19_and_two_ears():
    whole, part = schema.get("aflw21"), schema.get("aflw19")
    kept = [i for i in range(21) if i not in (12, 16)]
    assert whole.flip_permutation[12] == 16
    assert [kept.index(whole.flip_permutation[i]) for i in kept] == list(part.flip_permutation)
    assert {n: [kept.index(i) for i in c.indices] for n, c in whole.contours.items()} == {
        n: list(c.indices) for n, c in part.contours.items()
    }


def small(**changes) -> dict:
    fields = {"name": "mine", "num_landmarks": 3, "flip_permutation": [1, 0, 2], "inter_ocular": [0, 1]}
    return fields | changes


def test_own_schema_from_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(small(contours={"edge": {"indices": [0, 2, 1], "closed": True}})))
    mine = schema.get(str(path))
    assert (mine.num_landmarks, mine.inter_pupil, mine.contours["edge"].closed) == (3, None, True)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (small(flip_permutation=[1, 2, 0]), "0 -> 1 -> 2"),
        (small(flip_permutation=[1, 0]), "each of 0..2 once"),
        (small(flip_permutation=[1, 0, 3]), "each of 0..2 once"),
        (small(inter_ocular=[0, 3]), "inter_ocular must hold indices in 0..2"),
        (small(inter_ocular=[0, 2]), "0] mirrors to [1], not to [2]"),
        (small(inter_pupil=[[0], [2]]), "inter_pupil must name the same landmarks of both eyes"),
        (small(contours={"edge": {"indices": [0, 7]}}), "contours.edge must hold indices"),
        (
            small(boundaries={"all": ["edge"]}),
            "boundaries.all must list contours of two landmarks or more, got ['edge']; there are none",
        ),
        (small(contour={}), "unknown keys ['contour']"),
        ({"name": "mine"}, "missing keys ['flip_permutation', 'num_landmarks']"),
        ([1, 2], "expected keys and values, got list"),
    ],
)
def test_unsound_schema_is_refused_with_its_file(tmp_path, fields, says):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(fields))
    with pytest.raises(ValueError) as refusal:
        schema.get(str(path))
    assert str(path) in str(refusal.value) and says in str(refusal.value)


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match="neither built in .ibug68, wflw98"):
        schema.get("ibug86")
