"""Collects what `test` and `predict` found, on all processes, and writes it down once."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import Logger

from wingmark.callbacks.dashboard import show_report
from wingmark.evaluation import Predictions, Report
from wingmark.evaluation.pictures import draw_sheet
from wingmark.metrics import FacePredictions
from wingmark.types import Batch, Prediction


class PredictionWriter(Callback):
    """Writes the report of a test, or the predictions of `predict`, into the run folder.

    The first test of a run fills the folder itself, one of other weights, data, codec or protocol
    `test/<protocol>/`; `predict` fills `predict/`, with every face of the set `predict/all/`. `about` says what is
    tested, in plain values.
    """

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.folder, self.about = folder, about
        self.found = FacePredictions()
        # What to print once the progress bar is gone, and to show on dashboards after that; on the process that wrote.
        self.say: Callable[[], None] = lambda: None
        self.show: Callable[[Sequence[Logger]], None] = lambda loggers: None

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.found.reset()
        self.found.to(pl_module.device)  # where processes can gather it

    on_predict_start = on_test_start

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Prediction, batch: Batch, *indices: int
    ) -> None:
        self.found.update(*outputs)

    on_predict_batch_end = on_test_batch_end

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        index, predictions = self._gather(trainer, "test")
        if trainer.is_global_zero:
            dataset = trainer.datamodule.dataset("test")
            about = {**self.about, "protocol": dataset.protocol.to_dict()}
            folder = self._test_folder(about)
            report = Report.of(predictions, split_faces=len(dataset))
            predictions.save(folder / "predictions.npz")
            draw_sheet(folder / "pictures" / "faces.jpg", dataset, index, predictions, report.nme)
            report.write(folder, about)
            self.say = partial(self._say, report, folder)
            name = "test" if folder == self.folder else folder.relative_to(self.folder).as_posix()
            self.show = partial(show_report, report=report, folder=folder, name=name)

    @staticmethod
    def _say(report: Report, folder: Path) -> None:
        report.print("test")
        print(f"{folder}: metrics.json, faces.csv, predictions.npz, pictures/")

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        predicted = trainer.datamodule.predicted
        _, predictions = self._gather(trainer, predicted)
        if trainer.is_global_zero:
            folder = self.folder / "predict"
            path = (folder / "all" if predicted == "all" else folder) / "predictions.npz"
            predictions.save(path)
            self.say = partial(print, f"{len(predictions.id)} faces in {path}")

    def _gather(self, trainer: Trainer, split: str) -> tuple[np.ndarray, Predictions]:
        index, *found = self.found.compute()
        dataset = trainer.datamodule.dataset(split)
        faces = [dataset.faces[i] for i in index]
        return index, Predictions.of_faces(faces, dataset.schema, dataset.protocol, *found)

    def _test_folder(self, about: dict[str, Any]) -> Path:
        """Where this test belongs: results of another one are never overwritten, its own are."""
        further = self.folder / "test" / about["protocol"]["name"].replace("/", "_")
        for folder in chain((self.folder, further), (further.with_name(f"{further.name}-{n}") for n in count(2))):
            earlier = folder / "metrics.json"
            if not earlier.is_file() or about.items() <= _content(earlier).items():
                return folder


def _content(path: Path) -> dict[str, Any]:
    """What a metrics.json says, nothing where it is another kind of file; ValueError where it is damaged."""
    try:
        content = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read ({error}); mend it or move it away") from error
    return content if isinstance(content, dict) else {}
