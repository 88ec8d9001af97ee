import csv
import json

import cv2
import numpy as np
import pytest

from wingmark.data.dataset import FaceDataset
from wingmark.data.regions import Regions
from wingmark.evaluation import Predictions, Scores, print_report, write_report
from wingmark.evaluation.pictures import PREDICTED_COLOR, draw_landmarks
from wingmark.protocol import Protocol

PROTOCOL = Protocol("dots/inter-ocular/v1", box="dataset", margin=1.2, threshold=0.05)


ALL = np.arange(12)


@pytest.fixture
def dataset(dot_faces) -> FaceDataset:
    source = dot_faces()
    return FaceDataset(Regions(source, source.faces("train"), PROTOCOL, 64, 1.0), source.schema)


@pytest.fixture
def predictions(dataset) -> Predictions:
    noise = np.random.default_rng(0).normal(0, 2, (12, 5, 2)) * np.linspace(0, 2, 12)[:, None, None]
    landmarks = np.stack([face.landmarks_image for face in dataset.faces]) + noise
    return Predictions.of_faces(dataset.faces, dataset.schema, PROTOCOL, landmarks, None)


def loop(dataset, predictions) -> list[float]:
    """NME of every face, by the definition."""
    nmes = []
    for face, found in zip(dataset.faces, predictions.landmarks_image, strict=True):
        (ax, ay), (bx, by) = face.landmarks_image[0], face.landmarks_image[1]
        eyes = ((ax - bx) ** 2 + (ay - by) ** 2) ** 0.5
        distances = [
            ((x - u) ** 2 + (y - v) ** 2) ** 0.5 for (x, y), (u, v) in zip(found, face.landmarks_image, strict=True)
        ]
        nmes.append(sum(distances) / 5 / eyes)
    return nmes


def test_report_against_a_loop(dataset, predictions, tmp_path, capsys):
    print_report(tmp_path, PROTOCOL, write_report(tmp_path, dataset, ALL, predictions, {"codec": "dots"}))
    nmes = loop(dataset, predictions)
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["codec"] == "dots"
    assert list(content["scores"]) == ["all", "odd"]
    for name, members in {"all": nmes, "odd": nmes[1::2]}.items():
        score, count = content["scores"][name], len(members)
        assert score["faces"] == count
        assert score["nme"] == pytest.approx(sum(members) / count, rel=1e-12)
        assert score["fr"] == pytest.approx(sum(nme > 0.05 for nme in members) / count, rel=1e-12)
        assert score["auc"] == pytest.approx(sum(max(0, 1 - nme / 0.05) for nme in members) / count, rel=1e-12)
    rows = list(csv.DictReader((tmp_path / "faces.csv").open()))
    assert [row["id"] for row in rows] == [face.id for face in dataset.faces]
    assert [float(row["nme"]) for row in rows] == pytest.approx(nmes, abs=1e-6)
    assert [row["tags"] for row in rows[:2]] == ["", "odd"]
    out = capsys.readouterr().out
    assert f"{100 * sum(nmes) / 12:.2f}" in out and max(map(len, out.splitlines())) <= 80 + len(str(tmp_path))


def test_predictions_survive_their_file(predictions, tmp_path):
    predictions.save(tmp_path / "p.npz")
    again = Predictions.load(tmp_path / "p.npz")
    for key, value in vars(predictions).items():
        assert (getattr(again, key) == value).all() if value is not None else getattr(again, key) is None


def test_landmarks_that_are_not_valid_do_not_count(dataset, predictions):
    predictions.valid[0, 2] = False
    predictions.landmarks_image[0, 2] = np.nan
    errors = predictions.errors()
    assert np.isnan(errors[0, 2]) and np.isfinite(errors).sum() == 12 * 5 - 1


def test_failures_count_strictly_above():
    assert Scores.of(np.array([0.04, 0.05, 0.06]), 0.05) == Scores(
        3, pytest.approx(0.05), pytest.approx(1 / 3), pytest.approx(0.2 / 3)
    )


def test_landmarks_are_drawn_where_they_are(dataset):
    image = np.zeros((40, 60, 3), np.uint8)
    points = np.array([(10, 20), (50.5, 20), (30, 5), (np.nan, np.nan), (45, 35)])
    valid = np.isfinite(points[:, 0])
    draw_landmarks(image, points, valid, dataset.schema, PREDICTED_COLOR)
    for x, y in points[valid]:
        rows, columns = np.mgrid[:40, :60]
        near = (np.abs(rows - y) < 4) & (np.abs(columns - x) < 4)
        weight = image[..., 0] * near
        center = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
        assert np.abs(center - (x, y)).max() < 0.15
    assert image[0, 0].sum() == 0  # the landmark that is not valid is not drawn


def test_pictures_show_something(dataset, predictions, tmp_path):
    write_report(tmp_path, dataset, ALL, predictions, {})
    sheet = cv2.imread(str(tmp_path / "pictures" / "faces.jpg"))
    assert sheet.shape[1] == 6 * 192 and sheet.std() > 20
    assert cv2.imread(str(tmp_path / "pictures" / "ced.png")).std() > 10
    assert not list(tmp_path.rglob(".*"))  # no temporary file left
