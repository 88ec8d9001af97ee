"""Collects what `test` and `predict` found, on all processes, and writes it down once."""

import json
from collections.abc import Callable
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import Callback, LightningModule, Trainer

from wingmark.evaluation import Predictions, print_report, write_report
from wingmark.metrics import FacePredictions
from wingmark.types import Batch, Prediction


class PredictionWriter(Callback):
    """Writes the report of a test, or the predictions of `predict`, into the run folder.

    The first test of a run fills the folder itself, one of other weights, data, codec or protocol
    `test/<protocol>/`; `predict` fills `predict/`. `about` says what is tested, in plain values.
    """

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.folder, self.about = folder, about
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
        index, predictions = self._gather(trainer)
        if trainer.is_global_zero:
            dataset = trainer.datamodule.dataset("test")
            about = {"protocol": dataset.protocol.to_dict(), **self.about}
            folder = self._test_folder(about)
            scores = write_report(folder, dataset, index, predictions, about)
            self.say = partial(print_report, folder, dataset.protocol, scores)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _, predictions = self._gather(trainer)
        if trainer.is_global_zero:
            path = self.folder / "predict" / "predictions.npz"
            predictions.save(path)
            self.say = partial(print, f"{len(predictions.id)} faces in {path}")

    def _gather(self, trainer: Trainer) -> tuple[np.ndarray, Predictions]:
        index, landmarks_image, score = self.found.compute()
        dataset = trainer.datamodule.dataset("test")
        faces = [dataset.faces[i] for i in index]
        return index, Predictions.of_faces(faces, dataset.schema, dataset.protocol, landmarks_image, score)

    def _test_folder(self, about: dict[str, Any]) -> Path:
        """Where this test belongs: results of another one are never overwritten, its own are."""
        further = self.folder / "test" / about["protocol"]["name"].replace("/", "_")
        for folder in chain((self.folder, further), (further.with_name(f"{further.name}-{n}") for n in count(2))):
            earlier = folder / "metrics.json"
            if not earlier.is_file() or {**json.loads(earlier.read_text()), "scores": None} == {
                **about,
                "scores": None,
            }:
                return folder
