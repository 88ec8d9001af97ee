"""Files of predictions: ours and anyone's, and what is wrong with a bad one."""

import csv
from pathlib import Path

import numpy as np
import pytest

from wingmark import protocol, schema
from wingmark.evaluation import Predictions, Report
from wingmark.protocol import Protocol

BY_BOX = Protocol("five/box/v1", normalizer="box_size")


def arrays(faces: int = 6) -> dict[str, np.ndarray]:
    """What any method can write: three arrays, five landmarks."""
    random = np.random.default_rng(0)
    base = np.array([(30, 40), (70, 42), (50, 60), (35, 80), (66, 81)], float)
    target = base + random.normal(0, 3, (faces, 5, 2))
    return {
        "id": np.array([f"a/{i}.jpg#0" for i in range(faces)]),
        "landmarks_image": target + random.normal(0, 1, target.shape),
        "target": target,
    }


def saved(path: Path, **content: np.ndarray) -> Path:
    np.savez(path, **content)
    return path


def test_three_arrays_are_enough(tmp_path):
    content = arrays()
    found = Predictions.load(saved(tmp_path / "p.npz", **content), protocol.get("csv-tight/inter-ocular/v1"))
    assert found.schema.name == "five" and found.valid.all() and (found.group == content["id"]).all()
    eyes = np.linalg.norm(content["target"][:, 0] - content["target"][:, 1], axis=1)
    assert found.normalizer == pytest.approx(eyes, rel=1e-12)
    distance = np.linalg.norm(content["landmarks_image"] - content["target"], axis=2)
    assert np.allclose(found.errors(), distance / eyes[:, None], rtol=1e-12)


def test_nan_in_the_target_means_not_annotated(tmp_path):
    content = arrays()
    content["target"][2, 3] = np.nan
    content["landmarks_image"][2, 3] = np.nan
    found = Predictions.load(saved(tmp_path / "p.npz", **content), protocol.get("csv-tight/inter-ocular/v1"))
    assert not found.valid[2, 3] and found.valid.sum() == 29 and np.isnan(found.errors()[2, 3])


def test_csv_holds_the_same(tmp_path):
    content = arrays()
    content["target"][1, 4] = np.nan
    names = [f"{axis}{k}" for k in range(5) for axis in "xy"]
    with open(tmp_path / "p.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "tags", *names, *(f"true_{name}" for name in names)])
        for i in range(6):
            true = ["" if np.isnan(v) else repr(float(v)) for v in content["target"][i].ravel()]
            table.writerow([content["id"][i], "odd" if i % 2 else "", *content["landmarks_image"][i].ravel(), *true])
    by = protocol.get("csv-tight/inter-ocular/v1")
    found, expected = (
        Predictions.load(path, by) for path in (tmp_path / "p.csv", saved(tmp_path / "p.npz", **content))
    )
    for key in ("id", "landmarks_image", "valid", "normalizer", "group"):
        assert (getattr(found, key) == getattr(expected, key)).all()
    assert np.array_equal(found.target, expected.target, equal_nan=True)
    assert found.subsets()["odd"].tolist() == [False, True] * 3
    assert Report.of(found).scores["full"] == Report.of(expected).scores["full"]


def test_a_file_of_ours_needs_no_protocol_and_keeps_every_bit(tmp_path):
    certain = {"score": np.full((6, 5), 0.5, np.float32), "expected_error": np.full((6, 5), 2.5, np.float32)}
    first = Predictions.load(saved(tmp_path / "p.npz", **arrays(), **certain), BY_BOX)
    first.save(tmp_path / "ours.npz")
    again = Predictions.load(tmp_path / "ours.npz")
    for key, value in vars(first).items():
        assert np.array_equal(getattr(again, key), value), key


def test_tags_in_the_order_of_the_protocol(tmp_path):
    tags = np.array(["blur;pose", "", "aged", "pose", "blur", "aged;blur"])
    by = Protocol("p", faces={"full": 6, "pose": 2, "blur": 3})
    subsets = Predictions.load(saved(tmp_path / "p.npz", **arrays(), tags=tags), by).subsets()
    assert {name: members.sum() for name, members in subsets.items()} == {"full": 6, "pose": 2, "blur": 3, "aged": 2}
    assert list(subsets) == ["full", "pose", "blur", "aged"]


def change(**changes):
    return lambda content: {**content, **{key: make(content[key].copy()) for key, make in changes.items()}}


def put(where, value):
    def at(array):
        array[where] = value
        return array

    return at


def expecting(error: float):
    return lambda content: {**content, "expected_error": put((4, 2), error)(np.ones((6, 5)))}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (change(id=put(4, "a/1.jpg#0")), r"an id that came before .* in 1 of 6 faces: a/1.jpg#0 \(row 4\)"),
        (change(id=put(slice(1, 3), "")), r"an empty id in 2 of 6 faces:  \(row 1\),  \(row 2\)"),
        (change(id=lambda ids: ids[:5]), r"landmarks_image has shape \(6, 5, 2\), 5 ids"),
        (change(landmarks_image=put((3, 2, 0), np.nan)), r"NaN or infinite in 1 of 6 faces: a/3.jpg#0 \(row 3\)"),
        (change(landmarks_image=put((3, 2, 1), np.inf)), r"NaN or infinite in 1 of 6 faces: a/3.jpg#0 \(row 3\)"),
        (change(landmarks_image=lambda points: points[:, :4]), r"shape \(6, 4, 2\), 6 ids and schema five make"),
        (change(target=lambda points: points[:, :4]), "no built-in schema has 4 landmarks; say which"),
        (change(target=put((5, 1), (30, 40)), id=put(5, "last")), None),
        (change(target=put(2, np.nan)), r"no landmark that is annotated in 1 of 6 faces: a/2.jpg#0 \(row 2\)"),
        (change(target=put(slice(1, 3), 7.0)), r"inter_ocular is zero .* in 2 of 6 faces: a/1.jpg#0 \(row 1\), a/2"),
        (change(target=put((0, 1), np.nan)), r"needs the landmarks \[0, 1\], not all are valid in 1 of 6 faces: a/0"),
        (lambda content: {**content, "normalizer": np.full(6, 20.0)}, "normalizer is not the inter_ocular of protocol"),
        (change(target=put((3, 2, 1), np.nan)), r"annotated landmarks that are not finite in 1 of 6 faces: a/3.jpg#0"),
        (change(target=put((3, 2), np.inf)), r"annotated landmarks that are not finite in 1 of 6 faces: a/3.jpg#0"),
        (lambda content: {**content, "id": np.array("a")}, r"id has shape \(\); expected"),
        (lambda content: {**content, "target": np.zeros(6)}, r"target has shape \(6,\); expected"),
        (lambda content: {**content, "protocol": np.array("3")}, "expected keys and values, got int"),
        (lambda content: {**content, "valid": np.ones((6, 4), bool)}, r"valid has shape \(6, 4\)"),
        (lambda content: {"id": content["id"], "points": content["target"]}, r"lacks the arrays \['landmarks_image'"),
        (lambda content: {**content, "expected_error": np.ones((6, 2))}, r"expected_error has shape \(6, 2\)"),
        (expecting(-0.1), r"expected errors that are negative, NaN or infinite in 1 of 6 faces: a/4.jpg#0 \(row 4\)"),
        (expecting(np.nan), r"expected errors that are negative, NaN or infinite in 1 of 6 faces: a/4.jpg#0"),
        (expecting(np.inf), r"expected errors that are negative, NaN or infinite in 1 of 6 faces: a/4.jpg#0"),
        (lambda content: {key: value[:0] for key, value in content.items()}, "there are no faces in it"),
    ],
)
def test_bad_files_are_refused_by_row(tmp_path, spoil, says):
    path, by = saved(tmp_path / "p.npz", **spoil(arrays())), protocol.get("csv-tight/inter-ocular/v1")
    if says is None:
        assert len(Predictions.load(path, by).id) == 6
        return
    with pytest.raises(ValueError, match=f"p.npz:? .*{says}|p.npz {says}"):
        Predictions.load(path, by)


def test_nan_where_the_file_says_valid(tmp_path):
    content = arrays()
    content["target"][1, 4, 0] = np.nan
    path = saved(tmp_path / "p.npz", **content, valid=np.ones((6, 5), bool))
    with pytest.raises(ValueError, match=r"annotated landmarks that are not finite in 1 of 6 faces: a/1.jpg#0"):
        Predictions.load(path, BY_BOX)


def test_no_protocol_anywhere(tmp_path):
    with pytest.raises(ValueError, match="names no protocol; say by which one to evaluate it: --protocol NAME"):
        Predictions.load(saved(tmp_path / "p.npz", **arrays()))


def test_a_protocol_with_another_crop_is_another_prediction(tmp_path):
    Predictions.load(saved(tmp_path / "p.npz", **arrays()), BY_BOX).save(tmp_path / "ours.npz")
    pupils = Predictions.load(tmp_path / "ours.npz", Protocol("five/pupils/v1", normalizer="inter_pupil"))
    assert pupils.normalizer[0] == pytest.approx(np.linalg.norm(pupils.target[0, 0] - pupils.target[0, 1]), rel=1e-12)
    says = r"box tight x 1.25 \(five/box/v1\), protocol p makes them from the box tight x 2"
    with pytest.raises(ValueError, match=says):
        Predictions.load(tmp_path / "ours.npz", Protocol("p", margin=2))


def test_another_schema(tmp_path):
    path = saved(tmp_path / "p.npz", **arrays())
    with pytest.raises(ValueError, match=r"6 ids and schema ibug68 make \(6, 68, 2\)"):
        Predictions.load(path, BY_BOX, schema.get("ibug68"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: expected id,x0,y0"),
        ("id,x0,y0\n", "line 1: expected id,x0,y0"),
        ("id,x0,y0,true_x0,true_y0,age\n", r"line 1: .*unknown \['age'\]"),
        ("id,x0,true_x0,true_y0\n", r"line 1: .*missing \['y0'\]"),
        ("id,x0,y0,true_x0,true_y0\n", "line 2: no face below the header"),
        ("id,x0,y0,true_x0,true_y0\na,1,2,3,4\nb,1,2,3\n", "line 3: 4 cells, the header has 5"),
        ("id,x0,y0,true_x0,true_y0\na,1,2,3,four\n", "line 2: could not convert string to float: 'four'"),
    ],
)
def test_bad_csv_is_refused_by_line(tmp_path, text, says):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(ValueError, match=f"p.csv, {says}"):
        Predictions.load(tmp_path / "p.csv", BY_BOX)


def test_not_a_file_of_predictions(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there are no predictions .*none.npz"):
        Predictions.load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ValueError, match=r"text.npz is damaged or no .npz file"):
        Predictions.load(tmp_path / "text.npz")


def test_only_faces_with_the_tag_of_the_protocol(tmp_path):
    tags = np.array(["common", "challenge", "common;blur", "", "uncommon", " common"])
    path = saved(tmp_path / "p.npz", **arrays(), tags=tags, score=np.ones((6, 5)))
    found = Predictions.load(path, Protocol("p", tag="common"))
    assert found.id.tolist() == ["a/0.jpg#0", "a/2.jpg#0", "a/5.jpg#0"] and found.score.shape == (3, 5)
    assert {name: int(members.sum()) for name, members in found.subsets().items()} == {
        "full": 3,
        "blur": 1,
        "common": 3,
    }
    for file in (path, saved(tmp_path / "untagged.npz", **arrays())):
        with pytest.raises(ValueError, match="protocol p tests faces tagged 'night', and the file has none of them"):
            Predictions.load(file, Protocol("p", tag="night"))


def test_an_empty_group_is_the_face_itself(tmp_path):
    group = np.array(["", "photo", "photo", "", "", "x"])
    found = Predictions.load(saved(tmp_path / "p.npz", **arrays(), group=group), BY_BOX)
    assert found.group.tolist() == ["a/0.jpg#0", "photo", "photo", "a/3.jpg#0", "a/4.jpg#0", "x"]


def test_a_normalizer_with_a_few_decimals_is_the_same(tmp_path):
    normalizer = Predictions.load(saved(tmp_path / "p.npz", **arrays()), BY_BOX).normalizer
    Predictions.load(saved(tmp_path / "q.npz", **arrays(), normalizer=normalizer.round(2)), BY_BOX)
    with pytest.raises(ValueError, match=r"normalizer is not the box_size of protocol .* in 6 of 6 faces"):
        Predictions.load(saved(tmp_path / "r.npz", **arrays(), normalizer=normalizer + 0.05), BY_BOX)


def test_an_array_alone_is_no_file_of_predictions(tmp_path):
    np.save(tmp_path / "p.npy", np.ones(3))
    with pytest.raises(ValueError, match="p.npy is damaged or no .npz file"):
        Predictions.load(tmp_path / "p.npy")
