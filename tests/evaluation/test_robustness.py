"""Crops that stray by known amounts, seen by models whose errors can be computed by hand."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer

from wingmark.data import LandmarkDataModule
from wingmark.data.dataset import FaceDataset
from wingmark.data.regions import Regions
from wingmark.evaluation.robustness import LEVELS, Crop, FaceCrops, Robustness, crops_of, draw, measure
from wingmark.geometry import apply, crop_to_image
from wingmark.protocol import Protocol
from wingmark.types import Batch, Prediction

PROTOCOL = Protocol("dots/inter-ocular/v1", box="dataset", margin=1.2)
SIZE = 48


def trainer() -> Trainer:
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    return Trainer(accelerator="cpu", **dict.fromkeys(quiet, False))


def data_of(source, **changes) -> LandmarkDataModule:
    return LandmarkDataModule(source, **({"protocol": PROTOCOL, "crop_size": SIZE, "num_workers": 0} | changes))


class Fixed(LightningModule):
    """Answers the same points of the crop (K, 2) whatever it sees."""

    def __init__(self, points: np.ndarray) -> None:
        super().__init__()
        self.points = torch.from_numpy(points)

    def predict_step(self, batch: Batch, batch_index: int) -> Prediction:
        points = self.points.expand(len(batch.index), -1, -1)
        return Prediction(batch.index, apply(batch.crop_to_image, points), None, None)


class Pixels(Fixed):
    """Answers the center of each crop, moved by what it sees there: any wrong pixel shows."""

    def predict_step(self, batch: Batch, batch_index: int) -> Prediction:
        seen = batch.image.double().mean((2, 3))[:, None, :2]
        return Prediction(batch.index, apply(batch.crop_to_image, self.points + seen), None, None)


@pytest.fixture
def center() -> np.ndarray:
    return np.full((5, 2), (SIZE - 1) / 2)


def maps_to_image(data: LandmarkDataModule) -> tuple[list[Crop], np.ndarray]:
    """The crops and their maps (N, C, 2, 3)."""
    faces = data.faces("test")
    crops, _ = crops_of(faces, data.protocol)
    dataset = FaceCrops(data, faces, crops)
    return crops, np.stack([dataset[i].crop_to_image.numpy() for i in range(len(faces))])


def test_crops_stray_by_exactly_their_level(dot_faces):
    data = data_of(dot_faces({"test": 40}))
    crops, maps = maps_to_image(data)
    sides: dict[str, set[float]] = {"larger": set(), "clockwise": set()}
    for face, own in zip(data.faces("test"), maps, strict=True):
        box = face.boxes["dataset"]
        assert own[0] == pytest.approx(crop_to_image(box, SIZE, 1.2), abs=1e-12)
        directions, factors, turns = [], [], []
        for crop, (a, b, x), (c, d, y) in ((crop, *matrix) for crop, matrix in zip(crops, own, strict=True)):
            middle = np.array([(a + b) * 23.5 + x, (c + d) * 23.5 + y]) - (box.x, box.y)
            side = SIZE * (a * a + c * c) ** 0.5 / (1.2 * 110)
            turn = (np.degrees(np.arctan2(c, a)) - box.roll + 180) % 360 - 180
            if crop.jitter == "shift":
                assert np.hypot(*middle) == pytest.approx(crop.level * 110, rel=1e-9)
                directions.append(np.arctan2(middle[1], middle[0]))
            elif crop.box == "dataset":
                assert np.hypot(*middle) == pytest.approx(0, abs=1e-9)
            if crop.jitter == "scale":
                factors.append((side - 1) / crop.level if side > 1 else -(1 / side - 1) / crop.level)
            elif crop.box == "dataset":
                assert side == pytest.approx(1, rel=1e-12)
            if crop.jitter == "rotation":
                turns.append(turn / (90 * crop.level))
            elif crop.box == "dataset":
                assert turn == pytest.approx(0, abs=1e-9)
        # Every face goes to one side, the same at all levels.
        assert len(directions) == len(LEVELS) and np.ptp(directions) < 1e-9
        assert factors in (pytest.approx([1.0] * 4), pytest.approx([-1.0] * 4))
        assert turns in (pytest.approx([1.0] * 4), pytest.approx([-1.0] * 4))
        sides["larger"].add(round(factors[0]))
        sides["clockwise"].add(round(turns[0]))
    assert sides == {"larger": {-1, 1}, "clockwise": {-1, 1}}


def test_errors_of_a_model_that_does_not_look(dot_faces, center):
    """It always answers the crop's center, so its answer moves with the shift and with nothing else."""
    data = data_of(dot_faces())
    found = measure(Fixed(center), data, trainer())
    crops, maps = maps_to_image(data)
    assert found.crops == crops and found.nme.shape == (5, len(crops))
    for n, face in enumerate(data.faces("test")):
        true, box = face.landmarks_image, face.boxes["dataset"]
        eyes = np.hypot(*(true[0] - true[1]))
        for c, crop in enumerate(crops):
            answer = np.array([box.x, box.y])
            if crop.jitter == "shift":
                a, b = maps[n, c], maps[n, 0]
                direction = (a[:, 2] - b[:, 2]) / np.hypot(*(a[:, 2] - b[:, 2]))
                answer = answer + direction * crop.level * 110
            elif crop.box == "tight":
                answer = (true.min(0) + true.max(0)) / 2
            expected = np.mean([np.hypot(*(answer - point)) for point in true]) / eyes
            assert found.nme[n, c] == pytest.approx(expected, rel=1e-9)


def test_scores_against_a_loop(dot_faces, center):
    found = measure(Fixed(center), data_of(dot_faces(), protocol=replace(PROTOCOL, threshold=0.8)), trainer())
    for c, score in enumerate(found.scores):
        column = found.nme[:, c].tolist()
        assert score.nme == pytest.approx(sum(column) / 5, rel=1e-12)
        assert score.difference == pytest.approx(sum(column) / 5 - found.nme[:, 0].mean(), abs=1e-12)
        assert score.fr == sum(nme > 0.8 for nme in column) / 5
        for key in ("nme", "difference", "fr"):
            low, high = getattr(score, f"{key}_interval")
            assert low - 1e-12 <= getattr(score, key) <= high + 1e-12


def test_differences_are_paired():
    """One that is the same for every face is certain, however different the faces are."""
    nme = np.random.default_rng(0).uniform(0.02, 0.2, 50)
    found = Robustness(
        PROTOCOL, [Crop("dataset"), Crop("tight")], [], [], np.column_stack([nme, nme + 0.01]), np.arange(50)
    )
    assert found.scores[1].difference_interval == pytest.approx((0.01, 0.01), abs=1e-12)
    assert np.ptp(found.scores[1].nme_interval) > 0.01


def test_every_crop_is_the_one_of_the_data_set(dot_faces):
    """Images that are decoded once, for several crops of a face, are those of this face."""
    source = dot_faces()
    data = data_of(source)
    faces = data.faces("test")
    crops, _ = crops_of(faces, PROTOCOL)
    together = FaceCrops(data, faces, crops)
    for index in (0, 3, 1):
        batch = together[index]
        assert batch.index.tolist() == [index] * len(crops)
        for c, crop in enumerate(crops):
            regions = Regions(source, faces, replace(PROTOCOL, box=crop.box), SIZE, reach=20.0)
            alone = FaceDataset(regions, source.schema, geometry=crop.geometry(PROTOCOL.margin))[index]
            assert torch.equal(batch.image[c], alone.image) and torch.equal(batch.normalizer[c], alone.normalizer)
            assert torch.equal(batch.crop_to_image[c], alone.crop_to_image)


def test_images_are_decoded_once_for_each_reduction(dot_faces, center):
    source, asked = dot_faces(), []
    read = source.read_image
    source.read_image = lambda face, reduce: asked.append((face.id, reduce)) or read(face, reduce)
    measure(Fixed(center), data_of(source), trainer())
    assert {face for face, _ in asked} == {face.id for face in source.faces("test")}
    assert len(asked) == len({*asked})


def test_the_number_of_workers_changes_nothing(dot_faces, center):
    alone, together = (measure(Pixels(center), data_of(dot_faces(), num_workers=n), trainer()).nme for n in (0, 2))
    assert (alone == together).all()


def test_boxes_that_some_faces_lack_are_left_out(dot_faces):
    source = dot_faces()
    faces = source.faces("test")
    box = faces[0].boxes["dataset"]
    faces = [
        replace(face, boxes={"dataset": box, "file": box} | ({"detector": box} if i != 2 else {}))
        for i, face in enumerate(faces)
    ]
    crops, left_out = crops_of(faces, PROTOCOL)
    assert [crop.box for crop in crops if crop.jitter == "none"] == ["dataset", "file", "tight"]
    assert left_out == [f"box detector is left out: 1 of 5 faces lack it or its area, such as {faces[2].id}"]
    assert [crop.box for crop in crops_of(faces, replace(PROTOCOL, box="tight"))[0][13:]] == ["dataset", "file"]


def test_faces_of_another_list_are_reported(dot_faces, center):
    found = measure(Fixed(center), data_of(dot_faces(), protocol=replace(PROTOCOL, faces={"full": 6})), trainer())
    assert found.failed_checks == ["these are not the faces of the published test list, do not compare: full 5 of 6"]


def test_picture_shows_something(dot_faces, center, tmp_path):
    draw(tmp_path / "pictures" / "robustness.png", measure(Fixed(center), data_of(dot_faces()), trainer()))
    assert cv2.imread(str(tmp_path / "pictures" / "robustness.png")).std() > 10
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["robustness.png"]


def test_levels_mean_the_same_in_the_wide_crops_of_a_cascade(dot_faces):
    data = data_of(dot_faces(), context=2.0)
    faces = data.faces("test")
    crops = [Crop("dataset"), Crop("dataset", "shift", 0.2), Crop("dataset", "scale", 0.2)]
    batch = FaceCrops(data, faces, crops)[0]
    middle = torch.full((3, 1, 2), (SIZE - 1) / 2, dtype=torch.float64)
    moved = apply(batch.crop_to_image, middle)[:, 0]
    side = torch.linalg.det(batch.crop_to_image[:, :, :2]).sqrt() * SIZE
    longer = max(faces[0].boxes["dataset"].width, faces[0].boxes["dataset"].height)
    assert float((moved[1] - moved[0]).norm()) == pytest.approx(0.2 * longer)
    assert float(side[0]) == pytest.approx(2 * PROTOCOL.margin * longer) and float(side[1] / side[0]) == pytest.approx(
        1
    )
    assert float(side[2] / side[0]) in (pytest.approx(1.2), pytest.approx(1 / 1.2))
