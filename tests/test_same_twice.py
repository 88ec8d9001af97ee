"""The same config gives the same batches and weights, to the bit, again and again."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

import wingmark.run
from wingmark.cli import main
from wingmark.data import LandmarkDataModule
from wingmark.types import Batch

TINY = Path(__file__).parent / "tiny.yaml"
SETTINGS = yaml.safe_load(TINY.read_text())
EPOCHS = (0, 1)


def loader(
    workers: int = 0, batch: int = 8, processes: int = 1, rank: int = 0, train: int = 24
) -> torch.utils.data.DataLoader:
    """The training faces of the tiny recipe, augmented."""
    source = {**SETTINGS["data"]["source"], "init_args": {**SETTINGS["data"]["source"]["init_args"], "train": train}}
    settings = {**SETTINGS["data"], "source": source, "num_workers": workers, "batch_size": batch}
    data: LandmarkDataModule = wingmark.run.build_data({"data": settings})
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    data.trainer = SimpleNamespace(world_size=processes, global_rank=rank, strategy=strategy)
    return data.train_dataloader()


def epochs(loader: torch.utils.data.DataLoader) -> list[Batch]:
    batches = []
    for epoch in EPOCHS:
        loader.sampler.set_epoch(epoch)
        batches += loader
    return batches


def assert_same(one: list[Batch], other: list[Batch]) -> None:
    for first, second in zip(one, other, strict=True):
        for name, field in first._asdict().items():
            assert torch.equal(field, second._asdict()[name]), name


def test_batches_are_the_same_for_any_number_of_workers():
    alone = epochs(loader())
    assert len(alone) == 2 * 3
    first, second = (torch.cat([batch.index for batch in alone[start : start + 3]]) for start in (0, 3))
    assert sorted(first.tolist()) == sorted(second.tolist()) == [*range(24)] and not torch.equal(first, second)
    for workers in (1, 4):
        assert_same(alone, epochs(loader(workers)))


@pytest.mark.parametrize("faces", [23, 25, 31])
def test_also_where_the_faces_cannot_be_dealt_evenly(faces):
    alone, *ranks = (
        epochs(loader(batch=8, train=faces)),
        *(epochs(loader(0, 4, 2, rank, train=faces)) for rank in (0, 1)),
    )
    assert len(alone) == 2 * (faces // 8)
    for whole, *parts in zip(alone, *ranks, strict=True):
        assert sorted(whole.index.tolist()) == sorted(torch.cat([part.index for part in parts]).tolist())


def test_two_processes_see_what_one_does_with_twice_the_batch():
    alone, *ranks = (epochs(loader(batch=8)), *(epochs(loader(1, 4, 2, rank)) for rank in (0, 1)))
    for whole, *parts in zip(alone, *ranks, strict=True):
        # Dealt like cards: the faces of a step lie in turn on the two.
        together = [torch.stack(fields, dim=1).flatten(0, 1) for fields in zip(*parts, strict=True)]
        assert_same([whole], [Batch(*together)])


NETWORK = {
    "class_path": "wingmark.networks.FeatureNetwork",
    "init_args": {
        "backbone": "test_resnet",
        "out_indices": [1, 2, 3],
        "head": {"class_path": "wingmark.networks.HeatmapHead", "init_args": {"channels": 16}},
    },
}
HOURGLASS = {
    "class_path": "wingmark.networks.TimmNetwork",
    "init_args": {"model": "hourglass2", "options": {"width": 8}},
}
LOSS_MAP = {"class_path": "wingmark.codecs.Heatmap", "init_args": {"loss_map": "wingmark.codecs.DilatedLossMap"}}
BOUNDARY = {"class_path": "wingmark.codecs.Heatmap", "init_args": {"target": "floored", "boundary": "paper"}}
HEATMAP = {"network": NETWORK, "codec": "wingmark.codecs.Heatmap"}
COORDINATES = {"codec": "wingmark.codecs.Coordinates"}
MODELS = {
    "Wing": {**COORDINATES, "loss": "wingmark.losses.WingLoss"},
    "L1": {**COORDINATES, "loss": "wingmark.losses.L1Loss"},
    "L2": {**COORDINATES, "loss": "wingmark.losses.L2Loss"},
    "smooth L1": {**COORDINATES, "loss": "wingmark.losses.SmoothL1Loss"},
    "MSE": {**HEATMAP, "loss": "wingmark.losses.MSELoss", "compile": False},
    "Adaptive Wing": {**HEATMAP, "loss": "wingmark.losses.AdaptiveWingLoss", "codec": LOSS_MAP, "compile": False},
    "Adaptive Wing, compiled": {**HEATMAP, "loss": "wingmark.losses.AdaptiveWingLoss", "codec": LOSS_MAP},
    "two stacks, boundary": {
        "network": HOURGLASS,
        "codec": BOUNDARY,
        "loss": "wingmark.losses.AdaptiveWingLoss",
        "compile": False,
    },
}
SHORT = {"Adaptive Wing"}
NAMES = [pytest.param(name, marks=() if name in SHORT else pytest.mark.long) for name in MODELS]


@pytest.fixture
def restored():
    yield
    torch.use_deterministic_algorithms(False)  # the trainer leaves it on


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("restored")
def test_two_runs_give_the_same_weights(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model.yaml").write_text(yaml.safe_dump({"model": MODELS[name]}))
    for run, more in {"a": [], "b": [], "c": ["--seed_everything=1"]}.items():
        options = ["--trainer.max_epochs=1", "--trainer.deterministic=true", f"--name={run}", *more]
        main(["fit", f"--config={TINY}", "--config=model.yaml", *options])
    one, two, other = (torch.load(f"runs/{run}/checkpoints/last.ckpt", weights_only=True) for run in "abc")
    weights = one["state_dict"]
    assert [key for key in weights if not torch.equal(weights[key], two["state_dict"][key])] == []
    assert any(not torch.equal(weights[key], other["state_dict"][key]) for key in weights)
    assert one["callbacks"].keys() == two["callbacks"].keys() and one["global_step"] == two["global_step"] == 3
    curves = [(Path("runs") / run / "logs" / "metrics.csv").read_text() for run in "abc"]
    assert curves[0] == curves[1] != curves[2]
