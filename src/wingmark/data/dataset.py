"""From faces to samples: one affine warp, then photometric transforms."""

import hashlib

import numpy as np
import torch
from torch.utils.data import Dataset

from wingmark.data.regions import Regions
from wingmark.geometry import apply, compose, invert, warp
from wingmark.protocol import Protocol
from wingmark.schema import LandmarkSchema
from wingmark.transforms import GeometryJitter, Photometric
from wingmark.types import Face, Sample


class FaceDataset(Dataset):
    """Samples of one split. Items are asked for by (index, epoch, copy), see `FaceSampler`; what is left off is 0.

    Augmentation is a function of (seed, epoch, index, copy) alone: it does not depend on the number of workers or
    processes. Without `geometry` and `photometric` the crop is the protocol's own, for validation and test.
    """

    def __init__(
        self,
        regions: Regions,
        schema: LandmarkSchema,
        *,
        seed: int = 0,
        geometry: GeometryJitter | None = None,
        photometric: Photometric | None = None,
    ) -> None:
        self.regions, self.schema, self.seed = regions, schema, seed
        self.geometry, self.photometric = geometry, photometric
        self.faces, self.protocol, self.crop_size = regions.faces, regions.protocol, regions.crop_size
        self.normalizers = self.protocol.normalizers_of(self.faces, schema)

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, key: int | tuple[int, ...]) -> Sample:
        index, epoch, copy = (*key, 0, 0)[:3] if isinstance(key, tuple) else (key, 0, 0)
        random = np.random.default_rng([self.seed, epoch, index, copy])
        face, region = self.faces[index], self.regions[index]
        jitter = self.geometry.sample(random) if self.geometry else {}
        to_image = self.protocol.crop_to_image(face, self.crop_size, self.regions.context, **jitter)
        crop = warp(region.pixels, compose(invert(region.to_image), to_image), self.crop_size)
        if self.photometric:
            crop = self.photometric(crop, random)
        order = self.schema.flip if jitter.get("flip") else slice(None)
        landmarks_image = face.landmarks_image[order]
        return Sample(
            image=torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1))),
            landmarks_crop=torch.from_numpy(apply(invert(to_image), landmarks_image)).float(),
            landmarks_image=torch.tensor(landmarks_image),
            valid=torch.tensor(face.valid[order]),
            crop_to_image=torch.from_numpy(to_image),
            normalizer=torch.tensor(self.normalizers[index], dtype=torch.float64),
            index=torch.tensor(index),
        )


def digest(face: Face) -> str:
    """Names a face by its file and annotation, wherever the file lies and under whatever name sets are combined."""
    content = face.image.name.encode() + face.landmarks_image.round(2).tobytes()
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def check_face(face: Face, schema: LandmarkSchema, protocol: Protocol) -> None:
    """What can be known of a face before the first step is checked before it."""
    count = schema.num_landmarks
    if face.landmarks_image.shape != (count, 2):
        raise ValueError(
            f"face {face.id} has landmarks of shape {face.landmarks_image.shape}, schema {schema.name} "
            f"expects ({count}, 2); choose the schema of this annotation"
        )
    if not face.valid.any() or not np.isfinite(face.landmarks_image[face.valid]).all():
        raise ValueError(f"face {face.id} has no valid landmark, or a valid one that is not finite; mend it")
    if face.valid.all() and count > 2 and np.ptp(face.landmarks_image, axis=0).max() < 2:
        raise ValueError(
            f"face {face.id}: its landmarks span less than 2 pixels; if they are fractions of the image, multiply "
            "them by its sides"
        )
    box = protocol.crop_box(face)
    if not (box.width > 0 and box.height > 0):
        raise ValueError(f"face {face.id}: its {protocol.box} box has no area ({box}); mend its annotation")
