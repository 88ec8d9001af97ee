"""What the command line says wins over what the checkpoint was trained with: in fit, validate and test."""

import csv
import json
import math
from pathlib import Path

import pytest
import torch

from wingmark.cli import main
from wingmark.landmark_cli import LandmarkCLI

TINY = f"--config={Path(__file__).parent}/tiny.yaml"  # AdamW with 1e-3, a cosine, Wing with w 10; 3 steps an epoch
SGD = ["--model.optimizer=torch.optim.SGD", "--model.optimizer.init_args.lr=0.01"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder with a run of two epochs."""
    folder = tmp_path_factory.mktemp("runs")
    main(["fit", TINY, f"--runs={folder}", "--name=a"])
    return folder


@pytest.fixture
def here(runs, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return runs / "a" / "checkpoints" / "last.ckpt"


def resumed(checkpoint: Path, *arguments: str) -> LandmarkCLI:
    """Two further epochs, in a folder of their own."""
    return main(["fit", TINY, "--name=b", f"--ckpt_path={checkpoint}", "--trainer.max_epochs=4", *arguments])


def rates() -> list[float]:
    """The learning rate of each step after resuming."""
    with open("runs/b/logs/metrics.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["lr-AdamW"]]
    assert [row["step"] for row in rows] == [*map(str, range(6, 12))]
    return [float(row["lr-AdamW"]) for row in rows]


def cosine(step: int, warmup: float = 0.05, final: float = 0.0) -> float:
    rise = 12 * warmup
    assert step >= rise
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * (step - rise) / (12 - rise)))


LR = "--model.optimizer.init_args.lr=0.02"
SCHEDULE = "--model.schedule.init_args"
STEPS = ["--model.schedule=wingmark.schedules.Steps", f"{SCHEDULE}.at=[0.8]", f"{SCHEDULE}.factor=0.5"]


def long(*case: list) -> object:
    return pytest.param(*case, marks=pytest.mark.long)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--model.optimizer=torch.optim.AdamW", LR], [0.02 * cosine(step) for step in range(6, 12)]),
        (["--model.schedule=null", "--model.optimizer=torch.optim.AdamW", LR], [0.02] * 6),
        long([], [1e-3 * cosine(step) for step in range(6, 12)]),  # of 12 steps, where it was one of 6
        long([f"{SCHEDULE}.final=0.3"], [1e-3 * cosine(step, final=0.3) for step in range(6, 12)]),
        long([f"{SCHEDULE}.warmup=0.4"], [1e-3 * cosine(step, warmup=0.4) for step in range(6, 12)]),
        long(["--model.schedule=null"], [1e-3] * 6),
        long(STEPS, [1e-3] * 4 + [0.5e-3] * 2),
    ],
)
def test_rates_are_those_asked_for(here, arguments, expected):
    resumed(here, *arguments)
    assert rates() == pytest.approx(expected, rel=1e-12, abs=1e-18)


@pytest.mark.long
def test_a_schedule_can_begin_where_there_was_none(here):
    main(["fit", TINY, "--name=c", "--model.schedule=null"])
    resumed("runs/c/checkpoints/last.ckpt")
    assert rates() == pytest.approx([1e-3 * cosine(step) for step in range(6, 12)], rel=1e-12)


def test_other_settings_of_the_optimizer_are_those_asked_for_and_its_state_goes_on(here):
    asked = ["--model.optimizer=torch.optim.AdamW", "--model.optimizer.init_args.weight_decay=0.3"]
    cli = resumed(here, *asked, "--model.optimizer.init_args.betas=[0.8, 0.99]")
    (optimizer,) = cli.trainer.optimizers
    (group,) = optimizer.param_groups
    assert (group["weight_decay"], tuple(group["betas"])) == (0.3, (0.8, 0.99))
    assert {state["step"].item() for state in optimizer.state.values()} == {12}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (SGD, "holds the state of torch.optim.AdamW, model.optimizer is torch.optim.SGD, which cannot go on with it"),
        (["--model.network.init_args.model=test_vit"], "the checkpoint holds the weights of another model"),
    ],
)
def test_what_cannot_go_on_is_refused(here, arguments, says):
    with pytest.raises(SystemExit) as end:
        resumed(here, *arguments)
    assert says in str(end.value)


def test_the_patience_is_the_one_asked_for(here):
    stopping = "--trainer.callbacks+=pytorch_lightning.callbacks.EarlyStopping"
    patient = [stopping, "--trainer.callbacks.monitor=val/nme", "--trainer.callbacks.mode=min"]
    hopeless = ["--model.schedule=null", *SGD[:1], "--model.optimizer.init_args.lr=0.0"]
    fit = ["fit", TINY, "--name=c", *patient, *hopeless, "--trainer.max_epochs=9"]
    steps = []
    for patience in (1, 4):
        cli = main([*fit, f"--trainer.callbacks.patience={patience}", "--ckpt_path=last"])
        steps.append(cli.trainer.global_step)
    assert steps[1] == steps[0] + 3 * 3  # three more epochs


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_the_last_checkpoint_is_taken_where_there_is_one(here, command):
    runs = ["--runs", str(here.parents[2]), "--name", "a"]
    main([command, TINY, *runs, "--ckpt_path", "last"])
    with pytest.raises(SystemExit, match=f"{command} needs trained weights"):
        main([command, TINY, "--name", "nowhere", "--ckpt_path", "last"])
    assert not Path("runs").exists()


@pytest.mark.parametrize("seed", ["true", "false"])
def test_a_seed_that_is_drawn_or_none(here, seed):
    cli = main(["fit", TINY, "--name=c", f"--seed_everything={seed}", "--trainer.max_epochs=1"])
    assert cli.datamodule.seed == int(cli.config.fit.seed_everything)


def test_a_checkpoint_that_does_not_say_its_optimizer_is_refused(here):
    checkpoint = torch.load(here, weights_only=True)
    del checkpoint["wingmark"]["model"]["optimizer"]
    torch.save(checkpoint, "x.ckpt")
    with pytest.raises(SystemExit, match="does not say which optimizer and schedule it was trained with"):
        resumed(Path("x.ckpt"))


class Triangles(torch.optim.lr_scheduler.CyclicLR):
    """A schedule whose state holds its settings."""

    def __init__(self, top: float = 0.1, *, optimizer: torch.optim.Optimizer, total_steps: int) -> None:
        super().__init__(optimizer, 0.001, top, total_steps, cycle_momentum=False)


@pytest.mark.long
def test_a_schedule_that_hides_its_settings_goes_on_only_as_it_was(here):
    triangles = [f"--model.schedule={__name__}.Triangles", "--model.schedule.top=0.2"]
    main(["fit", TINY, "--name=c", *triangles, "--trainer.max_epochs=1"])
    again = ["fit", TINY, "--name=c", "--ckpt_path=last"]
    with pytest.raises(SystemExit, match=r"model\.schedule differs from that of the checkpoint"):
        main([*again, triangles[0], "--model.schedule.top=0.3"])
    main([*again, *triangles])


def test_settings_of_training_are_those_asked_for(here):
    asked = {"loss.init_args.w": "6", "compile": "false"}
    cli = resumed(
        here,
        *(f"--model.{key}={value}" for key, value in asked.items()),
        "--data.batch_size=12",
        "--data.geometry.rotation=5",
        "--seed_everything=3",
        "--trainer.precision=bf16-mixed",
        "--trainer.gradient_clip_val=0.5",
    )
    module, data = cli.model, cli.datamodule
    assert module.objective.loss.w == 6 and module.compile_objective is False
    assert (data.batch_size, data.geometry.rotation, data.seed) == (12, 5, 3)
    assert (cli.trainer.precision, cli.trainer.gradient_clip_val) == ("bf16-mixed", 0.5)
    assert cli.trainer.global_step == 6 + 2 * 2 and len(cli.trainer.train_dataloader) == 2
    stored = torch.load("runs/b/checkpoints/last.ckpt", weights_only=True)
    assert stored["wingmark"]["model"]["loss"]["init_args"]["w"] == 6  # and the next one goes on with these


OTHER = {"name": "other/box/v1", "normalizer": "box_size"}


@pytest.mark.parametrize("command", ["validate", "test"])
def test_a_score_is_that_asked_for(here, capsys, command):
    asked = [f"--ckpt_path={here}", f"--data.protocol={json.dumps(OTHER)}", "--data.batch_size=2"]
    cli = main([command, TINY, "--name=b", *asked, "--model.loss.init_args.w=6", "--data.source.init_args.val=3"])
    assert cli.model.protocol.name == "other/box/v1" and cli.model.objective.loss.w == 6
    assert cli.datamodule.batch_size == 2 and len(cli.datamodule.faces("val")) == 3
    assert "other/box/v1" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["validate", "test"])
def test_weights_of_another_network_are_no_reason_to_build_it(here, command):
    with pytest.raises(SystemExit, match="the checkpoint holds the weights of another model"):
        main([command, TINY, "--name=b", f"--ckpt_path={here}", "--model.network.init_args.model=test_vit"])
