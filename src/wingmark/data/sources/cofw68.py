"""COFW-68: COFW's test faces with the 68 landmarks of 300W."""

from pathlib import Path
from typing import ClassVar

import numpy as np

import wingmark.schema
from wingmark.data.sources.cofw import cofw_face, cofw_file, count_images, read_cofw_image
from wingmark.data.sources.matlab import mat_file
from wingmark.data.sources.reading import entry, missing_layout, tell_if_partial
from wingmark.data.sources.source import Source, Split
from wingmark.types import Face


class COFW68(Source):
    """COFW-68 (Ghiasi and Fowlkes, Occlusion Coherence, 2015) as it unpacks, and the images of COFW:

        root/test_annotations/1_points.mat ... 507_points.mat
        root/cofw68_test_bboxes.mat
        COFW_test_color.mat or COFW_test.mat, in root or beside it

    Test faces only. `<i>_points.mat` belongs to the i-th image of COFW's file, so faces have the same ids and groups
    in both sets. Occluded landmarks have a location and are valid. The box `dataset` is that of the set.
    """

    published_counts: ClassVar[dict[Split, int]] = {"test": 507}

    def __init__(self, root: str) -> None:
        self.root = Path(root)
        self.schema = wingmark.schema.get("ibug68")

    def faces(self, split: Split) -> list[Face]:
        if split not in self.published_counts:
            return []
        images, boxes = cofw_file("test", self.root, self.root.parent), self.root / "cofw68_test_bboxes.mat"
        if not (images and boxes.is_file() and (self.root / "test_annotations").is_dir()):
            expected = "test_annotations, cofw68_test_bboxes.mat and (here or one folder up) COFW_test_color.mat"
            raise missing_layout("COFW68", self.root, expected)
        count = count_images(images)
        rows = np.atleast_2d(mat_file(boxes, "bboxes")["bboxes"])
        if rows.shape != (count, 4):
            raise ValueError(
                f"{boxes}: expected {count} rows x y width height, as {images} has images, got {rows.shape}; "
                "unpack both again"
            )
        faces = []
        for row in range(count):
            path = self.root / f"test_annotations/{row + 1}_points.mat"
            if path.is_file():
                with entry():
                    values = mat_file(path, "Points", "Occ")
                    with entry(f"{path}, and row {row} of {boxes.name}", "unpack them again"):
                        faces.append(_face(images, row, values["Points"], values["Occ"], rows[row]))
        tell_if_partial("COFW68", split, len(faces), self.published_counts[split], self.root)
        return faces

    def read_image(self, face: Face, reduce: int = 1) -> np.ndarray:
        return read_cofw_image(face, reduce)


def _face(images: Path, row: int, points: np.ndarray, flags: np.ndarray, rectangle: np.ndarray) -> Face:
    if np.shape(points) != (68, 2) or np.shape(flags) != (68,):
        raise ValueError(f"expected Points 68x2 and Occ 1x68, got {np.shape(points)} and {np.shape(flags)}")
    return cofw_face(images, row, points, flags, rectangle)
