"""Several sources as one."""

import pytest
from jsonargparse import ArgumentParser

from wingmark.data import Holdout, LandmarkDataModule
from wingmark.data.sources import Combined, SyntheticFaces
from wingmark.data.sources.source import Source

COUNTS = {"train": 3, "val": 0, "test": 2, "image_size": 64}


@pytest.fixture
def two() -> dict[str, Source]:
    return {"old": SyntheticFaces(**COUNTS), "new": SyntheticFaces(**COUNTS, seed=1)}


def test_faces_of_all_sources_under_names_of_their_own(two):
    faces = Combined(two).faces("train")
    expected = [(f"{name}/{face.id}", face) for name, source in two.items() for face in source.faces("train")]
    assert [face.id for face in faces] == [name for name, _ in expected]
    for face, (_, own) in zip(faces, expected, strict=True):
        assert (face.landmarks_image == own.landmarks_image).all() and face.boxes == own.boxes
    assert [face.tags & {"old", "new"} for face in faces] == [{"old"}] * 3 + [{"new"}] * 3
    # A photo that two sets share stays on one side of a split.
    assert [face.group for face in faces] == [own.group for _, own in expected]
    assert Combined(two).faces("val") == []


def test_images_come_from_the_source_of_the_face(two):
    combined = Combined(two)
    for face, own in zip(combined.faces("test"), [*two["old"].faces("test"), *two["new"].faces("test")], strict=True):
        source = two[face.id.partition("/")[0]]
        assert (combined.read_image(face, 2) == source.read_image(own, 2)).all()
        assert combined.image_version(face) == source.image_version(own)


def test_each_source_checks_its_own_faces(two):
    seen = {}
    for name, source in two.items():
        source.check_splits = lambda faces, name=name: seen.setdefault(name, faces)
    combined = Combined(two)
    combined.check_splits({split: combined.faces(split) for split in ("train", "val", "test")})
    for name, source in two.items():
        for split, faces in seen[name].items():
            own = source.faces(split)
            assert [(f.id, f.group, f.tags) for f in faces] == [(f.id, f.group, f.tags) for f in own]


def test_training_on_both(two):
    data = LandmarkDataModule(Combined(two), "synthetic/inter-ocular/v1", 32, holdout=Holdout(val=0.3), num_workers=0)
    assert {face.id.partition("/")[0] for face in data.faces("test")} == {"old", "new"}
    image = data.dataset("test")[2].image
    assert image.shape == (3, 32, 32) and image.float().std() > 5


@pytest.mark.parametrize(
    ("sources", "says"),
    [
        ({}, "got none"),
        ({"a": SyntheticFaces(), "b": SyntheticFaces("wflw98")}, "got a: ibug68, b: wflw98; wrap those of another"),
        ({"a/b": SyntheticFaces()}, r"words without '/', got \['a/b'\]"),
    ],
)
def test_refusals(sources, says):
    with pytest.raises(ValueError, match=says):
        Combined(sources)


def test_in_yaml():
    """As in configs/sources/combined_68.yaml."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--source", type=Source)
    part = {"class_path": "wingmark.data.sources.SyntheticFaces", "init_args": COUNTS}
    wanted = {"class_path": "wingmark.data.sources.Combined", "init_args": {"sources": {"a": part, "b": part}}}
    source = parser.instantiate_classes(parser.parse_object({"source": wanted})).source
    assert len(source.faces("test")) == 4 and isinstance(source.sources["b"], SyntheticFaces)


def test_known_defects_of_all(two):
    combined = Combined(two)
    faces = combined.faces("test")
    two["new"].known_defects = {faces[0].image.stem: "wrong"}
    assert faces[0].image.stem == faces[2].image.stem
    assert [combined.known_defect(face) for face in faces] == ["", "", "wrong", ""]


def test_published_counts_of_all(two):
    assert Combined(two).published_counts == {}
    two["old"].published_counts, two["new"].published_counts = {"train": 5}, {"train": 7, "test": 2}
    assert Combined(two).published_counts == {"train": 12, "test": 2}
