"""The pictures hold the faces they are given, with landmarks where they lie, mirrored and renamed where they say so."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from wingmark import schema
from wingmark.data.sources.source import Source
from wingmark.evaluation import contact_sheet
from wingmark.evaluation.contact_sheet import LARGE, MIDDLE, TILE, WIDTH, draw_faces, draw_findings, draw_mean_shape
from wingmark.evaluation.labels import ImageFacts, Labels
from wingmark.protocol import Protocol
from wingmark.types import Face

PROTOCOL = Protocol("inspect", margin=2.0, normalizer="box_size")
POINTS = np.array([(60, 60), (140, 70), (95, 100), (70, 130), (130, 150)], float)


class Gray(Source):
    """Five landmarks on gray pictures, by whose brightness a face is told."""

    schema = schema.get("five")

    def faces(self, split: str) -> list[Face]:
        return [Face(f"{i}#0", Path(f"{i}"), POINTS, f"{i}") for i in range(30)]

    def read_image(self, face: Face, reduce: int = 1) -> np.ndarray:
        return np.full((400, 400, 3), 8 * int(face.group) + 10, np.uint8)


@pytest.fixture
def source() -> Gray:
    return Gray()


def picture(path: Path) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1]


def corner(tile: np.ndarray) -> int:
    """The picture's brightness below on the right, where nothing is written."""
    return int(tile[-3, -3, 0])


def test_a_sheet_of_faces(tmp_path, source):
    faces = source.faces("train")
    draw_faces(tmp_path / "sheet.png", faces[:12], source, PROTOCOL)
    sheet = picture(tmp_path / "sheet.png")
    assert sheet.shape == (LARGE + MIDDLE + TILE, 2 * LARGE, 3) and 2 * LARGE == WIDTH == 8 * TILE == 4 * MIDDLE
    assert corner(sheet[:LARGE, :LARGE]) == corner(sheet[:LARGE, LARGE:]) == 10
    numbered = [sheet[LARGE:, c * MIDDLE :][:MIDDLE, :MIDDLE] for c in range(4)]
    small = [sheet[LARGE + MIDDLE :, c * TILE :][:TILE, :TILE] for c in range(8)]
    assert [corner(tile) for tile in (*numbered, *small)] == [8 * i + 10 for i in range(1, 12)] + [255]
    orange, yellow = (
        [bool((tile == color).all(-1).any()) for tile in (*numbered, *small)]
        for color in (contact_sheet.MIRRORED_COLOR, contact_sheet.NUMBER_COLOR)
    )
    assert orange == [False] * 7 + [True] * 4 + [False]
    assert yellow == [True] * 4 + [False] * 8
    draw_faces(tmp_path / "one.png", faces[:1], source, PROTOCOL)
    assert picture(tmp_path / "one.png").shape == (LARGE, 2 * LARGE, 3)


@pytest.mark.parametrize("mirrored", [False, True])
def test_landmarks_and_their_numbers_in_a_tile(source, monkeypatch, mirrored):
    """The tight box spans 80 x 90 pixels, so the crop 180 around (100, 105): a tile of 720 shows it four times."""
    written, drawn = {}, []
    monkeypatch.setattr(contact_sheet, "_write", lambda tile, text, at, color: written.update({text: at}))
    monkeypatch.setattr(contact_sheet, "draw_landmarks", lambda tile, points, *_: drawn.append(points))
    (face, *_) = source.faces("train")
    face = replace(face, valid=np.array([True, True, True, True, False]), landmarks_image=POINTS.copy())
    face.landmarks_image[4] = (130, 150)
    protocol = replace(PROTOCOL, margin=180 / 80)
    contact_sheet._tile(face, source, protocol, 720, mirrored=mirrored, numbered=True)
    (low, high) = POINTS[:4].min(0), POINTS[:4].max(0)
    expected = (POINTS - (low + high) / 2) * 4 + 719 / 2
    if mirrored:
        expected = expected[[1, 0, 2, 4, 3]] * [-1, 1] + [719, 0]
    np.testing.assert_allclose(drawn[0], expected, atol=1e-9)
    numbers = {"0", "1", "2", "4" if mirrored else "3"}
    assert set(written) == numbers | ({"mirrored"} if mirrored else set())
    for number in numbers:
        assert np.linalg.norm(np.array(written[number]) - expected[int(number)]) < 20


def test_a_row_for_each_kind_of_finding(tmp_path, source):
    faces = source.faces("train")
    draw_findings(tmp_path / "findings.png", {"swapped": faces[:10], "far": faces[3:4]}, source, PROTOCOL)
    sheet = picture(tmp_path / "findings.png")
    assert sheet.shape == (2 * MIDDLE, WIDTH, 3)
    tiles = [sheet[r * MIDDLE :, c * MIDDLE :][:MIDDLE, :MIDDLE] for r in (0, 1) for c in range(4)]
    assert [corner(tile) for tile in tiles] == [8 * i + 10 for i in [*range(4), 3]] + [255] * 3
    captions = [bool((tile[:12, :40] == 255).any()) for tile in tiles[:5]]
    assert captions == [True] + [False] * 3 + [True]


def test_occluded_landmarks_are_red(source):
    (face, *_) = source.faces("train")
    red = [
        (contact_sheet._tile(replace(face, occluded=np.array(o)), source, PROTOCOL, 360) == (255, 50, 50)).all(-1).sum()
        for o in ([False] * 5, [True, False, False, False, False], [True] * 5)
    ]
    assert red[0] == 0 < red[1] < red[2]


def test_the_mean_shape_and_its_mirror_image(tmp_path, source, monkeypatch):
    figures = []
    monkeypatch.setattr(contact_sheet, "Figure", lambda **options: figures.append(Figure(**options)) or figures[-1])
    faces = source.faces("train")
    labels = Labels(source.schema, "tight", faces, ["train"] * 30, [ImageFacts(400, 400)] * 30)
    draw_mean_shape(tmp_path / "mean.png", labels.shapes, source.schema)
    assert picture(tmp_path / "mean.png").shape == (1200, 1200, 3)
    axes = figures[0].axes[0]
    mirrored, mean = (np.asarray(points.get_offsets()) for points in axes.collections)
    size = 90  # the longer side of the tight box
    np.testing.assert_allclose((mean - mean[2]) * size, POINTS - POINTS[2], atol=1e-6)
    renamed = POINTS[[1, 0, 2, 4, 3]] * [-1, 1]
    np.testing.assert_allclose((mirrored - mirrored[2]) * size, renamed - renamed[2], atol=1e-6)
    assert [text.get_text() for text in axes.texts] == ["0", "1", "2", "3", "4"]
    np.testing.assert_allclose([text.xy for text in axes.texts], mean)
    assert axes.yaxis_inverted()
