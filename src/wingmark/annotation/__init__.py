"""Landmarks for one's own images and videos, as files and pictures."""

from wingmark.annotation.images import annotate_images
from wingmark.annotation.inputs import ImageInput, VideoInput, boxes_of, find_input
from wingmark.annotation.results import FORMATS, Results
from wingmark.annotation.smoothing import OneEuro
from wingmark.annotation.tracking import Tracker
from wingmark.annotation.video import Video, annotate_video

__all__ = [
    "FORMATS",
    "ImageInput",
    "OneEuro",
    "Results",
    "Tracker",
    "Video",
    "VideoInput",
    "annotate_images",
    "annotate_video",
    "boxes_of",
    "find_input",
]
