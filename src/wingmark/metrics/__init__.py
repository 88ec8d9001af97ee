"""Metrics: formulas in `functional`, classes that gather faces over batches and processes here."""

from wingmark.metrics.errors import (
    CEDAUC,
    CumulativeErrorDistribution,
    FaceErrors,
    FailureRate,
    NormalizedMeanError,
)
from wingmark.metrics.predictions import FacePredictions

__all__ = [
    "CEDAUC",
    "CumulativeErrorDistribution",
    "FaceErrors",
    "FacePredictions",
    "FailureRate",
    "NormalizedMeanError",
]
