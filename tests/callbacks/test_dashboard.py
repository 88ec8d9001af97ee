import json
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

from wingmark.callbacks.dashboard import CURVE_STEPS, ced_corners, show_pictures, show_report
from wingmark.evaluation import Predictions, Report
from wingmark.evaluation.pictures import draw_landmarks
from wingmark.metrics.functional import auc, ced
from wingmark.protocol import Protocol

PROTOCOL = Protocol("dots/inter-ocular/v1", box="dataset", margin=1.2, threshold=0.05)


class Pictures(Logger):
    """A logger that takes pictures as TensorBoard does, and remembers."""

    name, version = "pictures", 0

    def __init__(self) -> None:
        self.images, self.numbers, self.status = {}, {}, None

    def log_hyperparams(self, params: dict) -> None:
        raise AssertionError("a test has none")

    @property
    def experiment(self) -> SimpleNamespace:
        return SimpleNamespace(add_image=self.add_image)

    def add_image(self, tag: str, image: np.ndarray, dataformats: str) -> None:
        assert dataformats == "HWC" and image.dtype == np.uint8
        self.images[tag] = image

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.numbers |= metrics

    def finalize(self, status: str) -> None:
        self.status = status


class Broken(Pictures):
    def add_image(self, tag: str, image: np.ndarray, dataformats: str) -> None:
        raise OSError("disk full")


@pytest.fixture
def written(dot_faces, tmp_path):
    """A report and the folder it lies in."""
    source = dot_faces()
    faces = source.faces("train")
    noise = np.random.default_rng(0).normal(0, 2, (12, 5, 2))
    landmarks = np.stack([face.landmarks_image for face in faces]) + noise
    report = Report.of(Predictions.of_faces(faces, source.schema, PROTOCOL, landmarks, None))
    report.write(tmp_path, {})
    picture = np.zeros((20, 30, 3), np.uint8)
    draw_landmarks(picture, landmarks[0] / 10, np.ones(5, bool), source.schema, (255, 0, 0))
    cv2.imwrite(str(tmp_path / "pictures" / "faces.jpg"), picture[..., ::-1])
    return report, tmp_path


def read(path) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1]


def test_whoever_takes_pictures_gets_them_with_the_scores(written):
    report, folder = written
    logger = Pictures()
    show_report([logger], report, folder, "test")
    assert set(logger.images) == {f"test/pictures/{name}" for name in ("ced", "landmarks", "faces")}
    assert (logger.images["test/pictures/ced"] == read(folder / "pictures" / "ced.png")).all()
    full = json.loads((folder / "metrics.json").read_text())["scores"]["full"]
    assert logger.numbers["test/nme"] == full["nme"]
    assert [logger.numbers[f"test/fr_{end}"] for end in ("low", "high")] == full["fr_interval"]
    assert full["auc_interval"] is None and "test/auc_low" not in logger.numbers  # too few faces
    assert logger.status == "success"


def test_expected_errors_are_shown_where_there_are_any(written, tmp_path):
    predictions = replace(written[0].predictions, expected_error=np.random.default_rng(1).uniform(1, 4, (12, 5)))
    report, logger = Report.of(predictions), Pictures()
    report.write(tmp_path, {})
    show_report([logger], report, tmp_path, "test")
    shown = logger.images["test/pictures/reliability"]
    assert (shown == read(tmp_path / "pictures" / "reliability.png")).all()
    assert logger.numbers["test/aurc"] == json.loads((tmp_path / "metrics.json").read_text())["confidence"]["aurc"]


def test_one_that_breaks_does_not_keep_pictures_from_the_next(written, caplog):
    report, folder = written
    broken, logger = Broken(), Pictures()
    show_report([broken, logger], report, folder, "test")
    assert len(logger.images) == 3
    (warning,) = caplog.messages
    assert "Broken failed (OSError: disk full)" in warning
    assert broken.numbers["test/nme"] == logger.numbers["test/nme"]


def test_the_csv_logger_goes_without_pictures(written, tmp_path, caplog):
    _, folder = written
    show_pictures([CSVLogger(tmp_path, "logs")], {"ced": folder / "pictures" / "ced.png"})
    assert not caplog.messages


def test_tensorboard(written, tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed; wingmark does not need it")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    report, folder = written
    logger = TensorBoardLogger(tmp_path, "board")
    show_report([logger], report, folder, "test")
    events = EventAccumulator(logger.log_dir).Reload()
    assert set(events.Tags()["images"]) == {f"test/pictures/{name}" for name in ("ced", "landmarks", "faces")}
    image = cv2.imdecode(np.frombuffer(events.Images("test/pictures/ced")[0].encoded_image_string, np.uint8), -1)
    assert (image[..., ::-1] == read(folder / "pictures" / "ced.png")).all()
    assert events.Scalars("test/nme")[0].value == pytest.approx(report.scores["full"].nme, rel=1e-6)


@pytest.mark.parametrize("count", [1, 7, CURVE_STEPS, 4 * CURVE_STEPS])
def test_corners_are_on_the_ced(count):
    nme = np.random.default_rng(count).gamma(4, 0.01, count)
    x, y = ced_corners(nme, 0.06)
    assert len(x) == len(y) <= 2 * CURVE_STEPS + 2
    assert (x[0], y[0], x[-1]) == (0, 0, 0.06) and (np.diff(x) >= 0).all() and (np.diff(y) >= 0).all()
    errors, shares = (column.numpy() for column in ced(torch.from_numpy(nme)))
    heights = dict(zip(x[1:], y[1:], strict=True))  # of two corners at one place the upper one counts
    for place, height in heights.items():
        assert abs(height - np.r_[0.0, shares][np.searchsorted(errors, place, side="right")]) < 1e-12
    area = ((x[1:] - x[:-1]) * y[:-1]).sum() / 0.06
    assert area == pytest.approx(auc(torch.from_numpy(nme), 0.06).item(), abs=1e-12 if count <= CURVE_STEPS else 0.004)


def test_equal_errors_make_one_step():
    x, y = ced_corners(np.array([0.02, 0.02, 0.05, 0.2]), 0.1)
    assert dict(zip(x, y, strict=True)) == {0.0: 0.0, 0.02: 0.5, 0.05: 0.75, 0.1: 0.75}


def test_nothing_below_the_threshold():
    x, y = ced_corners(np.array([0.2, 0.3]), 0.1)
    assert (x.tolist(), y.tolist()) == ([0.0, 0.1], [0.0, 0.0])
