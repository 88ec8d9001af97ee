"""Sources on disk, samples, loaders."""

from wingmark.data.balancing import PoseBalancing
from wingmark.data.datamodule import LandmarkDataModule
from wingmark.data.holdout import Holdout

__all__ = ["Holdout", "LandmarkDataModule", "PoseBalancing"]
