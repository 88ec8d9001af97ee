"""Data sets on disk, read into faces: one file per format."""

from wingmark.data.sources.csv_faces import CSVFaces
from wingmark.data.sources.ibug300w import IBUG300W
from wingmark.data.sources.refined import Refined
from wingmark.data.sources.source import Source
from wingmark.data.sources.synthetic import SyntheticFaces
from wingmark.data.sources.wflw import WFLW

__all__ = ["IBUG300W", "WFLW", "CSVFaces", "Refined", "Source", "SyntheticFaces"]
