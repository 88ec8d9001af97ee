"""Two-stage localisation: a first model finds where and how upright the face is, a second one its landmarks."""

import math
from typing import Any

import torch
from torch import Tensor

from wingmark.finder import LandmarkFinder
from wingmark.geometry import apply, crop_to_image, crops_to_image, eye_level_boxes, map_lengths, sixteenths, warp
from wingmark.model import CHECKPOINT_FORMAT, LandmarkModule
from wingmark.types import Box, Found

# Side of the wide crop in sides of the first stage's: a second crop of that size fits in at any roll (1.41) and
# moved by up to 0.29 sides.
CONTEXT = 2.0
# Pixels of the wide crop per pixel of a stage's own crop, were that as large. The second crops of 120 faces of 300W
# differ from those cut out of the photos by 2.5 gray levels at 0.75, 1.3 at 1, 1.0 at 1.5 and 1.2 at 3, on average.
DETAIL = 1.5


class Cascade(LandmarkFinder):
    """Two trained models that run as one, on wide crops: `context` sides of the first stage's crop (`data.context`).

    The crops of both stages are cut out of the wide one, on its device. The first stage's landmarks make the box of the
    second, as in `Refined`, and the second's are the result (Wing, CVPR 2018). Errors are counted by the first stage's
    protocol, which says where to look for a face. It cannot be trained.

    Made for stages whose crops are about equally large: a second crop that reaches out of the wide one is black there.

    Raises ValueError where the two do not fit together.
    """

    def __init__(self, first: LandmarkModule, second: LandmarkModule, context: float = CONTEXT) -> None:
        _check(first, second)
        detail = max(first.crop_size, second.crop_size)
        super().__init__(first.schema, first.protocol, math.ceil(context * DETAIL * detail))
        self.first, self.second, self.context = first, second, context

    @torch.no_grad()
    def forward(self, image: Tensor) -> Found:
        """What the second stage finds, in pixels of the wide crops (B, 3, W, W) uint8."""
        side = image.shape[-1]
        middle = Box((side - 1) / 2, (side - 1) / 2, side / self.context, side / self.context)
        to_wide = torch.as_tensor(crop_to_image(middle, self.first.crop_size), device=image.device)
        found = self._find(self.first, image, to_wide.expand(image.shape[0], 2, 3)).landmarks_crop
        if not torch.compiler.is_exporting() and not found.isfinite().all():
            raise ValueError("the first stage of the cascade finds landmarks that are not finite; train it again")
        boxes = sixteenths(eye_level_boxes(found, self.schema.eyes))
        return self._find(self.second, image, crops_to_image(boxes, self.second.crop_size, self.second.protocol.margin))

    @staticmethod
    def _find(stage: LandmarkModule, image: Tensor, crop_to_wide: Tensor) -> Found:
        found = stage(warp(image, crop_to_wide, stage.crop_size))
        landmarks_wide = apply(crop_to_wide, found.landmarks_crop.double())
        return Found(landmarks_wide, found.score, map_lengths(crop_to_wide, found.expected_error))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        stages: dict[str, Any] = {}
        for name in ("first", "second"):
            stage = {}
            getattr(self, name).on_save_checkpoint(stage)
            stages[name] = stage["wingmark"]
        checkpoint["wingmark"] = {"format": CHECKPOINT_FORMAT, "model": {**stages, "context": self.context}}


def _check(first: LandmarkModule, second: LandmarkModule) -> None:
    # Curves are only drawn: a stage that was trained before they changed still fits.
    markups = {(s.num_landmarks, s.flip_permutation, s.eyes) for s in (first.schema, second.schema)}
    if len(markups) > 1:
        raise ValueError(
            f"the first stage finds the landmarks of schema {first.schema.name}, the second those of "
            f"{second.schema.name}; train both on one markup"
        )
    if {first.protocol.crop, second.protocol.crop} != {"square"}:
        raise ValueError(
            f"a cascade cuts square crops; protocols {first.protocol.name} ({first.protocol.crop}) and "
            f"{second.protocol.name} ({second.protocol.crop}) are not both square: train the stages with others"
        )
    if first.protocol.box == "refined":
        raise ValueError(
            "the first stage was trained on boxes that another stage made: wingmark cascade FIRST SECOND takes the one "
            "first that looks for faces by itself"
        )
    if second.protocol.box not in ("refined", "tight"):
        raise ValueError(
            f"the second stage was trained on crops from the box {second.protocol.box}, but a cascade makes them from "
            "the smallest box around the landmarks; train it by a protocol with box refined or tight"
        )
