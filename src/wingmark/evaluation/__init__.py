"""Tables, predictions and pictures, computed with the protocol that came with the faces."""

from wingmark.evaluation.predictions import Predictions
from wingmark.evaluation.report import Scores, print_report, write_report

__all__ = ["Predictions", "Scores", "print_report", "write_report"]
