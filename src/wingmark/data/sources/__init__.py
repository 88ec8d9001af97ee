"""Data sets on disk, read into faces: one file per format."""

from wingmark.data.sources.aflw import AFLW
from wingmark.data.sources.aflw_sqlite import AFLWSqlite
from wingmark.data.sources.celeba import CelebA
from wingmark.data.sources.coco_faces import COCOFaces
from wingmark.data.sources.coco_wholebody import COCOWholeBody
from wingmark.data.sources.cofw import COFW
from wingmark.data.sources.cofw68 import COFW68
from wingmark.data.sources.combined import Combined
from wingmark.data.sources.csv_faces import CSVFaces
from wingmark.data.sources.dlib_xml import DlibXML
from wingmark.data.sources.hrnet_csv import HRNetCSV
from wingmark.data.sources.ibug300vw import IBUG300VW
from wingmark.data.sources.ibug300w import IBUG300W
from wingmark.data.sources.ibug300w_private import IBUG300WPrivate
from wingmark.data.sources.ibug300wlp import IBUG300WLP
from wingmark.data.sources.jd_landmark import JDLandmark
from wingmark.data.sources.kaggle15 import Kaggle15
from wingmark.data.sources.lapa import LaPa
from wingmark.data.sources.menpo import Menpo
from wingmark.data.sources.merl_rav import MERLRAV
from wingmark.data.sources.refined import Refined
from wingmark.data.sources.remapped import Remapped
from wingmark.data.sources.source import Source
from wingmark.data.sources.synthetic import SyntheticFaces
from wingmark.data.sources.wflw import WFLW

__all__ = [
    "AFLW",
    "COFW",
    "COFW68",
    "IBUG300VW",
    "IBUG300W",
    "IBUG300WLP",
    "MERLRAV",
    "WFLW",
    "AFLWSqlite",
    "COCOFaces",
    "COCOWholeBody",
    "CSVFaces",
    "CelebA",
    "Combined",
    "DlibXML",
    "HRNetCSV",
    "IBUG300WPrivate",
    "JDLandmark",
    "Kaggle15",
    "LaPa",
    "Menpo",
    "Refined",
    "Remapped",
    "Source",
    "SyntheticFaces",
]
