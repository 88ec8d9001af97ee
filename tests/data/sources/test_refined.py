"""A source with the boxes of a first stage, from files good and bad."""

import re

import numpy as np
import pytest

from wingmark import schema
from wingmark.data.holdout import Holdout, split_faces
from wingmark.data.sources import Refined
from wingmark.schema import LandmarkSchema
from wingmark.types import Box


def write(path, **arrays) -> str:
    np.savez(path, **arrays)
    return str(path)


@pytest.fixture
def source(dot_faces):
    return dot_faces()


def found_in(source) -> dict[str, np.ndarray]:
    splits = {split: source.faces(split) for split in ("test", "train", "val")}  # in any order
    faces = [face for split in splits.values() for face in split]
    return {
        "tags": np.array([f"odd;{split}" for split, faces in splits.items() for _ in faces]),
        "id": np.array([face.id for face in faces]),
        "landmarks_image": np.stack([face.landmarks_image for face in faces]) + 3.0,
    }


def test_every_face_has_the_box_of_its_prediction(source, tmp_path):
    refined = Refined(source, write(tmp_path / "p.npz", **found_in(source)))
    for split, count in (("train", 12), ("val", 4), ("test", 5)):
        assert len(refined.faces(split)) == count
        for face, inner in zip(refined.faces(split), source.faces(split), strict=True):
            assert face.id == inner.id and face.boxes.keys() == {"dataset", "refined"}
            assert face.boxes["dataset"] == inner.boxes["dataset"]
            box, points = face.boxes["refined"], inner.landmarks_image + 3.0
            eyes = points[1] - points[0]
            assert box.roll == pytest.approx(np.degrees(np.arctan2(eyes[1], eyes[0])), abs=1e-9)
            angle = np.radians(box.roll)
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            inside = np.abs((points - [box.x, box.y]) @ turn) / [box.width / 2, box.height / 2]
            assert inside.max(0) == pytest.approx([1, 1], abs=1e-9)


def test_all_else_is_the_inner_source(source, tmp_path):
    refined = Refined(source, "not written yet.npz")  # constructing it reads nothing
    face = source.faces("test")[0]
    assert refined.schema is source.schema and refined.published_counts == source.published_counts
    assert refined.image_version(face) == source.image_version(face)
    assert (refined.read_image(face) == source.read_image(face)).all()


def test_a_split_that_the_set_does_not_have_needs_no_predictions(dot_faces):
    assert Refined(dot_faces({"train": 3}), "gone.npz").faces("test") == []


WAY_OUT = "wingmark predict --run FIRST --faces all"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda a: {key: value[:-2] for key, value in a.items()},
            r": face val/001.png#0 is not in it; the first stage must be trained",
        ),
        (lambda a: {**a, "landmarks_image": a["landmarks_image"][:, :4]}, r"\(21, 4, 2\), 21 ids and schema five make"),
        (lambda a: {**a, "id": a["id"][:-1]}, r"20 ids and schema five make \(20, 5, 2\)"),
        (
            lambda a: {"id": a["id"], "landmarks_image": a["landmarks_image"]},
            "lacks the arrays .*tags",
        ),
        (lambda a: {**a, "id": np.where(a["id"] == a["id"][1], a["id"][0], a["id"])}, "several predictions for one"),
        (lambda a: {**a, "landmarks_image": a["landmarks_image"] * [np.nan, 1]}, "not finite in 21 of 21 faces: test"),
        (lambda a: {"id": a["id"]}, "lacks the arrays .*landmarks_image.*tags"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(source, tmp_path, change, says):
    refined = Refined(source, write(tmp_path / "p.npz", **change(found_in(source))))
    with pytest.raises(ValueError, match=f"p.npz.*{says}") as error:
        refined.faces("val")
    assert "lacks" not in says or WAY_OUT in str(error.value)


def test_a_file_that_is_not_there_or_none_is_named(source, tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(WAY_OUT)):
        Refined(source, str(tmp_path / "p.npz")).faces("val")
    (tmp_path / "p.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="p.npz is damaged or no .npz file"):
        Refined(source, str(tmp_path / "p.npz")).faces("val")


def test_faces_that_the_first_stage_was_trained_on_are_no_test_faces(dot_faces, tmp_path):
    source = dot_faces({"train": 20})
    cut = split_faces(source, Holdout(val=0.2, test=0.1, seed=3))
    found = {
        "id": [face.id for faces in cut.values() for face in faces],
        "landmarks_image": np.stack([face.landmarks_image for faces in cut.values() for face in faces]),
        "tags": [split for split, faces in cut.items() for _ in faces],
    }
    refined = Refined(source, write(tmp_path / "p.npz", **found))
    again = split_faces(refined, Holdout(val=0.2, test=0.1, seed=3))
    assert [face.id for face in again["test"]] == [face.id for face in cut["test"]]
    split_faces(refined, Holdout())  # nothing is scored
    for other, part in ((Holdout(val=0.2, test=0.1, seed=4), "test"), (Holdout(val=0.4, test=0.1, seed=3), "val")):
        with pytest.raises(
            ValueError, match=rf"p.npz was trained on .* faces: train/.*, which are {part} faces now; give"
        ):
            split_faces(refined, other)


def test_eyes_are_where_the_pupils_or_the_corners_are(source, tmp_path):
    assert schema.get("ibug68").eyes == ((36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47))
    assert LandmarkSchema("corners", 3, (1, 0, 2), inter_ocular=(0, 1)).eyes == ((0,), (1,))
    source.schema = LandmarkSchema("blind", 5, tuple(range(5)))
    with pytest.raises(ValueError, match="schema blind does not say where the eyes are, .* add inter_pupil or"):
        Refined(source, write(tmp_path / "p.npz", **found_in(source))).faces("val")


def test_boxes_are_plain_numbers(source, tmp_path):
    """Their text is part of a cache's name."""
    box = Refined(source, write(tmp_path / "p.npz", **found_in(source))).faces("val")[0].boxes["refined"]
    assert isinstance(box, Box) and all(type(value) is float for value in vars(box).values())
