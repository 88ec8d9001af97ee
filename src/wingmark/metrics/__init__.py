"""Metrics: formulas in `functional`, classes that gather faces over batches and processes here."""

from importlib import import_module
from typing import Any

__all__ = [
    "CEDAUC",
    "CumulativeErrorDistribution",
    "FaceErrors",
    "FacePredictions",
    "FailureRate",
    "NormalizedMeanError",
    "ScoredErrors",
]


def __getattr__(name: str) -> Any:
    # Loaded when asked for: torchmetrics takes seconds and 250 MB, which tables of scores need not wait for.
    if name in __all__:
        module = "predictions" if name in ("FacePredictions", "ScoredErrors") else "errors"
        return getattr(import_module(f"wingmark.metrics.{module}"), name)
    raise AttributeError(f"module 'wingmark.metrics' has no attribute {name!r}")
