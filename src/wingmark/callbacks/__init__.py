"""What happens around training and testing."""

from wingmark.callbacks.best_checkpoint import BestCheckpoint
from wingmark.callbacks.chosen_rates import ChosenRates
from wingmark.callbacks.chosen_settings import ChosenSettings
from wingmark.callbacks.continuation import Continuation
from wingmark.callbacks.dashboard import Dashboard
from wingmark.callbacks.finite_steps import FiniteSteps
from wingmark.callbacks.last_checkpoint import LastCheckpoint
from wingmark.callbacks.moving_average import MovingAverage
from wingmark.callbacks.prediction_writer import PredictionWriter

__all__ = [
    "BestCheckpoint",
    "ChosenRates",
    "ChosenSettings",
    "Continuation",
    "Dashboard",
    "FiniteSteps",
    "LastCheckpoint",
    "MovingAverage",
    "PredictionWriter",
]
