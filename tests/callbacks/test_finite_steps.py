"""Steps that are not finite: training ends, or goes on as if they had not been."""

import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback

from wingmark.callbacks import FiniteSteps, MovingAverage
from wingmark.cli import main
from wingmark.data.sources import SyntheticFaces
from wingmark.landmark_cli import LandmarkCLI

ROOT = Path(__file__).parents[2]
SQUARES = ["--model.loss=wingmark.losses.L2Loss", "--name=a"]
TINY = ["fit", f"--config={ROOT}/tests/tiny.yaml", *SQUARES]
EMA = [f"--config={ROOT}/configs/overlays/ema.yaml", "--trainer.callbacks.init_args.decay=0.7"]
FAR = 3  # the face whose first landmark is so far away that the square of the distance overflows
ORDER = np.random.default_rng([0, 0]).permutation(24)  # of the faces in the first epoch, 8 in each of 3 steps
STEP = int(np.flatnonzero(ORDER == FAR)[0]) // 8
RUN = Path("runs/a")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


usual = SyntheticFaces.faces


def one_far(source: SyntheticFaces, split: str) -> list:
    faces = usual(source, split)
    if split == "train":
        landmarks = faces[FAR].landmarks_image.copy()
        landmarks[0] = 1e25
        faces[FAR] = replace(faces[FAR], landmarks_image=landmarks)
    return faces


@pytest.fixture
def far(monkeypatch) -> list[str]:
    """Ids of the training faces, of which FAR is impossible."""
    monkeypatch.setattr(SyntheticFaces, "faces", one_far)
    return [face.id for face in SyntheticFaces(train=24, image_size=64).faces("train")]


def refusal(*arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        main([*TINY, *arguments])
    return str(end.value)


def test_training_ends_with_faces_and_a_command_that_repeats_the_step(far):
    said = refusal("--data.num_workers=1")
    ids = [far[face] for face in ORDER[8 * STEP : 8 * STEP + 8]]
    assert f"step {STEP} is not finite: loss inf, largest gradient " in said
    assert f" for the faces {', '.join(ids)}; repeat it: python -c " in said
    assert "--ckpt_path last --on_nonfinite skip" in said
    (path,) = (RUN / "nonfinite").iterdir()
    kept = torch.load(path, weights_only=True)
    assert path.name == f"step_{STEP:06d}.pt" and kept["ids"] == [ids]
    assert kept["batches"][0]["index"].tolist() == ORDER[8 * STEP : 8 * STEP + 8].tolist()
    command = shlex.split(re.search(r"python (-c '[^']*')", said)[1])
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=120)
    assert re.fullmatch(r"\[\(inf, [\d.e+inf]+\)\]\n", done.stdout), done.stderr


class Watch(Callback):
    """What training consists of, copied at the start of each batch and at the end of training."""

    def __init__(self) -> None:
        self.states: list[dict[str, torch.Tensor]] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_index) -> None:
        average = next(callback for callback in trainer.callbacks if isinstance(callback, MovingAverage))
        (optimizer,) = trainer.optimizers
        parts = {"weights": pl_module.state_dict(), "average": average._average_model.state_dict()}
        parts |= {f"optimizer {i}": state for i, state in enumerate(optimizer.state.values())}
        state = {f"{part} {key}": value.clone() for part, values in parts.items() for key, value in values.items()}
        self.states.append(state)

    def on_train_end(self, trainer, pl_module) -> None:
        self.global_step = trainer.global_step


def watched(*arguments: str) -> Watch:
    watch = Watch()

    class Watched(LandmarkCLI):
        def before_instantiate_classes(self) -> None:
            super().before_instantiate_classes()
            self.trainer_defaults["callbacks"].append(watch)

    Watched([*TINY, *arguments])
    return watch


def changed(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> set[str]:
    return {key for key in other if key not in one or not torch.equal(one[key], other[key])}


@pytest.mark.parametrize("batches", [pytest.param(1, marks=pytest.mark.long), 2])
def test_a_skipped_step_changes_nothing(far, caplog, batches):
    size = 8 // batches
    watch = watched(
        *EMA, "--on_nonfinite=skip", f"--data.batch_size={size}", f"--trainer.accumulate_grad_batches={batches}"
    )
    starts = watch.states[::batches]  # of steps
    other = 0 if STEP else 1
    moved = changed(starts[other], starts[other + 1])
    for part in ("weights network", "average module.network", "optimizer 0 exp_avg", "average n_averaged"):
        assert any(key.startswith(part) for key in moved), part
    assert any("running_mean" in key for key in moved) and any("num_batches_tracked" in key for key in moved)
    assert changed(starts[STEP], starts[STEP + 1]) == set()
    # Every epoch has one: the second one is another step of it.
    assert watch.global_step == 6
    assert "2 of 6 steps were skipped: not finite" in caplog.messages
    rows = (RUN / "logs" / "metrics.csv").read_text().splitlines()
    columns, *rows = [row.split(",") for row in rows]
    curve = [row[columns.index("train/skipped_steps")] for row in rows]
    assert [float(value) for value in curve if value][STEP] == 1
    assert [float(value) for value in curve if value][-1] == 2
    assert [path.name for path in (RUN / "nonfinite").iterdir()] == [f"step_{STEP:06d}.pt"]  # the first one
    batch = torch.load(RUN / "nonfinite" / f"step_{STEP:06d}.pt", weights_only=True)
    assert len(batch["ids"]) == 1 and far[FAR] in batch["ids"][0] and len(batch["ids"][0]) == size
    assert all(value.isfinite().all() for key, value in batch["state_dict"].items() if value.is_floating_point())


@pytest.mark.long
def test_a_step_that_is_skipped_is_counted_when_going_on(far):
    main([*TINY, "--on_nonfinite=skip"])
    cli = main([*TINY, "--on_nonfinite=skip", "--trainer.max_epochs=4", "--ckpt_path=last"])
    (steps,) = (callback for callback in cli.trainer.callbacks if isinstance(callback, FiniteSteps))
    assert steps.skipped == 4 and len(steps.latest) == 4 and steps.latest[0] == STEP


def test_a_gradient_alone_is_enough(monkeypatch):
    """The faces are those of the batch at fault among those of the step."""
    monkeypatch.setattr(LandmarkCLI, "instantiate_classes", with_hook(LandmarkCLI.instantiate_classes))
    said = refusal("--data.batch_size=4", "--trainer.accumulate_grad_batches=2")
    assert re.search(r"step 0 is not finite: loss [\d.]+, largest gradient nan for the faces", said)
    (path,) = (RUN / "nonfinite").iterdir()
    kept = torch.load(path, weights_only=True)
    assert [batch["index"].tolist() for batch in kept["batches"]] == [ORDER[4:8].tolist()]


def with_hook(instantiate):
    """Gradients of one weight are not a number for the batch with the face that comes fifth."""

    def hooked(self, *arguments):
        instantiate(self, *arguments)
        module, seen = self.model, []
        losses = module.losses
        module.losses = lambda batch: seen.append(batch.index.tolist()) or losses(batch)
        weight = next(module.network.parameters())
        weight.register_hook(lambda gradient: gradient * torch.nan if ORDER[4] in seen[-1] else gradient)

    return hooked


def test_skipping_is_bounded():
    """One step with a learning rate of 1e25, and no other is finite again."""
    diverging = ["--model.optimizer=torch.optim.SGD", "--model.optimizer.init_args.lr=1e25", "--trainer.max_epochs=20"]
    said = refusal(*diverging, "--on_nonfinite=skip", "--model.schedule=null", "--trainer.limit_val_batches=0")
    assert "step 11 is not finite" in said and "more than 10 of 100 steps would be skipped" in said
    assert sorted(path.name for path in (RUN / "nonfinite").iterdir()) == ["step_000001.pt", "step_000011.pt"]


@pytest.mark.parametrize(("value", "fault"), [(1e30, False), (torch.inf, True), (-torch.inf, True), (torch.nan, True)])
def test_large_gradients_are_no_fault(tmp_path, monkeypatch, value, fault):
    """Their squares overflow."""
    steps, module, treated = FiniteSteps(tmp_path, "raise"), torch.nn.Linear(3, 2), []
    steps.losses = [torch.tensor(1.0)]
    module.weight.grad = torch.tensor([[1.0, value, 0.0], [0.0, -2.0, 0.0]])
    strategy = SimpleNamespace(reduce=lambda tensor, reduce_op: tensor)
    trainer = SimpleNamespace(strategy=strategy, precision_plugin=None)
    monkeypatch.setattr(steps, "_treat", lambda *_: treated.append(True))
    steps.on_before_optimizer_step(trainer, module, torch.optim.SGD(module.parameters(), lr=1.0))
    assert treated == [True] * fault and (module.weight.grad is None) == fault


def test_few_skips_among_many_steps_are_no_end(tmp_path):
    """Ten in a row are skipped, and further ones where the eleventh latest lies 100 steps back."""
    steps, trainer = FiniteSteps(tmp_path, "skip"), SimpleNamespace(callbacks=[])
    steps._examine = lambda trainer, module, keep: "told"
    module = torch.nn.Linear(1, 1)
    for trainer.global_step in [*range(10), 100, 101]:
        steps._treat(trainer, module)
    trainer.global_step = 101
    with pytest.raises(ValueError, match="more than 10 of 100"):
        steps._treat(trainer, module)
    assert steps.skipped == 12


SCALER = "pytorch_lightning.plugins.precision.MixedPrecision"


@pytest.mark.long
@pytest.mark.parametrize("scale", [2.0**20, 0.5])
def test_a_step_that_the_scaler_leaves_out_is_no_fault(monkeypatch, scale):
    """Gradients that overflow half floats are its business, unless they do without being scaled up."""
    usual = torch.amp.GradScaler.__init__
    monkeypatch.setattr(torch.amp.GradScaler, "__init__", lambda self, device: usual(self, device, init_scale=scale))
    half = [f"--trainer.plugins={SCALER}", "--trainer.plugins.precision=16-mixed", "--trainer.plugins.device=cpu"]
    if scale < 1:
        monkeypatch.setattr(LandmarkCLI, "instantiate_classes", with_hook(LandmarkCLI.instantiate_classes))
        assert "step 0 is not finite: loss " in refusal(*half)
    else:
        scaler = main([*TINY, *half]).trainer.precision_plugin.scaler
        assert scaler.get_scale() < scale  # it left out steps


TWO = f"""
import sys
sys.path.insert(0, "{Path(__file__).parent}")
from test_finite_steps import SyntheticFaces, main, one_far
SyntheticFaces.faces = one_far
main(sys.argv[1:])
"""


@pytest.mark.long
@pytest.mark.parametrize("choice", ["raise", "skip"])
def test_two_processes_do_the_same(choice):
    Path("two.py").write_text(TWO)
    overlay = ["--config", f"{ROOT}/configs/overlays/ddp_cpu.yaml", "--data.batch_size=4"]
    command = [sys.executable, "two.py", *TINY, *overlay, f"--on_nonfinite={choice}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    process = int(np.flatnonzero(ORDER == FAR)[0]) % 2
    (path,) = (RUN / "nonfinite").iterdir()
    assert path.name == f"step_{STEP:06d}_process{process}.pt"
    kept = torch.load(path, weights_only=True)
    assert kept["batches"][0]["index"].tolist() == ORDER[8 * STEP : 8 * STEP + 8][process::2].tolist()
    told = f"step {STEP} is not finite: loss inf, largest gradient "
    assert told in done.stderr and ", ".join(kept["ids"][0]) in done.stderr
    assert (done.returncode == 0) == (choice == "skip")
    assert ("2 of 6 steps were skipped" in done.stderr) == (choice == "skip")
