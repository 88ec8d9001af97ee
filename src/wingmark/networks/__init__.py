"""Networks: any timm model with one of our heads, or a whole timm model; those of both papers are registered there."""

from wingmark.networks.coordinate_head import CoordinateHead
from wingmark.networks.feature_network import FeatureNetwork
from wingmark.networks.heatmap_head import HeatmapHead
from wingmark.networks.hourglass import StackedHourglass
from wingmark.networks.network import HeadFactory, NetworkFactory
from wingmark.networks.timm_network import TimmNetwork
from wingmark.networks.wing_cnn import WingCNN

__all__ = [
    "CoordinateHead",
    "FeatureNetwork",
    "HeadFactory",
    "HeatmapHead",
    "NetworkFactory",
    "StackedHourglass",
    "TimmNetwork",
    "WingCNN",
]
