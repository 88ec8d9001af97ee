import dataclasses
from pathlib import Path

import numpy as np
import pytest

from wingmark import protocol, schema
from wingmark.geometry import apply, crop_to_image
from wingmark.protocol import Protocol
from wingmark.types import Box, Face

FIVE = schema.get("five")


def length(protocol: Protocol, one: Face, schema=FIVE) -> float:
    return float(protocol.normalizers([one.id], one.landmarks_image[None], one.valid[None], schema)[0])


def face(landmarks, valid=None, **boxes) -> Face:
    landmarks = np.array(landmarks, float)
    valid = np.ones(len(landmarks), bool) if valid is None else np.array(valid)
    return Face("a.jpg#0", Path("a.jpg"), landmarks, "a", boxes, valid=valid)


POINTS = [(10, 20), (40, 60), (25, 45), (12, 70), (38, 72)]


def test_normalizers():
    one = face(POINTS)
    expected = {
        "inter_ocular": 50.0,  # (30, 40)
        "inter_pupil": 50.0,
        "box_size": np.sqrt(30 * 52),
        "box_diagonal": np.hypot(30, 52),
    }
    for normalizer, value in expected.items():
        assert length(Protocol("p", normalizer=normalizer), one) == pytest.approx(value, abs=1e-12)


def test_pupil_is_the_mean_of_its_landmarks():
    points = np.zeros((68, 2))
    points[36:42] = [(0, 0), (2, 1), (4, 1), (6, 0), (4, -1), (2, -1)]
    points[42:48] = [(20, 3), (22, 4), (24, 4), (26, 3), (24, 2), (22, 2)]
    found = length(Protocol("p", normalizer="inter_pupil"), face(points), schema.get("ibug68"))
    assert found == pytest.approx(np.hypot(20, 3), abs=1e-12)


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
        (
            lambda: length(Protocol("p"), face(POINTS, valid=[False] + [True] * 4)),
            r"needs the landmarks \[0, 1\], not all are valid in 1 of 1 faces: a.jpg#0 \(row 0\)",
        ),
        (
            lambda: length(Protocol("p"), face([(1, 1)] * 5)),
            "inter_ocular is zero or not finite in 1 of 1 faces: a.jpg#0",
        ),
        (lambda: Protocol("p", margin=0), "margin must be a positive number, got 0"),
        (lambda: Protocol("p", threshold=-1), "threshold must be a positive number, got -1"),
        (lambda: Protocol("p", threshold=8), "threshold is a fraction, 0.08 for 8 %, got 8"),
        (
            lambda: Protocol("p", normalizer="inter-ocular"),
            "normalizer must be one of inter_ocular, .* got 'inter-ocular'",
        ),
        (lambda: Protocol("p", crop="round"), "crop must be one of square, outwards, stretched, contain, got 'round'"),
        (lambda: Protocol("p", divide_by="some"), "divide_by must be one of valid, all, got 'some'"),
        (lambda: protocol.get("wflw"), r"neither built in \(wflw/inter-ocular/v1\) nor"),
        (lambda: protocol.get("300w-hrn"), r"neither built in \(300w-hrnet/inter-ocular/v1\) nor"),
        (
            lambda: protocol.get("300w/inter-ocular/v1").check(FIVE),
            "300w/inter-ocular/v1 is one of ibug68, but the landmarks are five; choose another data.protocol",
        ),
        (lambda: protocol.get("mine"), r"neither built in \(synthetic/inter-ocular/v1, 300w"),
        (
            lambda: Protocol("p", normalizer="dataset_size").normalizers_of([face(POINTS)], FIVE),
            "dataset_size needs the box dataset, missing in 1 of 1 faces: a.jpg#0",
        ),
        (lambda: Protocol("p", parts="common"), "each of the list parts must be words"),
        (lambda: Protocol(None), "name, box, tag and each of the list parts must be words"),
        (lambda: Protocol("p", faces=[3]), r"faces must name numbers of faces, got \[3\]"),
        (lambda: protocol.get("300w"), "protocol '300w' is neither built in \\(300w/inter-ocular/v1"),
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
        assert one.name == name and Protocol.from_dict(one.to_dict()) == one


@pytest.mark.parametrize(("name", "box", "grown"), [("wflw-awing", "dataset", 1.1), ("300w-awing", "detector", 1.0)])
def test_crop_of_the_adaptive_wing_paper(name, box, grown):
    rule = protocol.get(f"{name}/inter-ocular/v1")
    found = rule.crop_box(face(POINTS, **{box: Box.from_corners(198, 242, 331, 385)}))
    to_image = crop_to_image(found, 256, rule.margin)
    corners = apply(to_image, np.array([[-0.5, -0.5], [255.5, 255.5]]))
    half = 143 * grown / 2  # the box is 133 wide and 143 high
    assert corners == pytest.approx(np.array([[264.5 - half, 313.5 - half], [264.5 + half, 313.5 + half]]), abs=1e-9)


def test_digest_changes_with_the_content_alone():
    one = Protocol("a")
    assert Protocol("b").digest == one.digest and one.label == f"a#{one.digest}" and len(one.digest) == 8
    others = [
        Protocol("a", box="file"),
        Protocol("a", margin=1.3),
        Protocol("a", normalizer="box_size"),
        Protocol("a", threshold=0.1),
        Protocol("a", tag="x"),
        Protocol("a", parts=("x", "y")),
        Protocol("a", faces={"full": 3}),
        Protocol("a", crop="stretched"),
        Protocol("a", divide_by="all"),
    ]
    assert Protocol("a", schema="ibug68").digest == one.digest  # whose landmarks they are is no rule of counting
    assert len({one.digest, *(other.digest for other in others)}) == 10
    assert Protocol("a", margin=2).digest == Protocol("a", margin=2.0).digest


def test_a_protocol_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine/box/v1\nbox: file\nnormalizer: box_size\nparts: [easy, hard]\n")
    assert protocol.get(str(path)) == Protocol("mine/box/v1", "file", normalizer="box_size", parts=("easy", "hard"))
    for content, says in [("name: a\nbocks: 1", "unknown keys \\['bocks'\\]"), ("- 1", "expected keys and values")]:
        path.write_text(content)
        with pytest.raises(ValueError, match=f"mine.yaml: not a protocol: .*{says}"):
            protocol.get(str(path))


def test_box_normalizers_ignore_what_is_not_valid():
    points = [*POINTS[:4], (1000, 1000)]
    one = face(points, valid=[True, True, True, True, False])
    assert length(Protocol("p", normalizer="box_size"), one) == pytest.approx(np.sqrt(30 * 50), abs=1e-12)
    assert length(Protocol("p", normalizer="box_diagonal"), one) == pytest.approx(np.hypot(30, 50), abs=1e-12)


def test_rules_of_ones_own_need_a_name_of_their_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: 300w/inter-ocular/v1\nthreshold: 0.1\n")
    with pytest.raises(ValueError, match="300w/inter-ocular/v1 is the name of a built-in protocol with other rules"):
        protocol.get(str(path))


def test_a_damaged_file_is_told_in_one_line(tmp_path):
    (tmp_path / "bad.yaml").write_text("name: [a\nbox: b: c\n")
    with pytest.raises(ValueError, match=r"bad.yaml: not a protocol: while parsing") as error:
        protocol.get(str(tmp_path / "bad.yaml"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["300w", "300w-holdout", "wflw"])
def test_refined_protocols_differ_from_the_first_stage_s_in_the_crop_alone(name):
    refined, first = (protocol.get(f"{name}{end}/inter-ocular/v1") for end in ("-refined", ""))
    assert (refined.box, refined.margin) == ("refined", 1.25)
    assert dataclasses.replace(refined, name=first.name, box=first.box, margin=first.margin) == first


def test_normalizers_of_the_dataset_box():
    faces = [face(POINTS, dataset=Box(5, 5, 30, 40)), face(POINTS, dataset=Box(5, 5, 20, 20))]
    assert Protocol("p", normalizer="dataset_size").normalizers_of(faces, FIVE) == pytest.approx([1200**0.5, 20])
    assert Protocol("p", normalizer="dataset_diagonal").normalizers_of(faces, FIVE) == pytest.approx([50, 800**0.5])


def test_dividing_by_all_landmarks():
    """As MERL-RAV counts: the sum over the valid landmarks over their whole number."""
    one = face([*POINTS[:4], (np.nan, np.nan)], valid=[True] * 4 + [False])
    valid, every = (length(Protocol("p", normalizer="box_size", divide_by=by), one) for by in ("valid", "all"))
    errors = np.array([3.0, 1.0, 4.0, 1.0])
    assert (errors / valid).mean() == pytest.approx(errors.mean() / np.sqrt(30 * 50))
    assert (errors / every).mean() == pytest.approx(errors.sum() / 5 / np.sqrt(30 * 50))


def corners(rule: Protocol, one: Face) -> list[float]:
    """Left, top, right and bottom edge of the crop in the image."""
    found = apply(rule.crop_to_image(one, 100), np.array([[-0.5, -0.5], [99.5, 99.5]]))
    return found.ravel().tolist()


def test_outwards_is_the_square_of_hrnet():
    points = np.array([(10.2, 20.7), (40.1, 60.0), (25, 45), (12, 70), (38, 72.3)])
    # floor 10 and 20, ceil 41 and 73: center (25.5, 46.5), side 53, times 1.25.
    half = 53 * 1.25 / 2
    expected = [25.5 - half, 46.5 - half, 25.5 + half, 46.5 + half]
    assert corners(protocol.get("wflw-hrnet/inter-ocular/v1"), face(points)) == pytest.approx(expected)


def test_stretched_is_the_box_itself():
    one = face(POINTS, dataset=Box.from_corners(100, 50, 200, 90))
    expected = [150 - 60, 70 - 24, 150 + 60, 70 + 24]
    assert corners(protocol.get("wflw-pipnet/inter-ocular/v1"), one) == pytest.approx(expected)


# A box of 100 x 100 px: 450 px are 168 px of the image at first, their middle 134.4; its 250th of 256 px lies at x
# 214.3, the 440th of 450 px at x 230.4 with the divisor 250, at 233.7 with 240, at 241.4 with 220.
@pytest.mark.parametrize(
    ("x", "side"), [(214.2, 134.4), (214.4, 168.0), (230.3, 168.0), (230.5, 175.0), (241.3, 42000 / 220)]
)
def test_contain_grows_until_all_landmarks_are_inside(x, side):
    one = face([(150, 70), (x, 70)], dataset=Box(150, 70, 100, 100))
    found = corners(protocol.get("wflw-awing-code/inter-ocular/v1"), one)
    assert found == pytest.approx([150 - side / 2, 70 - side / 2, 150 + side / 2, 70 + side / 2])
