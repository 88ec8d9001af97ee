"""Codecs: what a network is trained on, made from landmarks, and landmarks made from what it gives."""

from wingmark.codecs.codec import Codec, CodecFactory, Target
from wingmark.codecs.coordinates import Coordinates
from wingmark.codecs.decoders import Argmax, Decoder, LocalCentroid, QuarterOffset, Taylor
from wingmark.codecs.heatmap import Heatmap
from wingmark.codecs.loss_maps import DilatedLossMap, LossMap, TargetLossMap

__all__ = [
    "Argmax",
    "Codec",
    "CodecFactory",
    "Coordinates",
    "Decoder",
    "DilatedLossMap",
    "Heatmap",
    "LocalCentroid",
    "LossMap",
    "QuarterOffset",
    "Target",
    "TargetLossMap",
    "Taylor",
]
