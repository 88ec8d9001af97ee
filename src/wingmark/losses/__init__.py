"""Losses: formulas in `functional`, modules with weights and reduction here."""

from wingmark.losses.loss import LandmarkLoss
from wingmark.losses.regression import L1Loss, L2Loss, MSELoss, SmoothL1Loss
from wingmark.losses.wing import AdaptiveWingLoss, WingLoss

__all__ = ["AdaptiveWingLoss", "L1Loss", "L2Loss", "LandmarkLoss", "MSELoss", "SmoothL1Loss", "WingLoss"]
