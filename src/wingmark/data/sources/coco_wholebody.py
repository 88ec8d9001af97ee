"""The faces of COCO-WholeBody: 68 landmarks on people in everyday scenes."""

from collections import Counter
from pathlib import Path

import numpy as np

import wingmark.schema
from wingmark.data.sources.coco import coco_box, image_name, numbers, read_coco
from wingmark.data.sources.reading import entry, image_in, missing_layout
from wingmark.data.sources.source import Source, Split
from wingmark.types import Face

PARTS = {"train": "train", "test": "val"}  # the images of COCO's own test set have no annotations


class COCOWholeBody(Source):
    """The faces of COCO-WholeBody (Jin et al., Whole-Body Human Pose Estimation in the Wild, 2020):

        root/annotations/coco_wholebody_{train,val}_v1.0.json
        root/{train2017,val2017}/*.jpg

    Its validation images are the split `test`, as in publications; there is no split `val`. People whose face is not
    annotated (`face_valid` is false) are left out. A landmark with v = 0 has no location. The box `dataset` is
    `face_box`. Many faces are under 30 pixels wide.
    """

    def __init__(self, root: str) -> None:
        self.root = Path(root)
        self.schema = wingmark.schema.get("ibug68")

    def faces(self, split: Split) -> list[Face]:
        if split not in PARTS:
            return []
        files = {part: self.root / f"annotations/coco_wholebody_{part}_v1.0.json" for part in PARTS.values()}
        if not any(path.is_file() for path in files.values()):
            raise missing_layout("COCOWholeBody", self.root, "annotations/coco_wholebody_{train,val}_v1.0.json")
        path = files[PARTS[split]]
        if not path.is_file():
            return []
        names, people = read_coco(path)
        faces, counts = [], Counter()
        for row, person in enumerate(people):
            with entry(f"{path}, annotations[{row}]"):
                if not isinstance(person.get("face_valid"), bool):
                    raise ValueError("face_valid must be true or false")
                if person["face_valid"]:
                    name = f"{PARTS[split]}2017/{image_name(person, names)}"
                    counts[name] += 1
                    faces.append(self._face(person, name, counts[name] - 1))
        if not faces:
            raise ValueError(f"{path}: no annotated face; unpack it again")
        return faces

    def _face(self, person: dict, name: str, number: int) -> Face:
        keypoints = numbers(person, "face_kpts", 3 * 68).reshape(68, 3)
        known = keypoints[:, 2:] > 0
        if not known.any():
            raise ValueError("face_valid is true, but no landmark of face_kpts has a v above 0")
        return Face(
            id=f"{name}#{number}",
            image=image_in(self.root, name),
            landmarks_image=np.where(known, keypoints[:, :2], np.nan),
            group=name,
            boxes={"dataset": coco_box(person, "face_box")},
        )
