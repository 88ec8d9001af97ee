"""Landmarks in another markup: exact or refused."""

import os
from pathlib import Path

import numpy as np
import pytest

from wingmark import schema
from wingmark.data.sources import AFLW, COFW, WFLW, AFLWSqlite, Kaggle15, LaPa, Remapped, SyntheticFaces
from wingmark.data.sources.remapped import MAPS
from wingmark.data.sources.source import Source
from wingmark.geometry import apply
from wingmark.types import Face

DATA = os.environ.get("WINGMARK_DATA")


class OneFace(Source):
    def __init__(self, name: str) -> None:
        self.schema = schema.get(name)

    def faces(self, split):
        count = self.schema.num_landmarks
        points = np.random.default_rng(count).uniform(0, 100, (count, 2))
        points[3] = np.nan
        occluded = np.arange(count) == 7
        return [Face("a.png#0", "a.png", points, "a.png", occluded=occluded)] if split == "train" else []


@pytest.mark.parametrize(("own", "wanted"), MAPS)
def test_each_landmark_is_the_mean_of_its_parts(own, wanted):
    source = OneFace(own)
    found, face = Remapped(source, wanted).faces("train")[0], source.faces("train")[0]
    assert found.landmarks_image.shape == (schema.get(wanted).num_landmarks, 2) and found.id == face.id
    for k, part in enumerate(MAPS[own, wanted]):
        expected = sum(face.landmarks_image[i] for i in part) / len(part)
        assert found.landmarks_image[k] == pytest.approx(expected, abs=1e-12, nan_ok=True)
        assert found.valid[k] == (3 not in part) and found.occluded[k] == (7 in part)


@pytest.mark.parametrize(("own", "wanted"), MAPS)
def test_mirroring_and_remapping_commute(own, wanted):
    """A left part where a right one belongs would break this."""
    first, second, parts = schema.get(own), schema.get(wanted), MAPS[own, wanted]
    for k, part in enumerate(parts):
        assert {first.flip_permutation[i] for i in part} == {*parts[second.flip_permutation[k]]}


@pytest.mark.parametrize("own", ["ibug68", "wflw98"])
def test_five_landmarks_lie_where_their_names_say(own):
    face = Remapped(SyntheticFaces(schema=own, train=3), "five").faces("train")[0]
    right, left, nose, mouth_right, mouth_left = apply(np.eye(2, 3), face.landmarks_image)
    assert right[0] < nose[0] < left[0] and mouth_right[0] < mouth_left[0]
    assert max(right[1], left[1]) < nose[1] < min(mouth_right[1], mouth_left[1])


SAMPLES = {
    "aflw19": (AFLW, "aflw", "train"),
    "aflw21": (AFLWSqlite, "aflw", "train"),
    "cofw29": (COFW, "cofw", "test"),
    "kaggle15": (Kaggle15, "kaggle15", "train"),
    "lapa106": (LaPa, "lapa/LaPa", "test"),
    "wflw98": (WFLW, "wflw", "test"),
}


@pytest.mark.skipif(DATA is None, reason="WINGMARK_DATA is not set: the folder of real samples/")
@pytest.mark.parametrize("own", SAMPLES)
def test_five_landmarks_of_real_faces_lie_where_their_names_say(own):
    """An exchange of left and right, which mirrors would not show, or a part of another name."""
    reader, folder, split = SAMPLES[own]
    faces = Remapped(reader(str(Path(DATA) / "samples" / folder)), "five").faces(split)
    shapes = np.stack([face.landmarks_image for face in faces if face.valid.all()])
    right, left, nose, mouth_right, mouth_left = np.median(shapes - shapes.mean(1, keepdims=True), axis=0)
    assert right[0] < nose[0] < left[0] and mouth_right[0] < nose[0] < mouth_left[0]
    assert max(right[1], left[1]) < nose[1] < min(mouth_right[1], mouth_left[1])


def test_what_is_not_exact_is_refused():
    with pytest.raises(ValueError, match=r"landmarks of ibug68 cannot be turned into wflw98 exactly, only into five"):
        Remapped(OneFace("ibug68"), "wflw98")
    with pytest.raises(ValueError, match="five cannot be turned into ibug68 exactly, only into no other markup"):
        Remapped(OneFace("five"), "ibug68")
    with pytest.raises(ValueError, match="are ibug68 already; take the source without Remapped"):
        Remapped(OneFace("ibug68"), "ibug68")


def test_the_image_stays():
    source = SyntheticFaces(train=1)
    face = Remapped(source, "five").faces("train")[0]
    assert (Remapped(source, "five").read_image(face, 2) == source.read_image(face, 2)).all()
