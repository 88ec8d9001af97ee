"""Curves as a table that resuming goes on with, and dashboards that cannot stop training."""

import csv
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment
from pytorch_lightning.utilities import rank_zero_only

from wingmark.files import whole_file

log = logging.getLogger(__name__)


@contextmanager
def forgiving(logger: Logger) -> Iterator[None]:
    """Errors of a dashboard end here. The first one of each logger is told, and the work goes on."""
    try:
        yield
    except Exception as error:  # a dashboard's client can fail in any way
        if not getattr(logger, "has_failed", False):
            sentence = "%s failed (%s: %s); going on without what it missed, the run folder holds it all"
            log.warning(sentence, type(logger).__name__, type(error).__name__, _first_line(error))
        logger.has_failed = True


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]


class CurveLogger(Logger):
    """Curves as one table, `metrics.csv`, with a row for each call of `log_metrics`.

    Lightning's CSVLogger begins another file when training is resumed, in which rows of the first one come again.
    """

    name, version = "curves", None

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self.columns: list[str] = []
        self.rows = 0

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        row = {**metrics, "step": step}
        if not row.keys() <= {*self.columns}:
            earlier = self._read()
            self.columns = sorted({*self.columns, *row})
            self._write(earlier)
        try:
            with open(self.path, "a", newline="") as file:
                csv.DictWriter(file, self.columns).writerow(row)
        except OSError as error:
            raise OSError(f"{self.path} cannot be written ({error}): make room") from error
        self.rows += 1

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any]) -> None:
        """They lie in config.yaml beside the table."""

    @rank_zero_only
    def cut(self, rows: int) -> None:
        """Keep the first rows of an earlier table: the others come again."""
        if not self.path.is_file():
            return  # going on in another folder than that of the checkpoint
        earlier = self._read()
        if len(earlier) < rows:
            log.warning("%s has %d of the %d rows until here: the others are lost", self.path, len(earlier), rows)
        self._write(earlier[:rows])
        self.rows = len(earlier[:rows])

    def content(self) -> Iterator[tuple[dict[str, float], int]]:
        """The arguments of each call of `log_metrics` that the table holds."""
        for row in self._read():
            step = int(row.pop("step"))
            yield {name: float(value) for name, value in row.items() if value}, step

    def _read(self) -> list[dict[str, str]]:
        if not self.path.is_file():
            return []
        try:
            with open(self.path, newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file, strict=True)
                rows = list(reader)
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{self.path} is damaged ({error}); move it away") from error
        self.columns = list(reader.fieldnames or ())
        return rows

    def _write(self, rows: list[dict[str, str]]) -> None:
        with whole_file(self.path) as path, open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, self.columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)


def rows_of_wandb(path: Path) -> Iterator[tuple[int, frozenset[str]]]:
    """Step and names of each row that a file of W&B holds; it may be cut off.

    7 bytes of header, then blocks of 32 KiB of pieces: checksum 4, length 2, type 1, data. W&B has no reader for it.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    content, position, record = path.read_bytes(), 7, b""
    while position + 7 <= len(content):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        end = position + 7 + int.from_bytes(content[position + 4 : position + 6], "little")
        kind, record = content[position + 6], record + content[position + 7 : end]
        if end > len(content):
            return
        if kind in (1, 4):  # whole, or the last piece
            items = Record.FromString(record).history.item
            values = {"/".join(item.nested_key) or item.key: item.value_json for item in items}
            if "trainer/global_step" in values:
                names = values.keys() - {"trainer/global_step", "_step", "_runtime", "_timestamp"}
                yield int(values["trainer/global_step"]), frozenset(names)
            record = b""
        position = end


class SafeWandbLogger(WandbLogger):
    """Lightning's WandbLogger for which training never waits long and never fails.

    Without an API key, or where the server is not reached in time, the run is kept offline after one warning; errors
    while logging are told once. Each run is closed when its training or test ends, so that one process can make many.

    Args:
        project: where the run stands in W&B.
        offline: write to files only, `wandb sync` uploads them; the variable WANDB_MODE can ask for it as well.
        log_model: keep checkpoints as artifacts: the best and the last one at the end (true), each new one (all).
        name: of the run; the command line takes that of its folder.
        save_dir: where W&B's files go; the command line takes the run folder.
        id: of a run to go on with; default: the one in `id_file`, or a new one.
        id_file: keeps the id, so that a resumed fit and a later test go on with the same run; the command line takes
            `wandb_id.txt` in the run folder.
        entity, group, tags: whose run it is, and how to find it.
        init_timeout: seconds to wait for the server before going offline.
        finish_timeout: seconds to wait at the end for what is not uploaded yet; `wandb sync` does the rest.
    """

    def __init__(
        self,
        project: str = "wingmark",
        offline: bool = True,
        log_model: bool | Literal["all"] = False,
        name: str | None = None,
        save_dir: str = ".",
        id: str | None = None,
        id_file: str | None = None,
        entity: str | None = None,
        group: str | None = None,
        tags: list[str] | None = None,
        init_timeout: float = 30,
        finish_timeout: float = 300,
    ) -> None:
        # Lightning would refuse checkpoints as artifacts offline, which `wandb sync` can upload, and would set
        # WANDB_MODE for whatever else runs in this process: the mode is given to `wandb.init` instead.
        super().__init__(
            project=project,
            log_model=log_model,
            name=name,
            save_dir=save_dir,
            id=id,
            entity=entity,
            group=group,
            tags=tags,
            settings={"init_timeout": init_timeout, "finish_timeout": finish_timeout},
        )
        self.gave_up = False
        self.known: set[tuple[int, frozenset[str]]] = set()  # step and names of rows that need not be logged again
        self.modes = ("offline", "disabled") if offline else (None, "offline", "disabled")
        self.id_file = None if id_file is None else Path(id_file)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run of `wandb`; opened at the first use, on the first process."""
        if self._experiment is None and not self.gave_up:
            self._open()
        return self._experiment

    def _open(self) -> None:
        for mode in self.modes:
            try:
                self._experiment = self._start(mode)
                return
            except Exception as error:  # whatever keeps W&B from starting, training starts
                further = "offline, `wandb sync` can upload it later" if mode is None else "without it"
                name, reason = type(error).__name__, _first_line(error)
                log.warning("W&B cannot start %s (%s: %s); going on %s", mode or "online", name, reason, further)
                self._forget_attempt()
        self.gave_up = self.has_failed = True  # all has been said, and every further attempt would wait again

    @staticmethod
    def _forget_attempt() -> None:
        """W&B's own process holds on to the id of a run that did not start, and would refuse it offline."""
        import wandb

        with suppress(Exception):
            wandb.teardown()

    def _start(self, mode: str | None) -> Any:
        import wandb  # only now: whoever uses other loggers does without

        if mode is None and wandb.setup().settings.mode == "online" and not wandb.login(prompt=False, verify=False):
            raise ValueError("no API key; run `wandb login`")  # `wandb.init` would ask for one, and wait
        if self._wandb_init["id"] is None and self.id_file is not None and self.id_file.is_file():
            self._wandb_init["id"] = self.id_file.read_text().strip()
        Path(self.save_dir).mkdir(parents=True, exist_ok=True)
        run = wandb.init(**{key: value for key, value in self._wandb_init.items() if value is not None}, mode=mode)
        # Not `step_sync`, as in Lightning: pictures of a test would claim to be of training step 0.
        run.define_metric("*", step_metric="trainer/global_step", step_sync=False)
        if self.id_file is not None and not run.disabled:
            with whole_file(self.id_file) as path:
                path.write_text(f"{run.id}\n")
        return run

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if (step, frozenset(metrics)) in self.known:
            return
        with forgiving(self):
            super().log_metrics(metrics, step)

    @rank_zero_only
    def catch_up(self, curves: CurveLogger) -> None:
        """Log the rows that a table has and W&B's files of this run lack; those that they have are not logged again.

        A killed training leaves W&B some rows ahead of its last checkpoint, or behind: W&B writes when it likes.
        """
        with forgiving(self):
            run = self.experiment
            files = () if run is None else Path(self.save_dir).glob(f"wandb/*run-*-{run.id}/run-{run.id}.wandb")
            self.known = {row for file in files for row in rows_of_wandb(file)}
        for metrics, step in curves.content():
            self.log_metrics(metrics, step)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any]) -> None:
        with forgiving(self):
            super().log_hyperparams(params)

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        with forgiving(self):
            super().after_save_checkpoint(checkpoint_callback)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        with forgiving(self):
            super().finalize(status)  # checkpoints, where `log_model` asks for them
        if self._experiment is not None:
            with forgiving(self):
                self._experiment.finish(exit_code=0 if status == "success" else 1)
            self._experiment = None
