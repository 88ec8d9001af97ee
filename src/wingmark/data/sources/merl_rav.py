"""MERL-RAV: 68 landmarks with three kinds of visibility on faces of AFLW."""

import re
from collections import defaultdict
from pathlib import Path
from typing import ClassVar

import numpy as np

import wingmark.schema
from wingmark.data.sources.aflw import image_folder
from wingmark.data.sources.pts import image_beside, read_pts
from wingmark.data.sources.reading import entry, files_of, images_by_stem, missing_layout, tell_if_partial
from wingmark.data.sources.source import Source, Split
from wingmark.types import Face

# The folders of the set and the tags of their faces.
POSES = {
    "frontal": frozenset({"frontal"}),
    "left": frozenset({"profile", "left"}),
    "lefthalf": frozenset({"half", "lefthalf"}),
    "right": frozenset({"profile", "right"}),
    "righthalf": frozenset({"half", "righthalf"}),
}


class MERLRAV(Source):
    """MERL-RAV (Kumar et al., LUVLi Face Alignment, 2020), as its own script organizes it or as its labels come:

        root/{frontal,left,lefthalf,right,righthalf}/{trainset,testset}/image00070_1.{jpg,pts}
        root/<the same>/labels/image00070_1.pts where `aflw` names AFLW's folder with flickr/{0,2,3}/image00070.jpg

    Ids are the same either way and have no suffix. Numbers are taken as counted from 0. Their signs tell visibility:
    a landmark that something else covers is `occluded` and valid, one that the face itself hides is `occluded` and has
    no location. Tags are `frontal`, `half`, `profile` and the folder's name. Faces of one photo form a group; some
    photos have faces in both splits.
    """

    published_counts: ClassVar[dict[Split, int]] = {"train": 15_449, "test": 3865}

    def __init__(self, root: str, aflw: str | None = None) -> None:
        self.root = Path(root)
        self.aflw = aflw and Path(aflw)
        self.schema = wingmark.schema.get("ibug68")

    def faces(self, split: Split) -> list[Face]:
        if split not in self.published_counts:
            return []
        labels = "labels/*.pts" if self.aflw else "*.pts"
        if not any(any(self.root.glob(f"{pose}/*set/{labels}")) for pose in POSES):
            expected = "frontal/trainset/*.pts and the images, or with init_args.aflw frontal/trainset/labels/*.pts"
            raise missing_layout("MERLRAV", self.root, expected)
        photos = self._photos() if self.aflw else {}
        faces = []
        for pose, tags in POSES.items():
            folder = self.root / pose / f"{split}set"
            images = images_by_stem(folder) if folder.is_dir() and not self.aflw else {}
            for path in files_of(folder / "labels" if self.aflw else folder, ".pts"):
                with entry():
                    photo = re.sub(r"_\d+$", "", path.stem)  # image00070_1 is the first of its faces
                    image = _only(photos[photo], path) if self.aflw else image_beside(path, images)
                    faces.append(_face(f"{pose}/{split}set/{path.stem}#0", image, path, photo, tags))
        tell_if_partial("MERLRAV", split, len(faces), self.published_counts[split], self.root)
        return faces

    def _photos(self) -> dict[str, list[Path]]:
        """AFLW's images by their names without folder and suffix, which are all that labels tell."""
        flickr = image_folder(self.aflw)
        if flickr is None:
            raise FileNotFoundError(
                f"MERLRAV: expected flickr or data/flickr under {self.aflw}; set data.source.init_args.aflw to the "
                "folder where AFLW was unpacked"
            )
        photos = defaultdict(list)
        for folder in sorted(path for path in flickr.iterdir() if path.is_dir()):
            for stem, images in images_by_stem(folder).items():
                photos[stem] += images
        return photos


def _only(images: list[Path], label: Path) -> Path:
    if len(images) != 1:
        raise ValueError(f"{label}: AFLW has {len(images)} images of that name, expected one; unpack AFLW again")
    return images[0]


def _face(name: str, image: Path, label: Path, photo: str, tags: frozenset[str]) -> Face:
    signed = read_pts(label, 68)
    negative = signed < 0
    if (negative[:, 0] != negative[:, 1]).any():
        raise ValueError(f"{label}: a landmark has one negative coordinate, expected both or none; replace the file")
    hidden = (signed == -1).all(1)  # by the face itself, without a location
    return Face(
        id=name,
        image=image,
        landmarks_image=np.where(hidden[:, None], np.nan, np.abs(signed)),
        group=photo,
        tags=tags,
        occluded=negative[:, 0],
    )
