"""Tables, predictions and pictures, computed with the protocol that came with the faces."""

from wingmark.evaluation.comparison import Comparison
from wingmark.evaluation.predictions import Predictions
from wingmark.evaluation.report import Report
from wingmark.evaluation.scores import Scores

__all__ = ["Comparison", "Predictions", "Report", "Scores"]
