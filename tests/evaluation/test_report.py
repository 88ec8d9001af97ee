import csv
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from wingmark.data.dataset import FaceDataset
from wingmark.data.regions import Regions
from wingmark.evaluation import Predictions, Report
from wingmark.evaluation.pictures import PREDICTED_COLOR, draw_landmarks, draw_sheet
from wingmark.evaluation.plots import mean_face
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
    report = Report.of(predictions, split_faces=12)
    report.write(tmp_path, {"codec": "dots"})
    report.print("test")
    nmes = loop(dataset, predictions)
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["codec"] == "dots" and content["failed_checks"] == []
    assert content["protocol"]["name"] == PROTOCOL.name and content["protocol_digest"] == PROTOCOL.digest
    assert list(content["scores"]) == ["full", "odd"]
    for name, members in {"full": nmes, "odd": nmes[1::2]}.items():
        score, count = content["scores"][name], len(members)
        assert score["faces"] == count
        assert score["nme"] == pytest.approx(sum(members) / count, rel=1e-12)
        assert score["fr"] == pytest.approx(sum(nme > 0.05 for nme in members) / count, rel=1e-12)
        assert score["auc"] == pytest.approx(sum(max(0, 1 - nme / 0.05) for nme in members) / count, rel=1e-12)
    rows = list(csv.DictReader((tmp_path / "faces.csv").open()))
    assert [row["id"] for row in rows] == [face.id for face in dataset.faces]
    assert [float(row["nme"]) for row in rows] == pytest.approx(nmes, abs=1e-6)
    assert [row["tags"] for row in rows[:2]] == ["", "odd"]
    distances = np.linalg.norm(predictions.landmarks_image - predictions.target, axis=2)
    assert [int(row["worst_landmark"]) for row in rows] == distances.argmax(1).tolist()
    by_landmark = (distances / predictions.normalizer[:, None]).mean(0)
    assert content["landmark_errors"] == pytest.approx(by_landmark.tolist(), rel=1e-12)
    out = capsys.readouterr().out
    assert f"{100 * sum(nmes) / 12:.2f}" in out and PROTOCOL.label in out
    assert f"worst landmarks [%]: {by_landmark.argmax()} " in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_widest_table_fits_80_columns(predictions, capsys):
    names = ["illumination", "expression", "occlusion"]
    wide = replace(
        predictions,
        tags=np.array([names[i % 3] for i in range(12)]),
        landmarks_image=predictions.target + 40,  # scores with three digits before the point
        protocol=replace(PROTOCOL, name="a-long-name-of-a-data-set/inter-ocular/v12", threshold=0.1, faces={"full": 9}),
    )
    Report.of(wide).print("evaluate")
    out = capsys.readouterr().out
    assert "100.00" in out and "CHECK FAILED: these are not the faces of the published" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 80


def test_a_missing_face_is_loud(predictions, tmp_path, capsys):
    report = Report.of(predictions, split_faces=13)
    report.write(tmp_path, {})
    report.print("test")
    assert "CHECK FAILED: 12 faces were counted, the test split has 13" in capsys.readouterr().out
    assert json.loads((tmp_path / "metrics.json").read_text())["failed_checks"] == report.failed_checks


def test_a_landmark_that_no_face_has(predictions, tmp_path):
    predictions.valid[:, 3] = False
    report = Report.of(predictions)
    report.write(tmp_path, {})
    assert json.loads((tmp_path / "metrics.json").read_text())["landmark_errors"][3] is None
    assert np.isfinite(report.nme).all() and np.isnan(mean_face(predictions)[3]).all()


def test_mean_face_by_hand(predictions):
    predictions.valid[4, 2] = False
    total, seen = np.zeros((5, 2)), np.zeros(5)
    for target, valid, normalizer in zip(predictions.target, predictions.valid, predictions.normalizer, strict=True):
        center = sum(target[k] for k in range(5) if valid[k]) / sum(valid)
        for k in range(5):
            if valid[k]:
                total[k] += (target[k] - center) / normalizer
                seen[k] += 1
    assert np.allclose(mean_face(predictions), total / seen[:, None], rtol=1e-12)


def test_landmarks_that_are_not_valid_do_not_count(dataset, predictions):
    predictions.valid[0, 2] = False
    predictions.landmarks_image[0, 2] = np.nan
    errors = predictions.errors()
    assert np.isnan(errors[0, 2]) and np.isfinite(errors).sum() == 12 * 5 - 1


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
    report = Report.of(predictions)
    report.write(tmp_path, {})
    draw_sheet(tmp_path / "pictures" / "faces.jpg", dataset, ALL, predictions, report.nme)
    sheet = cv2.imread(str(tmp_path / "pictures" / "faces.jpg"))
    assert sheet.shape[1] == 6 * 192 and sheet.std() > 20
    for name in ("ced.png", "landmarks.png"):
        assert cv2.imread(str(tmp_path / "pictures" / name)).std() > 10
    assert not list(tmp_path.rglob(".*"))  # no temporary file left
