import numpy as np
import pytest
import yaml

from wingmark import schema
from wingmark.schema import LandmarkSchema

COUNTS = {"ibug68": 68, "wflw98": 98, "cofw29": 29, "aflw19": 19, "lapa106": 106, "five": 5, "kaggle15": 15}
# Outer eye corners, image-left one first, as facial-landmark papers and data sets give them.
CORNERS = {
    "ibug68": (36, 45),
    "wflw98": (60, 72),
    "cofw29": (8, 9),
    "aflw19": (6, 11),
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


@pytest.mark.parametrize("name", schema.BUILT_IN)
def test_a_mirror_maps_every_contour_onto_a_contour(name):
    one = schema.get(name)
    drawn = {frozenset(contour.indices) for contour in one.contours.values()}
    assert {frozenset(one.flip[list(contour)].tolist()) for contour in drawn} == drawn


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
