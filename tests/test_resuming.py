"""A training that was interrupted again and again ends with the bits of one that was not."""

import csv
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from wingmark.cli import main
from wingmark.model import LandmarkModule

ROOT = Path(__file__).parents[1]
DROPOUT = '--model.network.init_args.options={"drop_rate": 0.3}'  # draws random numbers in every step
TINY = ["fit", "--config", str(ROOT / "tests" / "tiny.yaml"), "--trainer.max_epochs=3", DROPOUT]
TINY += ["--data.source.init_args.val=20"]
# 3 steps in each of 3 epochs, and a validation of 3 batches after each, where nothing else is said.
SETTINGS = {
    "two loaders and EMA": ["--data.num_workers=2", f"--config={ROOT}/configs/overlays/ema.yaml"],
    "bf16 and balancing": ["--trainer.precision=bf16-mixed", f"--config={ROOT}/configs/overlays/balancing.yaml"],
    "accumulated gradients": ["--trainer.accumulate_grad_batches=2", "--data.batch_size=4"],
    "validation within the epoch": ["--trainer.val_check_interval=2", "--data.batch_size=6", "--data.num_workers=2"],
    "validation every second epoch": ["--trainer.check_val_every_n_epoch=2", "--trainer.max_epochs=4"],
    "no validation": ["--trainer.limit_val_batches=0"],
    "one step an epoch": ["--data.batch_size=24", "--trainer.max_epochs=9"],
    "a number of steps": ["--trainer.max_steps=8", "--trainer.max_epochs=-1"],
    "a scaler whose scale grows": ["--config=scaler.yaml"],
}
SCALER = """
trainer:
  plugins:
    - class_path: pytorch_lightning.plugins.MixedPrecision
      init_args:
        precision: 16-mixed
        device: cpu
        scaler: {class_path: torch.amp.GradScaler, init_args: {device: cpu, growth_interval: 2}}
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A training that nobody interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    fit(f"--runs={folder}", "--name=a")
    return folder / "a"


class Fault(Exception):
    """Something that training does not survive, and has no time to save before."""


def fit(*arguments: str, step: int | None = None, within: str = "training_step", end: Any = None) -> None:
    """Train; when `step` steps are done and `within` is called next, a signal comes, or a fault."""
    with pytest.MonkeyPatch.context() as patch:
        usual = getattr(LandmarkModule, within)

        def ended(self: LandmarkModule, *parts: Any) -> Any:
            if self.trainer.global_step == step and not self.trainer.sanity_checking:
                if end is Fault:
                    raise Fault
                os.kill(os.getpid(), end)
            return usual(self, *parts)

        patch.setattr(LandmarkModule, within, ended)
        main([*TINY, *arguments])


def interrupted(*arguments: str, number: int = signal.SIGTERM, **moment: Any) -> None:
    with pytest.raises(SystemExit) as end:
        fit(*arguments, end=number, **moment)
    assert end.value.code == 128 + number


def load(run: Path, file: str = "last.ckpt") -> dict[str, Any]:
    return torch.load(run / "checkpoints" / file, weights_only=True)


def assert_same(one: Any, other: Any) -> None:
    """To the bit, whatever checkpoints are made of."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        for parts in zip(one, other, strict=True):
            assert_same(*parts)
    else:
        assert one == other


def assert_same_run(whole: Path, parts: Path) -> None:
    one, other = load(whole), load(parts)
    some = {"current_model_state", "averaging_state", "MixedPrecision"} & one.keys()
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "continuation", "epoch", "global_step", *some):
        assert_same(one[key], other[key])
    if (whole / "checkpoints" / "best.ckpt").exists():
        for key in ("state_dict", "global_step"):
            assert_same(load(whole, "best.ckpt")[key], load(parts, "best.ckpt")[key])
    assert curves(whole) == curves(parts)


def curves(run: Path) -> str:
    (table,) = (run / "logs").iterdir()
    return table.read_text()


PARTS = Path("runs/parts")
GOING_ON = ["--name=parts", "--ckpt_path=last"]


@pytest.mark.parametrize(
    "setting",
    [pytest.param(name, marks=[pytest.mark.long] * (number > 0)) for number, name in enumerate(SETTINGS)],
)
def test_going_on_is_exact(setting):
    Path("scaler.yaml").write_text(SCALER)
    settings = SETTINGS[setting]
    fit(*settings, "--name=whole")
    parts = [*settings, *GOING_ON]
    interrupted(*parts, step=1)
    assert load(PARTS)["global_step"] == 2  # the step that was running is done
    with pytest.raises(Fault):
        fit(*parts, "--checkpoint_minutes=0", step=4, end=Fault)
    fit(*parts)
    assert_same_run(Path("runs/whole"), PARTS)


def test_a_validation_that_was_interrupted_is_done_again(whole):
    interrupted(*GOING_ON, step=3, within="validation_step", number=signal.SIGINT)
    assert load(PARTS)["global_step"] == 3 and not (PARTS / "checkpoints" / "best.ckpt").exists()
    fit(*GOING_ON)
    assert_same_run(whole, PARTS)


@pytest.mark.parametrize("step", [3, 9], ids=["of the first epoch", "of the last epoch"])
def test_a_signal_in_the_last_batch_of_a_validation_counts(whole, step, monkeypatch):
    """No batch comes after it, and where it is the last epoch no step either."""
    usual = LandmarkModule.on_validation_epoch_end

    def ended(self: LandmarkModule) -> None:
        usual(self)
        if self.trainer.global_step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(LandmarkModule, "on_validation_epoch_end", ended)
        fit(*GOING_ON)
    assert end.value.code == 143 and load(PARTS)["global_step"] == step
    fit(*GOING_ON)
    assert_same_run(whole, PARTS)


def test_going_on_after_a_number_of_steps_is_exact():
    """Also where these end in the middle of an epoch, which Lightning takes for done."""
    steps = ["--trainer.max_epochs=-1", "--model.schedule=null"]
    fit(*steps, "--trainer.max_steps=8", "--name=whole")
    for number in (4, 6, 8):
        fit(*steps, f"--trainer.max_steps={number}", *GOING_ON)
    assert_same_run(Path("runs/whole"), PARTS)


@pytest.fixture(scope="module")
def within_an_epoch(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("within")
    interrupted(f"--runs={folder}", "--name=a", f"--config={ROOT}/configs/overlays/ema.yaml", step=4)
    return folder / "a"


REFUSED = {
    "another optimizer": (["--model.optimizer=torch.optim.SGD"], "model.optimizer is torch.optim.SGD"),
    "another network": (["--model.network.init_args.model=test_vit"], "the weights of another model (Missing key(s)"),
    "fewer epochs": (["--trainer.max_epochs=0"], "trained for 1 epochs, trainer.max_epochs is 0: raise it"),
    "another batch size": (["--data.batch_size=4"], "is 4; go on with the 8 of this epoch until its end"),
    "another seed": (["--seed_everything=1"], "seed_everything is 1; go on with the 0 of this epoch until its end"),
    "other faces": (["--data.source.init_args.train=23"], "data.source gives other training faces; go on with those"),
    "the same batches": (["--trainer.overfit_batches=2"], "trainer.overfit_batches leaves out our sampler"),
    "no average": (["--trainer.callbacks=null"], "holds an average of weights (MovingAverage)"),
    "no such checkpoint": (["--ckpt_path=best"], "--ckpt_path best does not exist; give last, or a file"),
}


@pytest.mark.parametrize(("arguments", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_gone_on_with_is_refused_and_leaves_all_as_it_was(within_an_epoch, arguments, says):
    before = {path: path.read_bytes() for path in within_an_epoch.rglob("*") if path.is_file()}
    config = f"--config={within_an_epoch}/config.yaml"
    with pytest.raises(SystemExit) as end:
        main(["fit", config, "--ckpt_path=last", *arguments])
    assert says in str(end.value)
    assert {path: path.read_bytes() for path in within_an_epoch.rglob("*") if path.is_file()} == before


def test_where_all_checkpoints_are_damaged_nothing_is_trained(within_an_epoch):
    run = Path("runs/a")
    (run / "checkpoints").mkdir(parents=True)
    for name in ("best.ckpt", "last.ckpt"):
        (run / "checkpoints" / name).write_bytes((within_an_epoch / "checkpoints" / "last.ckpt").read_bytes()[:-100])
    with pytest.raises(SystemExit, match="holds no whole checkpoint; delete runs/a, or choose another --name"):
        fit("--name=a", "--ckpt_path=last")


def best(run: Path) -> dict[str, Any]:
    checkpoint = load(run, "best.ckpt")
    return {key: checkpoint[key] for key in ("state_dict", "global_step")}


WORSE = ["--model.schedule=null", "--model.optimizer=torch.optim.AdamW", "--model.optimizer.init_args.lr=3"]


def test_the_best_one_counts_after_its_run_was_moved(whole):
    before = best(whole)
    shutil.copytree(whole, "moved/b")
    fit("--config=moved/b/config.yaml", "--runs=moved", *GOING_ON, "--name=b", "--trainer.max_epochs=4", *WORSE)
    assert_same(best(Path("moved/b")), before)
    assert load(Path("moved/b"))["global_step"] == 12


@pytest.mark.parametrize(
    ("change", "what"),
    [("--data.protocol=other.yaml", "protocol"), ("--data.source.init_args.val=4", "validation faces")],
)
def test_the_best_one_is_chosen_anew_where_it_was_found_otherwise(whole, change, what, caplog):
    Path("other.yaml").write_text("{name: other, box: dataset, margin: 1.25, normalizer: box_size}")
    shutil.copytree(whole, PARTS)
    fit(*GOING_ON, change, "--trainer.max_epochs=4", *WORSE)
    assert f"the checkpoint was validated by another {what}: best.ckpt is chosen anew" in caplog.text
    assert best(PARTS)["global_step"] == 12


def test_a_validation_between_two_steps_is_refused():
    """Gradients are under way, which no checkpoint holds."""
    arguments = ["--trainer.accumulate_grad_batches=2", "--trainer.val_check_interval=3", "--data.batch_size=4"]
    with pytest.raises(SystemExit, match=r"make trainer.val_check_interval a multiple .*accumulate_grad_batches \(2\)"):
        fit(*arguments)


def test_all_epochs_are_done(whole, caplog):
    with caplog.at_level("INFO"):
        fit(f"--runs={whole.parent}", "--name=a", "--ckpt_path=last")
    assert "all 3 epochs are done; to train for longer, raise trainer.max_epochs" in caplog.messages


def test_curves_have_every_step_once(whole):
    with pytest.raises(Fault):
        fit(*GOING_ON, step=1, end=Fault)  # before the first checkpoint
    with pytest.raises(Fault):
        fit(*GOING_ON, step=5, end=Fault)
    assert load(PARTS)["global_step"] == 3
    assert [row["step"] for row in csv.DictReader(curves(PARTS).splitlines()) if row["train/loss"]] == [*"01234"]
    fit(*GOING_ON)
    rows = list(csv.DictReader(curves(PARTS).splitlines()))
    for key, steps in {"train/loss": "012345678", "lr-AdamW": "012345678", "val/nme": "258"}.items():
        assert [row["step"] for row in rows if row[key]] == [*steps], key
    assert_same_run(whole, PARTS)


@pytest.mark.long
def test_the_best_checkpoint_goes_on_too(whole):
    """It is what is left to go on from where last.ckpt is damaged."""
    with pytest.raises(Fault):
        fit(*GOING_ON, step=4, end=Fault)
    last = PARTS / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-100])
    fit(*GOING_ON)
    assert_same_run(whole, PARTS)


def test_a_training_that_was_killed_within_its_first_checkpoint_begins_anew(whole):
    (PARTS / "checkpoints").mkdir(parents=True)
    (PARTS / "checkpoints" / ".last.1.part.ckpt").touch()
    fit(*GOING_ON)
    assert_same_run(whole, PARTS)


def test_what_ended_is_told_with_the_command_that_goes_on(whole, capsys, caplog):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with caplog.at_level("INFO"):
        interrupted("--name=a b", "--ckpt_path=last", step=1)
    assert "runs/a b holds no checkpoint to go on from: training starts at the beginning" in caplog.messages
    command = "wingmark fit --config 'runs/a b/config.yaml' --ckpt_path last"
    assert f"runs/a b: ended by SIGTERM after 2 steps; go on with\n  {command}\n" in capsys.readouterr().err
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    main(["fit", "--config", "runs/a b/config.yaml", "--ckpt_path", "last"])
    assert_same_run(whole, Path("runs/a b"))


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> Path:
    """A job of one task, and a `scontrol` that writes down how it is called."""
    task = {"NTASKS": "1", "NTASKS_PER_NODE": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0", "NNODES": "1"}
    for name, value in {**task, "JOB_ID": "4711", "JOB_NAME": "faces", "NODELIST": "localhost"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    calls, scontrol = tmp_path / "calls", tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("MASTER_PORT", "29517")
    return calls


@pytest.mark.long
def test_a_job_of_slurm_starts_again_and_goes_on(whole, slurm, monkeypatch):
    job = ["--name=parts", f"--config={ROOT}/configs/overlays/slurm.yaml"]
    interrupted(*job, step=1, number=signal.SIGUSR1)
    assert slurm.read_text() == "requeue 4711\n"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "42")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    interrupted(*job, step=4, number=signal.SIGUSR1)
    interrupted(*job, step=5)  # preempted: SLURM itself starts it again
    assert slurm.read_text() == "requeue 4711\nrequeue 42_7\n"
    fit(*job)
    assert_same_run(whole, PARTS)
    assert not list(PARTS.rglob("hpc_ckpt*"))
