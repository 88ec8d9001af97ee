"""Faces in COCO's keypoint format, as MMPose writes 300W, WFLW, COFW, AFLW and LaPa."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

import wingmark.schema
from wingmark.data.sources.coco import coco_box, image_name, numbers, read_coco
from wingmark.data.sources.hrnet_csv import square_box
from wingmark.data.sources.reading import entry, file_of_split, image_in
from wingmark.data.sources.source import Source, Split
from wingmark.types import Face


class COCOFaces(Source):
    """Faces in COCO's keypoint format (Lin et al., Microsoft COCO, 2014): `keypoints` holds `x y v` for each landmark.

    `train`, `val` and `test` are JSON files relative to `root`; a split without one has no faces. Images lie in the
    folder `images` of `root`. A landmark with v = 0 has no location, and an annotation without any other is left out;
    v = 1 means occluded in a file that says 2, visible, of others, and nothing in one that says 1 of all.
    The box `dataset` is `bbox`, which MMPose makes from the landmarks of 300W and WFLW, or AFLW's face rectangle where
    there is a `box_size`. With HRNet's `center` and `scale` the box `hrnet` is their square of 200 * scale pixels, 1.25
    times as wide in published numbers.

    first_pixel: 1 where coordinates count from 1, as MMPose's do in 300W alone. (In COFW it left the boxes so, and
    changed the landmarks: `dataset` is a pixel off there.)

    allow_absolute: images may lie outside `root`, by an absolute path or by `..`; ids are then as the file has them.
    """

    def __init__(
        self,
        root: str,
        schema: str,
        train: str | None = None,
        val: str | None = None,
        test: str | None = None,
        images: str = "images",
        first_pixel: Literal[0, 1] = 0,
        allow_absolute: bool = False,
    ) -> None:
        self.root, self.images, self.first_pixel = Path(root), images, first_pixel
        self.allow_absolute = allow_absolute
        self.files = {"train": train, "val": val, "test": test}
        self.schema = wingmark.schema.get(schema)

    def faces(self, split: Split) -> list[Face]:
        path = file_of_split("COCOFaces", self.root, self.files, split)
        if path is None:
            return []
        names, annotations = read_coco(path)
        faces, counts = [], Counter()
        for row, annotation in enumerate(annotations):
            with entry(f"{path}, annotations[{row}]"):
                keypoints = numbers(annotation, "keypoints", 3 * self.schema.num_landmarks).reshape(-1, 3)
                if not np.isin(keypoints[:, 2], (0, 1, 2)).all():
                    raise ValueError("v, every third number of keypoints, must be 0, 1 or 2")
                if keypoints[:, 2].any():
                    name = (Path(self.images) / image_name(annotation, names)).as_posix()
                    counts[name] += 1
                    faces.append(self._face(annotation, name, counts[name] - 1, keypoints))
        if not faces:
            raise ValueError(f"{path}: no face with an annotated landmark; choose another file")
        if all((face.occluded == face.valid).all() for face in faces):
            return [replace(face, occluded=None) for face in faces]
        return faces

    def _face(self, annotation: dict, name: str, number: int, keypoints: np.ndarray) -> Face:
        known = keypoints[:, 2:] > 0
        boxes = {}
        if "bbox" in annotation:
            box = coco_box(annotation, "bbox")
            boxes["dataset"] = replace(box, x=box.x - self.first_pixel, y=box.y - self.first_pixel)
        if "center" in annotation:
            center = numbers(annotation, "center", 2) - self.first_pixel
            boxes["hrnet"] = square_box(center, 200 * numbers(annotation, "scale", 1).item())
            if "box_size" in annotation:
                boxes["dataset"] = square_box(center, numbers(annotation, "box_size", 1).item())
        return Face(
            id=f"{name}#{number}",
            image=image_in(self.root, name, self.allow_absolute),
            landmarks_image=np.where(known, keypoints[:, :2] - self.first_pixel, np.nan),
            group=name,
            boxes=boxes,
            occluded=keypoints[:, 2] == 1,
        )
