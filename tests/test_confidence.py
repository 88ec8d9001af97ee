"""Expected errors: the fit against formulas, the lines against numpy, and what runs keep against a fit by hand."""

import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

import wingmark.run
from wingmark.cascade import Cascade
from wingmark.cli import main
from wingmark.confidence import FEWEST, KNOTS, Calibration, isotonic_blocks
from wingmark.landmark_cli import LandmarkCLI

ROOT = Path(__file__).parents[1]
HEATMAP = {**yaml.safe_load((Path(__file__).parent / "tiny_heatmap.yaml").read_text()), "compile": False}


def isotonic(value: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The closest values that never rise, by the max-min formula (Robertson, Wright and Dykstra, 1988)."""
    count = len(value)

    def mean(first: int, last: int) -> float:
        part = slice(first, last + 1)
        return float((value[part] * weight[part]).sum() / weight[part].sum())

    return np.array([max(min(mean(a, b) for a in range(i + 1)) for b in range(i, count)) for i in range(count)])


@pytest.mark.parametrize("seed", range(6))
def test_pooling_against_the_formula(seed):
    random = np.random.default_rng(seed)
    value, weight = random.normal(0, 1, 40) - seed * np.linspace(0, 1, 40), random.uniform(0.2, 3, 40)
    if seed == 5:
        value, weight = random.integers(0, 3, 40).astype(float), np.ones(40)  # many equal values
    blocks, expected = isotonic_blocks(value, weight), isotonic(value, weight)
    found = np.array([np.average(value[blocks == block], weights=weight[blocks == block]) for block in blocks])
    assert found == pytest.approx(expected, abs=1e-12)
    assert (np.diff(blocks) == (np.diff(expected) < -1e-12)).all()  # a new block exactly where the values fall


def test_knots_of_a_fit_by_hand():
    # Cells of 32 landmarks; the second and third are the wrong way round.
    score = np.repeat([0.1, 0.2, 0.3, 0.5], 32) + np.tile([-0.01, 0.01], 64)
    error = np.repeat([8.0, 2.0, 3.0, 1.0], 32)
    score, error = np.append(score, 0.6), np.append(error, 0.1)  # one more makes no cell of its own
    order = np.random.default_rng(0).permutation(129)
    fitted = Calibration.fit(score[order], error[order])
    assert fitted.scores == pytest.approx((0.1, 0.25, 16.6 / 33), abs=1e-12)
    assert fitted.errors == pytest.approx((8, 2.5, 32.1 / 33), abs=1e-12)


def test_a_fit_finds_the_mean_error_at_every_score():
    random = np.random.default_rng(0)
    score = random.beta(5, 2, 60_000)
    mean = 1 + 12 * (1 - score) ** 2
    error = random.gamma(2, mean / 2)
    fitted = Calibration.fit(score, error)
    assert 8 < len(fitted.scores) <= KNOTS
    assert (np.diff(fitted.scores) > 0).all() and (np.diff(fitted.errors) < 0).all()
    found = fitted(torch.from_numpy(score)).double().numpy()
    assert np.sqrt(np.mean((found - mean) ** 2)) < 0.1  # of 1 to 13 px, 2.1 on average
    assert found.mean() == pytest.approx(error.mean(), rel=0.005)
    # Also where few landmarks are: at the lowest scores.
    lowest = score < np.quantile(score, 0.002)
    assert found[lowest].mean() == pytest.approx(mean[lowest].mean(), rel=0.15)


def test_equal_scores_get_one_error():
    error = np.random.default_rng(0).uniform(0, 4, 1000)
    assert Calibration.fit(np.full(1000, 0.5), error) == Calibration((0.5,), (pytest.approx(error.mean()),))
    assert Calibration.fit(np.linspace(0, 1, 1000), np.zeros(1000)).errors == (0,)


def test_too_few_landmarks_are_told(caplog):
    values = np.linspace(1, 2, FEWEST)
    assert Calibration.fit(values, values) is not None
    with caplog.at_level(logging.INFO, "wingmark"):
        assert Calibration.fit(values[1:], values[1:]) is None
    assert f"not calibrated: {FEWEST - 1} landmarks for validation" in caplog.text


def calibration(knots: int = 9) -> Calibration:
    random = np.random.default_rng(knots)
    scores, errors = np.sort(random.uniform(0.1, 0.9, knots)), -np.sort(-random.uniform(1, 10, knots))
    return Calibration(tuple(scores.tolist()), tuple(errors.tolist()))


@pytest.mark.parametrize("knots", [1, 2, 9, 32])
def test_lines_between_knots_against_numpy(knots):
    fitted = calibration(knots)
    score = torch.cat([torch.linspace(-0.5, 1.5, 4000), torch.tensor(fitted.scores * 2)])
    found = fitted(score.view(2, -1))
    assert found.dtype == torch.float32 and found.shape == (2, score.numel() // 2)
    expected = np.interp(score.double().numpy(), fitted.scores, fitted.errors)
    assert found.flatten().double().numpy() == pytest.approx(expected, abs=2e-5)


def test_knots_closer_than_float32_tells_apart():
    found = Calibration((0.5, 0.5 + 1e-12), (4.0, 1.0))(torch.tensor([0.4, 0.5, 0.6]))
    assert found.tolist() == [4, 4, 1]


def test_lines_in_mixed_precision():
    score = torch.rand(5, 7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = calibration()(score)
    assert torch.equal(found, calibration()(score))


class Expected(nn.Module):
    def forward(self, score: torch.Tensor) -> torch.Tensor:
        return calibration()(score)


def test_lines_can_be_exported():
    batch = torch.export.Dim("batch")
    graph = torch.export.export(Expected(), (torch.rand(2, 5),), dynamic_shapes=({0: batch},)).module()
    score = torch.rand(6, 5)
    torch.testing.assert_close(graph(score), calibration()(score), rtol=0, atol=1e-6)


def test_stored_by_value(tmp_path):
    fitted = calibration()
    torch.save(fitted.to_dict(), tmp_path / "c.pt")
    assert Calibration.from_dict(torch.load(tmp_path / "c.pt", weights_only=True)) == fitted
    assert Calibration.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted


def fit(folder: Path, name: str, *arguments: str) -> LandmarkCLI:
    (folder / "heatmap.yaml").write_text(yaml.safe_dump({"model": HEATMAP}))
    configs = ["--config", str(ROOT / "tests" / "tiny.yaml"), "--config", str(folder / "heatmap.yaml")]
    return LandmarkCLI(["fit", *configs, f"--runs={folder}", f"--name={name}", "--model.schedule=null", *arguments])


def stored(path: Path) -> Calibration:
    return Calibration.from_dict(torch.load(path, weights_only=True)["wingmark"]["confidence"])


def by_hand(run: Path, name: str) -> Calibration:
    """The calibration of the weights in a checkpoint, from the run's validation faces one by one, in crop pixels."""
    model, scores, errors = wingmark.run.load(run / "checkpoints" / name), [], []
    for sample in wingmark.run.load_data(run).dataset("val"):
        with torch.no_grad():
            found = model(sample.image[None])
        distance = np.linalg.norm(found.landmarks_crop[0].double() - sample.landmarks_crop.double(), axis=1)
        scores.append(found.score[0][sample.valid].double().numpy())
        errors.append(distance[sample.valid])
    return Calibration.fit(np.concatenate(scores), np.concatenate(errors))


def assert_same(one: Calibration, other: Calibration) -> None:
    """Alike as functions: scores differ in the last digits between batches, so knots may."""
    grid = torch.linspace(one.scores[0], one.scores[-1], 200)
    torch.testing.assert_close(one(grid), other(grid), rtol=1e-4, atol=0)
    assert one.scores[0] == pytest.approx(other.scores[0], rel=1e-4)  # of other weights both numbers are others


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    fit(folder, "plain")
    return folder / "plain"


def test_a_checkpoint_holds_the_calibration_of_its_weights(run):
    for name in ("best.ckpt", "last.ckpt"):
        assert_same(stored(run / "checkpoints" / name), by_hand(run, name))
        assert wingmark.run.load(run / "checkpoints" / name).calibration == stored(run / "checkpoints" / name)


def test_the_average_of_weights_is_what_is_calibrated(tmp_path):
    ema = ROOT / "configs" / "overlays" / "ema.yaml"
    fit(tmp_path, "ema", f"--config={ema}", "--trainer.callbacks.init_args.decay=0.7")
    assert_same(stored(tmp_path / "ema" / "checkpoints" / "last.ckpt"), by_hand(tmp_path / "ema", "last.ckpt"))


def test_resuming_brings_it_back_and_goes_on(run, tmp_path):
    fit(tmp_path, "parts", "--trainer.max_epochs=1")
    last = tmp_path / "parts" / "checkpoints" / "last.ckpt"
    first = stored(last)
    assert fit(tmp_path, "parts", "--trainer.max_epochs=1", f"--ckpt_path={last}").model.calibration == first
    fit(tmp_path, "parts", f"--ckpt_path={last}")
    assert stored(last) == stored(run / "checkpoints" / "last.ckpt") != first


def test_validating_and_testing_other_faces_does_not_change_it(run, capsys):
    before = (run / "checkpoints" / "best.ckpt").read_bytes()
    main(["validate", "--run", str(run), "--data.source.init_args.val", "9"])
    main(["test", "--run", str(run)])
    assert (run / "checkpoints" / "best.ckpt").read_bytes() == before
    found = np.load(run / "predictions.npz")
    model, samples = wingmark.run.load(run), wingmark.run.load_data(run).dataset("test")
    for row, sample in enumerate(samples):
        a = sample.crop_to_image[:, :2].numpy()
        with torch.no_grad():
            expected = model(sample.image[None]).expected_error[0].numpy() * np.sqrt(abs(np.linalg.det(a)))
        assert found["expected_error"][row] == pytest.approx(expected, rel=1e-3)
    assert "expected error" in capsys.readouterr().out and (run / "pictures" / "reliability.png").is_file()
    assert json.loads((run / "metrics.json").read_text())["confidence"]["expected_error_px"] == pytest.approx(
        found["expected_error"][found["valid"]].mean(), rel=1e-5
    )


def test_earlier_checkpoints_load_without(run, tmp_path):
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    del checkpoint["wingmark"]["confidence"]
    torch.save(checkpoint, tmp_path / "old.ckpt")
    model = wingmark.run.load(tmp_path / "old.ckpt")
    assert model.calibration is None
    assert model(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)).expected_error is None
    main(["test", "--run", str(run), "--name", "old", "--ckpt_path", str(tmp_path / "old.ckpt")])
    old = run.parent / "old"
    assert "confidence" not in json.loads((old / "metrics.json").read_text())
    assert "expected_error" not in np.load(old / "predictions.npz")
    assert not (old / "pictures" / "reliability.png").exists()


def test_a_cascade_keeps_that_of_both_stages(run, tmp_path):
    first, second = (wingmark.run.load(run / "checkpoints" / f"{name}.ckpt") for name in ("last", "best"))
    second.protocol = replace(second.protocol, box="tight")
    second.calibration = calibration()
    cascade = Cascade(first, second)
    checkpoint = {"state_dict": cascade.state_dict()}
    cascade.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "cascade.ckpt")
    loaded = wingmark.run.load(tmp_path / "cascade.ckpt")
    assert (loaded.first.calibration, loaded.second.calibration) == (first.calibration, second.calibration)


@pytest.mark.long
def test_two_processes_calibrate_on_the_faces_of_both(tmp_path):
    (tmp_path / "heatmap.yaml").write_text(yaml.safe_dump({"model": HEATMAP}))
    paths = (ROOT / "tests" / "tiny.yaml", tmp_path / "heatmap.yaml", ROOT / "configs" / "overlays" / "ddp_cpu.yaml")
    configs = [word for path in paths for word in ("--config", str(path))]
    program = str(Path(sys.executable).with_name("wingmark"))
    command = [program, "fit", *configs, "--name", "two", "--trainer.max_epochs", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    run = tmp_path / "runs" / "two"
    assert_same(stored(run / "checkpoints" / "best.ckpt"), by_hand(run, "best.ckpt"))
