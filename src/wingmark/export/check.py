"""Whether an exported file finds what the model finds."""

import numpy as np
import torch

from wingmark.data.dataset import FaceDataset
from wingmark.export.faces import CHECKED, batches
from wingmark.export.formats import Exported
from wingmark.export.graph import Graph
from wingmark.geometry import apply
from wingmark.metrics import NormalizedMeanError
from wingmark.progress import progress

SIZES = (1, 5)  # of batches; the last one holds a single face: the size changes on the way
BOUND = 0.05  # pixels


@torch.no_grad()
def largest_differences(exported: Exported, graph: Graph, faces: FaceDataset) -> dict[str, float]:
    """Between what a file and the graph in PyTorch give, by its name; of 16 faces, in batches of SIZES.

    landmarks (x or y) and expected_error in pixels, score as a share of it where it is above 1. NaN where either gives
    no number.
    """
    indices = [index % len(faces) for index in range(CHECKED)]
    differences: dict[str, list[torch.Tensor]] = {}
    for size in SIZES:
        for inputs in batches(faces, indices, size, exported.about["input"], exported.about["dtype"]):
            found, expected = exported.outputs(*inputs), graph(*inputs)
            for name, truth in expected.items():
                unit = truth.double().abs().clamp(min=1) if name == "score" else 1
                difference = ((found[name].double() - truth.double()) / unit).abs().max()
                differences.setdefault(name, []).append(difference)
    return {name: float(torch.stack(parts).max()) for name, parts in differences.items()}


def nme(exported: Exported, faces: FaceDataset, description: str) -> float:
    """The normalized mean error of a file, by the protocol of the faces."""
    metric, indices, size = NormalizedMeanError(), range(len(faces)), max(SIZES)
    inputs = batches(faces, indices, size, exported.about["input"], exported.about["dtype"])
    for number, batch in enumerate(progress(inputs, description, -(-len(faces) // size))):
        index = list(indices[number * size : (number + 1) * size])
        chosen = [faces.faces[i] for i in index]
        landmarks = exported.outputs(*batch)["landmarks"].double()
        if exported.about["input"] == "crops":
            context = faces.regions.context
            maps = [faces.protocol.crop_to_image(face, faces.crop_size, context) for face in chosen]
            landmarks = apply(torch.from_numpy(np.stack(maps)), landmarks)
        metric.update(
            landmarks,
            torch.from_numpy(np.stack([face.landmarks_image for face in chosen])),
            torch.from_numpy(faces.normalizers[index]),
            valid=torch.from_numpy(np.stack([face.valid for face in chosen])),
        )
    return float(metric.compute())
