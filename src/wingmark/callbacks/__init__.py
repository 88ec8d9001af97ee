"""What happens around training and testing."""

from wingmark.callbacks.dashboard import Dashboard
from wingmark.callbacks.prediction_writer import PredictionWriter

__all__ = ["Dashboard", "PredictionWriter"]
