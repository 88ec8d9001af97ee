"""Each check finds what was put wrong, names the face, and is silent about sound faces."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wingmark import schema
from wingmark.data.sources import SyntheticFaces
from wingmark.data.sources.reading import entry
from wingmark.data.sources.source import Source
from wingmark.evaluation.inspection import Finding, inspect
from wingmark.types import Box, Face

SIZE = 160


class Labeled(Source):
    """Given faces, on pictures of noise that differ by the name of the photo."""

    schema = schema.get("ibug68")

    def __init__(self, **faces: list[Face]) -> None:
        self.by_split = faces
        self.known_defects = {}
        self.unreadable: dict[str, str] = {}
        self.decoded: list[str] = []

    def faces(self, split: str) -> list[Face]:
        for where in self.unreadable if split == "train" else ():
            with entry(where, "mend it"):
                raise ValueError(self.unreadable[where])
        return self.by_split.get(split, [])

    def read_image(self, face: Face, reduce: int = 1) -> np.ndarray:
        self.decoded.append(str(face.image))
        if "broken" in face.image.name:
            raise ValueError(f"{face.image}: cannot be decoded")
        pixels = face.image.stem.removesuffix("_copy")
        random = np.random.default_rng(list(pixels.encode()))
        return random.integers(0, 256, (SIZE, SIZE, 3), np.uint8)


def faces(count: int, split: str = "train") -> list[Face]:
    # Few are turned far: what is usual is known from a hundred faces.
    drawn = SyntheticFaces(train=count, image_size=SIZE, seed=3).faces("train")
    names = [f"{split}/{i:03d}.png" for i in range(count)]
    return [
        replace(face, id=f"{name}#0", image=Path(name), group=name, boxes={}, tags=frozenset())
        for face, name in zip(drawn, names, strict=True)
    ]


def moved(face: Face, **places: tuple[float, float]) -> Face:
    points = face.landmarks_image.copy()
    for name, place in places.items():
        points[int(name[1:])] = place
    return replace(face, landmarks_image=points)


def found(source: Source, box: str = "tight") -> list[Finding]:
    return inspect(source, box, num_workers=0)[1]


@pytest.fixture(scope="module")
def sound() -> list[Face]:
    """A hundred faces in which nothing is wrong."""
    drawn = faces(140)
    bad = {finding.face for finding in found(Labeled(train=drawn))}
    kept = [face for face in drawn if face.id not in bad][:100]
    assert len(kept) == 100 and found(Labeled(train=kept)) == []
    return kept


def only(source: Source, kind: str, face: Face, says: str, box: str = "tight") -> None:
    """The face has a finding of that kind that says this, no other face has one, and it may have others itself."""
    findings = found(source, box)
    assert [finding.face for finding in findings if finding.kind == kind] == [face.id], findings
    assert {finding.face for finding in findings} == {face.id}, findings
    (value,) = [finding.value for finding in findings if finding.kind == kind]
    assert re.search(says, value), value


def test_swapped_faces_and_pairs(sound):
    flip = schema.get("ibug68").flip
    whole = replace(sound[7], landmarks_image=sound[7].landmarks_image[flip])
    only(Labeled(train=[*sound[:7], whole, *sound[8:]]), "left and right swapped", whole, "^all landmarks$")
    eyes = np.arange(68)
    eyes[36:48] = flip[36:48]
    part = replace(sound[7], landmarks_image=sound[7].landmarks_image[eyes])
    says = "^landmarks 36-45, 37-44, 38-43, 39-42 and 2 more$"
    only(Labeled(train=[*sound[:7], part, *sound[8:]]), "left and right swapped", part, says)
    corners = moved(sound[7], p48=sound[7].landmarks_image[54], p54=sound[7].landmarks_image[48])
    only(Labeled(train=[*sound[:7], corners, *sound[8:]]), "left and right swapped", corners, "^landmark 48-54$")


def test_a_set_with_left_and_right_exchanged_throughout(sound):
    flip = schema.get("ibug68").flip
    swapped = [replace(face, landmarks_image=face.landmarks_image[flip]) for face in sound]
    findings = found(Labeled(train=swapped))
    assert [f.face for f in findings if f.value == "all landmarks"] == [face.id for face in sound]


def test_swapped_faces_are_found_lying_on_their_side(sound):
    """A turn is no mirror: faces turned by a right angle are sound."""
    turned = [
        replace(face, landmarks_image=(SIZE - 1) / 2 + (face.landmarks_image - (SIZE - 1) / 2) @ [[0, 1], [-1, 0]])
        for face in sound[:10]
    ]
    assert found(Labeled(train=[*turned, *sound[10:]])) == []


def test_landmarks_far_outside_the_image(sound):
    wild = moved(sound[3], p8=(80.0, SIZE - 0.5 + 90.0), p10=(-200.5, 80.0))
    source = Labeled(train=[*sound[:3], wild, *sound[4:]])
    only(source, "far outside", wild, "^landmarks 8, 10 up to 200 px outside the image$")
    near = moved(sound[3], p8=(sound[3].landmarks_image[8, 0], SIZE - 0.5 + 10.0))  # less than half a face
    assert "far outside" not in {finding.kind for finding in found(Labeled(train=[*sound[:3], near, *sound[4:]]))}


def test_unusual_shapes(sound):
    mixed = replace(sound[5], landmarks_image=np.roll(sound[5].landmarks_image, 5, axis=0))
    only(Labeled(train=[*sound[:5], mixed, *sound[6:]]), "unusual shape", mixed, "faces from the mean")
    slipped = moved(sound[5], p30=(0.0, 0.0))
    says = r"^landmark 30 off by 0.[5-9]\d faces \(z \d\d"
    only(Labeled(train=[*sound[:5], slipped, *sound[6:]]), "unusual landmark", slipped, says)
    assert found(Labeled(train=[slipped, *sound[6:20]])) == []  # too few to know


def test_eyes_close_together(sound):
    face = sound[4]
    pupil = face.landmarks_image[36:42].mean(0)
    points = face.landmarks_image.copy()
    points[42:48] += pupil - points[42:48].mean(0) + [2.0, 0.0]
    close = replace(face, landmarks_image=points)
    only(Labeled(train=[*sound[:4], close, *sound[5:]]), "eyes close", close, r"^2.0 px, [23].\d % of the face$")
    small = replace(face, landmarks_image=face.landmarks_image / 8)
    only(Labeled(train=[*sound[:4], small, *sound[5:]]), "eyes close", small, r"^[3-7].\d px, ")


def test_coincident_landmarks(sound):
    face = moved(sound[2], p37=sound[2].landmarks_image[36], p30=sound[2].landmarks_image[33])
    only(Labeled(train=[*sound[:2], face, *sound[3:]]), "coincident", face, "^landmarks 30=33, 36=37$")
    points = sound[2].landmarks_image
    shut = moved(sound[2], p41=points[37], p40=points[38], p66=points[62])  # an eye and a mouth are closed
    assert found(Labeled(train=[*sound[:2], shut, *sound[3:]])) == []
    markup = [moved(face, p30=face.landmarks_image[33]) for face in sound]
    assert "coincident" not in {finding.kind for finding in found(Labeled(train=markup))}


def test_without_location_or_extent(sound):
    lost = moved(sound[1], p9=(np.nan, 4.0))
    invalid = replace(lost, valid=np.isfinite(lost.landmarks_image).all(1))
    assert found(Labeled(train=[sound[0], invalid, *sound[2:]])) == []
    claimed = replace(lost, valid=np.ones(68, bool))
    says = "^valid, but without location: landmark 9$"
    only(Labeled(train=[sound[0], claimed, *sound[2:]]), "not finite", claimed, says)
    single = replace(sound[1], valid=np.arange(68) == 3)
    only(Labeled(train=[sound[0], single, *sound[2:]]), "no extent", single, "^1 landmarks span 0 x 0 px$")
    none = replace(sound[1], valid=np.zeros(68, bool))
    only(Labeled(train=[sound[0], none, *sound[2:]]), "no extent", none, "^0 landmarks")
    with pytest.raises(ValueError, match="no face has landmarks that span an area"):
        found(Labeled(train=[none]))


def test_boxes(sound):
    points = sound[0].landmarks_image
    (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
    side = max(right - left, bottom - top)
    good = Box.from_corners(left, top, right, bottom)
    turned = replace(good, width=good.height, height=good.width, roll=90.0)
    assert found(Labeled(train=[replace(sound[0], boxes={"dataset": good, "turned": turned}), *sound[1:]])) == []
    for box, says in (
        (replace(good, x=good.x + 2 * side), "^dataset: 0 % of the landmarks inside, its side 1 times theirs$"),
        (replace(good, width=4 * side, height=4 * side), "^dataset: 100 % of .* its side 4 times theirs$"),
        (replace(good, width=side / 10, height=side / 10), "^dataset: .* its side 0.1 times theirs$"),
        (replace(good, width=0.0), "^dataset: no area"),
        (replace(good, x=np.nan), "^dataset: no area"),
    ):
        face = replace(sound[0], boxes={"dataset": box})
        only(Labeled(train=[face, *sound[1:]]), "box off", face, says)
    with_box = [replace(face, boxes={"dataset": good}) for face in sound[1:]]
    kinds = [f for f in found(Labeled(train=[sound[0], *with_box]), "dataset") if f.kind == "no box"]
    assert [(f.face, f.value) for f in kinds] == [(sound[0].id, "data.protocol.box is dataset, the face has none")]


def test_images_and_photos_in_two_splits(sound):
    train, test = sound[:50], sound[50:]
    copy = replace(test[1], id="test/a#0", image=Path("test/000_copy.png"), group="test/a")  # pixels of train[0]
    test = [test[0], copy, *test[2:]]
    assert train[0].image.stem == "000"
    (finding,) = found(Labeled(train=train, test=test))
    says = f"same pixels as {train[0].id} (train)"
    assert finding == Finding("image in two splits", "test", "test/a#0", says)
    twice = replace(copy, landmarks_image=train[0].landmarks_image + 0.5)
    kinds = [(f.kind, f.value) for f in found(Labeled(train=train, test=[twice, *test[2:]]))]
    assert kinds == [("image in two splits", says), ("face twice", f"as {train[0].id} (train)")]
    kinds = [(f.kind, f.split) for f in found(Labeled(train=[*train, twice]))]
    assert kinds == [("image twice", "train"), ("face twice", "train")]
    same_photo = replace(copy, group=train[0].group)
    assert found(Labeled(train=[*train, same_photo])) == []  # two faces of one photo, in files of their own
    photo = replace(test[2], group=train[9].group)
    (finding,) = found(Labeled(train=train, test=[test[0], photo]))
    assert (finding.kind, finding.face) == ("photo in two splits", photo.id)
    assert finding.value == f"{train[9].group} is also in train: {train[9].id}"


def test_unreadable_images_and_annotations_and_known_defects(sound):
    broken = replace(sound[0], image=Path("train/broken.png"))
    source = Labeled(train=[broken, *sound[1:]])
    source.unreadable = {"list.txt, line 7": "3 fields", "list.txt, line 9": "4 fields"}
    source.known_defects = {"broken": "half of it is missing", sound[6].image.stem: "an eye is wrong"}
    assert found(source) == [
        Finding("unusable annotation", "train", "", "list.txt, line 7: 3 fields; mend it"),
        Finding("unusable annotation", "train", "", "list.txt, line 9: 4 fields; mend it"),
        Finding("known defect", "train", broken.id, "half of it is missing", "half of it is missing"),
        Finding("known defect", "train", sound[6].id, "an eye is wrong", "an eye is wrong"),
        Finding("unreadable image", "train", broken.id, "train/broken.png: cannot be decoded", "half of it is missing"),
    ]


def test_an_image_of_several_faces_is_decoded_once(sound):
    shared = [replace(face, image=Path("a/b.jpg"), group="a") for face in sound[:30]]
    source = Labeled(train=[*shared, *sound[30:]])
    labels, _ = inspect(source, "tight", num_workers=0)
    assert source.decoded.count("a/b.jpg") == 1 and len(source.decoded) == 71
    assert {facts[:2] for facts in labels.images} == {(SIZE, SIZE)}
    assert len({facts.digest for facts in labels.images}) == 71


def test_what_is_no_set_of_faces(sound):
    with pytest.raises(ValueError, match="Labeled has no faces"):
        found(Labeled())
    short = replace(sound[0], landmarks_image=sound[0].landmarks_image[:5], valid=None, occluded=None)
    with pytest.raises(ValueError, match=r"landmarks of shape \(5, 2\), its schema expects \(68, 2\)"):
        found(Labeled(train=[short]))


def test_the_mean_shape_is_that_of_the_faces_and_nearly_its_mirror_image(sound):
    """A turned, scaled and shifted copy of one shape is that shape; its side is measured in pixels."""
    shape = sound[0].landmarks_image
    angle = np.linspace(-0.5, 0.5, 11)
    turns = np.stack([np.stack([np.cos(angle), np.sin(angle)], 1), np.stack([-np.sin(angle), np.cos(angle)], 1)], 1)
    copies = [
        replace(face, landmarks_image=shape @ turn * scale + 3.0)
        for face, turn, scale in zip(sound[:11], turns, np.linspace(0.5, 1.5, 11), strict=True)
    ]
    labels, _ = inspect(Labeled(train=copies), "tight", num_workers=0)
    shapes = labels.shapes
    np.testing.assert_allclose(shapes.deviations, 0, atol=1e-6)
    upright = np.ptp(shape, 0).max()
    np.testing.assert_allclose(shapes.sides, upright * np.linspace(0.5, 1.5, 11), rtol=0.08)
    flip = labels.schema.flip
    mirrored = shapes.mirrored(flip)
    np.testing.assert_allclose(mirrored[36] - mirrored[45], (shapes.mean[45] - shapes.mean[36]) * [-1, 1])
    np.testing.assert_allclose(mirrored.mean(0), shapes.mean.mean(0))
