"""What happens to training faces: one random affine map, then photometric transforms."""

from wingmark.transforms.geometric import GeometryJitter
from wingmark.transforms.photometric import Photometric, PhotometricTransform

__all__ = ["GeometryJitter", "Photometric", "PhotometricTransform"]
