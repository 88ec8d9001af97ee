"""Metrics in one to four really started processes give the bits of one process.

The file is also the program that the test starts, `test_processes.py <folder>`: a fresh interpreter, which can fork
without the threads of the test run, and imports everything once for all processes.
"""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed
from torch.multiprocessing import start_processes
from torchmetrics import MetricCollection

from wingmark.metrics import (
    CEDAUC,
    CumulativeErrorDistribution,
    FaceErrors,
    FacePredictions,
    FailureRate,
    NormalizedMeanError,
    ScoredErrors,
)

K = 5
WORLDS = (1, 2, 3, 4)
COUNTS = (1, 13, 103)
TIMEOUT = 60


def strided(count: int, world: int, rank: int) -> np.ndarray:
    """Shards of uneven length, without repeats; the first ones are empty where there are more processes than faces."""
    return np.arange(count)[world - 1 - rank :: world]


def padded(count: int, world: int, rank: int) -> np.ndarray:
    """Shards of one length, as DistributedSampler makes them by repeating faces."""
    return np.resize(np.arange(count), -(-count // world) * world)[rank::world]


def scattered(count: int, world: int, rank: int) -> np.ndarray:
    """Every face one to three times, in any order, at any process."""
    rng = np.random.default_rng(count)
    faces = rng.permutation(np.repeat(np.arange(count), rng.integers(1, 4, count)))
    return faces[rng.integers(0, world, len(faces)) == rank]


SHARDS = (strided, padded, scattered)


def faces(count: int) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(count)
    target = rng.uniform(0, 400, (count, K, 2))
    valid = rng.random((count, K)) > 0.2
    valid[:, 0] = True
    return {
        "prediction": torch.from_numpy(target + rng.normal(0, 5, target.shape)),
        "target": torch.from_numpy(target),
        "normalizer": torch.from_numpy(rng.uniform(40, 120, count)),
        "index": torch.arange(count),
        "valid": torch.from_numpy(valid),
    }


def evaluate(count: int, shard: np.ndarray) -> dict:
    """All metrics over the faces of a shard, in batches of four, then the AUC once more after another batch."""
    table = faces(count)
    metrics = {
        "auc": CEDAUC(0.08),
        "ced": CumulativeErrorDistribution(),
        "errors": FaceErrors(),
        "predictions": FacePredictions(),
        "scored": ScoredErrors(),
    }
    collection = MetricCollection({"nme": NormalizedMeanError(), "fr": FailureRate(0.08), "strict": FailureRate(0.04)})
    batches = np.array_split(shard, -(-len(shard) // 4)) if len(shard) else []
    for number, batch in enumerate(batches):
        rows = {name: column[batch] for name, column in table.items()}
        for name, metric in metrics.items():
            if name not in ("predictions", "scored"):
                metric.update(**rows)
        score, error = rows["prediction"][..., 0].float() / 400, (rows["prediction"] - rows["target"]).abs().sum(2)
        metrics["predictions"].update(rows["index"], rows["prediction"], score, error.float())
        metrics["scored"].update(rows["index"], score, error, rows["valid"])
        (collection.update if number % 2 else collection)(**rows)
    values = {name: metric.compute() for name, metric in metrics.items()}
    values |= collection.compute()
    # The process is back at its own faces: the gathering must leave nothing behind.
    metrics["auc"].update(**{name: column[:1] for name, column in table.items()})
    values["auc again"] = metrics["auc"].compute()
    return values


def refusals(rank: int, world: int) -> dict[str, str]:
    """What every process is told: no faces anywhere, faces without index, one index for faces of two processes."""

    def told(call) -> str:
        try:
            call()
        except ValueError as error:
            return str(error)
        return "nothing"

    table = faces(2)
    collision = NormalizedMeanError()
    row = {name: column[rank % 2 : rank % 2 + 1] for name, column in table.items()}
    collision.update(**{**row, "index": torch.tensor([7])})
    no_rows = NormalizedMeanError()  # one process had batches without faces, the others no batch
    if rank == 0:
        no_rows.update(**{name: column[:0] for name, column in table.items()})
    own_process = [torch.distributed.new_group([other]) for other in range(world)][rank]
    alone = NormalizedMeanError(process_group=own_process)
    return {
        "alone, no index": told(lambda: alone.update(**{**table, "index": None})),
        "empty": told(NormalizedMeanError().compute),
        "no rows": told(no_rows.compute),
        "no index": told(lambda: NormalizedMeanError().update(**{**table, "index": None})),
        "collision": told(collision.compute),
    }


def run_process(rank: int, folder: Path) -> None:
    """Join each world that has this rank, run all cases, write down what came out."""
    torch.set_num_threads(1)
    for world in (w for w in WORLDS if rank < w):
        torch.distributed.init_process_group(
            "gloo",
            init_method=f"file://{folder / f'store{world}'}",
            rank=rank,
            world_size=world,
            timeout=timedelta(seconds=TIMEOUT),
        )
        results = {
            (count, shards.__name__): evaluate(count, shards(count, world, rank))
            for count in COUNTS
            for shards in SHARDS
        }
        torch.save((results, refusals(rank, world)), folder / f"{world}-{rank}.pt")
        torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The folder with what each process of each world wrote."""
    path = tmp_path_factory.mktemp("processes")
    command = [sys.executable, __file__, str(path)]
    program = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=4 * TIMEOUT)
    assert program.returncode == 0, program.stdout
    return path


def every_rank(folder: Path, world: int):
    return [torch.load(folder / f"{world}-{rank}.pt", weights_only=False) for rank in range(world)]


def bits(value) -> list[bytes]:
    parts = value if isinstance(value, tuple) else (value,)
    return [b"" if part is None else np.asarray(part).tobytes() for part in parts]


@pytest.mark.parametrize("world", WORLDS)
def test_every_process_has_the_bits_of_a_single_one(folder, world):
    expected = {count: evaluate(count, np.arange(count)) for count in COUNTS}
    for results, _ in every_rank(folder, world):
        assert len(results) == len(COUNTS) * len(SHARDS)
        for (count, shards), values in results.items():
            for name, value in values.items():
                assert bits(value) == bits(expected[count][name]), (count, shards, name)


@pytest.mark.parametrize("world", WORLDS)
def test_every_process_is_told_what_is_wrong(folder, world):
    for _, told in every_rank(folder, world):
        assert told["alone, no index"] == "nothing"
        assert "no faces" in told["empty"]
        assert "no faces" in told["no rows"]
        assert told["no index"] == "nothing" if world == 1 else "need an index under more than one" in told["no index"]
        assert (
            told["collision"] == "nothing" if world == 1 else "index [7] came with more than one" in told["collision"]
        )


if __name__ == "__main__":
    # A process that fails, or waits for another beyond TIMEOUT, ends them all.
    start_processes(run_process, args=(Path(sys.argv[1]),), nprocs=max(WORLDS), start_method="fork")
