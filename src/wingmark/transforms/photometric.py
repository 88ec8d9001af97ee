"""Colors, blur, noise and occlusion by albumentations: the only module that knows it."""

import os
from collections.abc import Sequence
from random import Random

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for news on import otherwise

import albumentations as A
import numpy as np
from albumentations.augmentations.dropout.transforms import BaseDropout

PhotometricTransform = A.BasicTransform | A.BaseCompose


class Photometric:
    """A list of albumentations transforms that change pixels and leave every landmark where it is.

    Raises ValueError for a transform that moves pixels: rotation, scale, shift and flip belong to `data.geometry`,
    where the landmarks go along.
    """

    def __init__(self, transforms: Sequence[PhotometricTransform]) -> None:
        for transform in transforms:
            self._refuse_movers(transform)
        self._compose = A.Compose(list(transforms))

    def _refuse_movers(self, transform: PhotometricTransform) -> None:
        if isinstance(transform, A.BaseCompose):
            for inner in transform.transforms:
                self._refuse_movers(inner)
        elif not isinstance(transform, A.ImageOnlyTransform | BaseDropout):
            raise ValueError(
                f"data.photometric: {type(transform).__name__} moves pixels, which would leave the landmarks behind; "
                "use data.geometry for rotation, scale, shift and flip"
            )

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Transform an image (H, W, 3) uint8; all chance comes from `random`, so it is the same in any process."""
        # One stream for all: with set_random_seed every transform would draw the same numbers, and they would come
        # together or not at all.
        self._compose.set_random_state(random, Random(int(random.integers(2**63))))
        changed = self._compose(image=image)["image"]
        if changed.shape != image.shape or changed.dtype != image.dtype:
            raise ValueError(
                f"data.photometric must keep size and type, but {image.shape} {image.dtype} became "
                f"{changed.shape} {changed.dtype}; remove the transform that resizes or converts"
            )
        return changed
