"""300W-LP: the photos of 300W turned to large poses, with 68 landmarks."""

import re
from pathlib import Path
from typing import Literal

import numpy as np

import wingmark.schema
from wingmark.data.sources.matlab import mat_file
from wingmark.data.sources.reading import entry, files_of, images_by_stem, missing_layout
from wingmark.data.sources.source import Source, Split
from wingmark.types import Face


class IBUG300WLP(Source):
    """300W-LP (Zhu et al., Face Alignment Across Large Poses, 2016) as its archive unpacks:

        root/<SET>/<name>.jpg        root/landmarks/<SET>/<name>_pts.mat

    for the sets AFW, HELEN, IBUG, LFPW and, where they have landmarks, their mirrored AFW_Flip, ... All is training
    data; the turned copies of a photo are one group. It shows the test photos of 300W, too: a model trained on it must
    not be tested on them.

    points: `2d`, which follow the visible outline of the face, or `3d`, the projections of points on the head, some of
        them hidden. Both count from 1: MATLAB wrote them, and 3DDFA-V2, trained on them, subtracts 1.
    """

    def __init__(self, root: str, points: Literal["2d", "3d"] = "2d") -> None:
        self.root, self.variable = Path(root), f"pts_{points}"
        self.schema = wingmark.schema.get("ibug68")

    def faces(self, split: Split) -> list[Face]:
        if split != "train":
            return []
        folders = sorted(folder for folder in (self.root / "landmarks").glob("*") if folder.is_dir())
        if not folders:
            raise missing_layout("IBUG300WLP", self.root, "landmarks/AFW, AFW and so on")
        return [face for folder in folders for face in self._faces_of(folder)]

    def _faces_of(self, folder: Path) -> list[Face]:
        if not (self.root / folder.name).is_dir():
            raise missing_layout("IBUG300WLP", self.root, f"{folder.name}, as in landmarks,")
        images = images_by_stem(self.root / folder.name)
        faces = []
        for path in files_of(folder, "_pts.mat"):
            with entry():
                name = path.name[: -len("_pts.mat")]
                if len(images.get(name, ())) != 1:
                    raise ValueError(f"{path}: expected one image {name} in {folder.name}; add it or remove this file")
                (image,) = images[name]
                faces.append(
                    Face(
                        id=f"{image.relative_to(self.root).as_posix()}#0",
                        image=image,
                        landmarks_image=self._landmarks(path),
                        group=_photo(folder.name, name),
                    )
                )
        return faces

    def _landmarks(self, path: Path) -> np.ndarray:
        points = mat_file(path, self.variable)[self.variable]
        if np.shape(points) != (68, 2) or points.dtype.kind not in "iuf" or not np.isfinite(points).all():
            raise ValueError(f"{path}: {self.variable} must be 68 x 2 finite numbers; unpack it again")
        return points.astype(float) - 1


def _photo(folder: str, name: str) -> str:
    """The photo of a face: `AFW_Flip`, `AFW_134212_1_0` (face 1, pose 0) gives `AFW/AFW_134212`."""
    face = name.rpartition("_")[0]
    return folder.removesuffix("_Flip") + "/" + re.sub(r"(?<=\d)\s*_\d+$", "", face)
