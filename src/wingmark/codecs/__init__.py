"""Codecs: what a network is trained on, made from landmarks, and landmarks made from what it gives."""

from wingmark.codecs.codec import Codec, CodecFactory
from wingmark.codecs.coordinates import Coordinates
from wingmark.codecs.decoders import Argmax, Decoder, LocalCentroid, QuarterOffset, Taylor
from wingmark.codecs.heatmap import Heatmap

__all__ = [
    "Argmax",
    "Codec",
    "CodecFactory",
    "Coordinates",
    "Decoder",
    "Heatmap",
    "LocalCentroid",
    "QuarterOffset",
    "Taylor",
]
