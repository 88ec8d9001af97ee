"""What finds landmarks in crops can be validated, tested and asked to predict, whatever it is made of."""

from abc import abstractmethod

import torch
from pytorch_lightning import LightningModule
from torchmetrics import MetricCollection

from wingmark.geometry import apply, map_lengths
from wingmark.metrics import CEDAUC, FailureRate, NormalizedMeanError
from wingmark.protocol import Protocol
from wingmark.schema import LandmarkSchema
from wingmark.types import Batch, Found, Prediction


class LandmarkFinder(LightningModule):
    """The evaluating half of a model: its scores, in pixels of the original images.

    Args:
        schema: the markup of the landmarks that are found.
        protocol: how errors are counted.
        crop_size: side of the crops in pixels.
    """

    def __init__(self, schema: LandmarkSchema, protocol: Protocol, crop_size: int) -> None:
        super().__init__()
        self.schema, self.protocol, self.crop_size = schema, protocol, crop_size
        self.val_nme = NormalizedMeanError()
        scores = {
            "nme": NormalizedMeanError(),
            "fr": FailureRate(protocol.threshold),
            "auc": CEDAUC(protocol.threshold),
        }
        # All three keep the same errors: one group, one copy.
        self.test_scores = MetricCollection(scores, prefix="test/", compute_groups=[list(scores)])

    @abstractmethod
    def forward(self, image: torch.Tensor) -> Found:
        """What is found in crops (B, 3, H, W) uint8."""

    def setup(self, stage: str) -> None:
        """Landmarks and maps to the image are float64; half of it is off by pixels in a photo."""
        if self.trainer.precision in ("16-true", "bf16-true"):
            raise ValueError(
                f"trainer.precision {self.trainer.precision} would round landmarks too; choose bf16-mixed or 16-mixed"
            )
        if self.trainer.strategy.root_device.type == "mps":
            raise ValueError("Apple GPUs have no float64, which landmarks need: add --trainer.accelerator cpu")

    def validation_step(self, batch: Batch, batch_index: int) -> Prediction:
        prediction = self.predict_step(batch, batch_index)
        self._update(self.val_nme, batch, prediction)
        self.log("val/nme", self.val_nme, prog_bar=True, batch_size=len(batch.image))
        return prediction

    def test_step(self, batch: Batch, batch_index: int) -> Prediction:
        prediction = self.predict_step(batch, batch_index)
        self._update(self.test_scores, batch, prediction)
        self.log_dict(self.test_scores, batch_size=len(batch.image))
        return prediction

    def predict_step(self, batch: Batch, batch_index: int) -> Prediction:
        found = self(batch.image)
        landmarks_image = apply(batch.crop_to_image, found.landmarks_crop.double())
        expected_error = map_lengths(batch.crop_to_image, found.expected_error)
        return Prediction(batch.index, landmarks_image, found.score, expected_error)

    @staticmethod
    def _update(metric: NormalizedMeanError | MetricCollection, batch: Batch, prediction: Prediction) -> None:
        metric.update(
            prediction.landmarks_image,
            batch.landmarks_image,
            batch.normalizer,
            index=batch.index,
            valid=batch.valid,
        )
