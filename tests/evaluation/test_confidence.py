"""Expected errors of a test: bins and means against loops, the risk-coverage curve against every order of the faces."""

import itertools
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from wingmark import schema
from wingmark.evaluation import Predictions, Report
from wingmark.evaluation.confidence import BINS, Confidence, risk_coverage
from wingmark.evaluation.plots import draw_reliability
from wingmark.protocol import Protocol

PROTOCOL = Protocol("five/inter-ocular/v1")
FACES = 40


def predictions(expected_error: bool = True) -> Predictions:
    """Faces of several sizes, found with errors that spread as they are expected to; some are not annotated."""
    random = np.random.default_rng(0)
    scale = random.uniform(0.5, 4, FACES)[:, None]
    base = np.array([(30, 40), (70, 42), (50, 60), (35, 80), (66, 81)], float)
    target = scale[..., None] * (base + random.normal(0, 3, (FACES, 5, 2)))
    expected = scale * random.uniform(0.5, 4, (FACES, 1)) * random.uniform(0.7, 1.4, (FACES, 5))
    angle = random.uniform(0, 2 * np.pi, (FACES, 5))
    error = (expected * random.uniform(0.2, 1.9, (FACES, 5)))[..., None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    found = target + error
    valid = np.ones((FACES, 5), bool)
    valid[3, 2] = valid[7, 3:] = False
    target[~valid] = np.nan
    return Predictions(
        id=np.array([f"{i}.jpg#0" for i in range(FACES)]),
        landmarks_image=found,
        target=target,
        valid=valid,
        normalizer=np.linalg.norm(target[:, 0] - target[:, 1], axis=1),
        group=np.array([f"{i}" for i in range(FACES)]),
        tags=np.full(FACES, ""),
        protocol=PROTOCOL,
        schema=schema.get("five"),
        expected_error=expected.astype(np.float32) if expected_error else None,
    )


def pairs_of(found: Predictions) -> list[tuple[float, float]]:
    """Expected and real error of every annotated landmark."""
    return [
        (float(found.expected_error[n, k]), float(np.hypot(*(found.landmarks_image[n, k] - found.target[n, k]))))
        for n in range(FACES)
        for k in range(5)
        if found.valid[n, k]
    ]


def test_bins_and_means_against_a_loop():
    found = predictions()
    confidence, pairs = Confidence.of(found, found.nme()), sorted(pairs_of(found))
    assert len(pairs) == 197
    numbers = confidence.numbers()
    assert numbers["expected_error_px"] == pytest.approx(sum(e for e, _ in pairs) / 197, rel=1e-6)
    assert numbers["real_error_px"] == pytest.approx(sum(r for _, r in pairs) / 197, rel=1e-12)
    off, start = 0.0, 0
    for number in range(BINS):
        stop = start + 13 + (number < 2)  # 197 = 15 x 13 + 2
        part, start = pairs[start:stop], stop
        expected, real, count = confidence.bins[number]
        assert expected == pytest.approx(sum(e for e, _ in part) / len(part), rel=1e-6) and count == len(part)
        assert real == pytest.approx(sum(r for _, r in part) / len(part), rel=1e-12)
        off += len(part) * abs(expected - real) / 197
    assert numbers["calibration_error_px"] == pytest.approx(off, rel=1e-9)


def test_areas_against_a_loop():
    found, nme = predictions(), predictions().nme()
    side = [max(np.ptp(points[:, 0]), np.ptp(points[:, 1])) for points in found.landmarks_image]
    doubt = [errors.astype(float).mean() / length for errors, length in zip(found.expected_error, side, strict=True)]

    def area(key: list[float]) -> float:
        order = sorted(range(FACES), key=lambda n: key[n])
        risks = [np.mean([nme[n] for n in order[:kept]]) for kept in range(1, FACES + 1)]
        return sum(risks) / FACES

    numbers = Confidence.of(found, nme).numbers()
    assert numbers["aurc"] == pytest.approx(area(doubt), rel=1e-9)
    assert numbers["aurc_best_order"] == pytest.approx(area(nme.tolist()), rel=1e-9)
    assert numbers["aurc_no_order"] == pytest.approx(nme.mean(), rel=1e-9)
    assert numbers["aurc_best_order"] < numbers["aurc"] < 0.9 * numbers["aurc_no_order"]


def test_faces_of_equal_doubt_come_in_random_order():
    nme, doubt = np.array([5.0, 1.0, 4.0, 2.0, 9.0]), np.array([0.2, 0.1, 0.2, 0.2, 0.1])
    orders = [order for order in itertools.permutations(range(5)) if np.all(np.diff(doubt[list(order)]) >= 0)]
    assert len(orders) == 12
    curves = [np.cumsum(nme[list(order)]) / np.arange(1, 6) for order in orders]
    assert risk_coverage(nme, doubt) == pytest.approx(np.mean(curves, axis=0), rel=1e-12)


def test_sure_faces_of_a_large_photo_are_sure():
    found = predictions()
    larger = np.where(np.arange(FACES) % 2, 1.0, 10.0)[:, None, None]
    zoomed = replace(
        found,
        landmarks_image=found.landmarks_image * larger,
        target=found.target * larger,
        normalizer=found.normalizer * larger[:, 0, 0],
        expected_error=found.expected_error * larger[..., 0],
    )
    assert Confidence.of(zoomed, zoomed.nme()).numbers()["aurc"] == pytest.approx(
        Confidence.of(found, found.nme()).numbers()["aurc"], rel=1e-5
    )


def test_a_method_may_leave_out_what_is_not_annotated():
    found = predictions()
    found.landmarks_image[~found.valid] = np.nan
    confidence = Confidence.of(found, found.nme())
    assert np.isfinite(confidence.doubt).all() and np.isfinite(list(confidence.numbers().values())).all()


def test_all_landmarks_in_one_place():
    found = predictions()
    found.landmarks_image[5] = 50.0
    assert Confidence.of(found, found.nme()).doubt.argmax() == 5


def test_a_report_tells_it(tmp_path, capsys):
    report = Report.of(predictions())
    report.write(tmp_path, {})
    report.print("test")
    numbers = json.loads((tmp_path / "metrics.json").read_text())["confidence"]
    assert numbers == report.confidence.numbers()
    out = capsys.readouterr().out
    assert f"expected error {numbers['expected_error_px']:.2f} px, real {numbers['real_error_px']:.2f} px" in out
    assert f"{100 * numbers['aurc']:.2f}, at best {100 * numbers['aurc_best_order']:.2f}" in out
    assert max(map(len, out.splitlines())) <= 80
    assert cv2.imread(str(tmp_path / "pictures" / "reliability.png")).shape[:2] == (528, 1200)


def test_a_report_without_expected_errors_has_none_of_it(tmp_path, capsys):
    report = Report.of(predictions(expected_error=False))
    report.write(tmp_path, {})
    report.print("test")
    assert report.confidence is None and "expected error" not in capsys.readouterr().out
    assert "confidence" not in json.loads((tmp_path / "metrics.json").read_text())
    assert not (tmp_path / "pictures" / "reliability.png").exists()


def test_a_picture_of_few_landmarks(tmp_path):
    confidence = Confidence(np.array([1.0, 2.0]), np.array([0.5, 2.5]), np.array([0.01]), np.array([0.1]))
    draw_reliability(tmp_path / "r.png", confidence, PROTOCOL)
    assert confidence.bins.tolist() == [[1, 0.5, 1], [2, 2.5, 1]] and (tmp_path / "r.png").is_file()
