"""Collects what `test` and `predict` found, on all processes, and writes it down once."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer

from wingmark.evaluation import Predictions, print_report, write_report
from wingmark.metrics import FacePredictions
from wingmark.protocol import Protocol
from wingmark.types import Batch, Prediction


class PredictionWriter(Callback):
    """Writes the report of a test, or the predictions of `predict`, into the run folder.

    The first test of a run fills the folder itself, a further one with another protocol `test/<protocol>/`;
    `predict` fills `predict/`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found = FacePredictions()
        # What to print once the progress bar is gone; on the process that wrote.
        self.say: Callable[[], None] = lambda: None

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.found.reset()
        self.found.to(pl_module.device)  # where processes can gather it

    on_predict_start = on_test_start

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Prediction, batch: Batch, *indices: int
    ) -> None:
        self.found.update(outputs.index, outputs.landmarks_image, outputs.score)

    on_predict_batch_end = on_test_batch_end

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        predictions = self._gather(trainer)
        if trainer.is_global_zero:
            dataset = trainer.datamodule.dataset("test")
            folder = self._test_folder(dataset.protocol)
            self.say = partial(print_report, folder, dataset.protocol, write_report(folder, dataset, predictions))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        predictions = self._gather(trainer)
        if trainer.is_global_zero:
            path = self.folder / "predict" / "predictions.npz"
            predictions.save(path)
            self.say = partial(print, f"{len(predictions.id)} faces in {path}")

    def _gather(self, trainer: Trainer) -> Predictions:
        index, landmarks_image, score = self.found.compute()
        dataset = trainer.datamodule.dataset("test")
        faces = [dataset.faces[i] for i in index]
        return Predictions.of_faces(faces, dataset.schema, dataset.protocol, landmarks_image, score)

    def _test_folder(self, protocol: Protocol) -> Path:
        earlier = self.folder / "metrics.json"
        if earlier.is_file() and json.loads(earlier.read_text())["protocol"] != protocol.to_dict():
            return self.folder / "test" / protocol.name.replace("/", "_")
        return self.folder
