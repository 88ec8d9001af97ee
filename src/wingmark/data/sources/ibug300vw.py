"""300VW: 68 landmarks on the frames of 114 videos."""

from pathlib import Path

import cv2
import numpy as np

import wingmark.schema
from wingmark.data.sources.pts import image_beside, read_pts
from wingmark.data.sources.reading import entry, files_of, images_by_stem, missing_layout
from wingmark.data.sources.source import Source, Split
from wingmark.geometry import shrink
from wingmark.types import Face

# The test videos by the category of the challenge: well lit, other light, completely unconstrained.
CATEGORIES = {
    "category1": "114 124 125 126 150 158 401 402 505 506 507 508 509 510 511 514 515 518 519 520 521 522 524 525 537 "
    "538 540 541 546 547 548",
    "category2": "203 208 211 212 213 214 218 224 403 404 405 406 407 408 409 412 550 551 553",
    "category3": "410 411 516 517 526 528 529 530 531 533 557 558 559 562",
}
TAGS = {video: tag for tag, videos in CATEGORIES.items() for video in videos.split()}
VIDEO = "vid.avi"
FRAME_FOLDERS = ("imgs", "extraction")


class IBUG300VW(Source):
    """300VW (Shen et al., The First Facial Landmark Tracking in-the-Wild Challenge, 2015) as it unpacks:

        root/<video>/annot/000001.pts ...    root/<video>/vid.avi

    and, where the frames were extracted, `root/<video>/imgs/000001.png` or `extraction/000001.png`: reading one out of
    a video decodes many others on the way. Frames count from 1. Test faces are tagged `category1` to `category3`. The
    group is the video. `step` takes one in so many annotated frames of each video, which differ little.
    """

    def __init__(self, root: str, step: int = 10) -> None:
        if step < 1:
            raise ValueError(f"data.source.step: one in so many frames is read, 1 or more, got {step}")
        self.root, self.step = Path(root), step
        self.schema = wingmark.schema.get("ibug68")

    def faces(self, split: Split) -> list[Face]:
        videos = sorted(folder.parent for folder in self.root.glob("*/annot") if folder.is_dir())
        if not videos:
            raise missing_layout("IBUG300VW", self.root, "folders such as 001 with annot and vid.avi")
        return [
            face
            for video in videos
            if split == ("test" if video.name in TAGS else "train")
            for face in self._faces_of(video)
        ]

    def _faces_of(self, video: Path) -> list[Face]:
        images = {}
        for folder in FRAME_FOLDERS:
            if (video / folder).is_dir():
                images |= images_by_stem(video / folder)
        faces = []
        for path in files_of(video / "annot", ".pts")[:: self.step]:
            with entry():
                if path.stem in images:
                    image, number = image_beside(path, images), 0
                else:
                    image, number = video / VIDEO, _frame_number(path)
                faces.append(
                    Face(
                        id=f"{image.relative_to(self.root).as_posix()}#{number}",
                        image=image,
                        landmarks_image=read_pts(path, 68) - 1,  # counted from 1, as in MATLAB
                        group=video.name,
                        tags=frozenset({TAGS[video.name]} if video.name in TAGS else ()),
                    )
                )
        return faces

    def read_image(self, face: Face, reduce: int = 1) -> np.ndarray:
        if face.image.name != VIDEO:
            return super().read_image(face, reduce)
        number = int(face.id.rpartition("#")[2])
        video = cv2.VideoCapture(str(face.image))
        try:
            video.set(cv2.CAP_PROP_POS_FRAMES, number - 1)
            found, frame = video.read()
            # Only the position tells that a seek ended elsewhere.
            if not found or round(video.get(cv2.CAP_PROP_POS_FRAMES)) != number:
                raise ValueError(
                    f"{face.image}: frame {number} cannot be read, the video is damaged or too short; copy it again"
                )
        finally:
            video.release()
        return shrink(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), reduce)[0]


def _frame_number(path: Path) -> int:
    """The number of the video's frame that a `.pts` file annotates, counted from 1."""
    if not (path.stem.isdecimal() and int(path.stem)):
        raise ValueError(f"{path}: the name is not the number of a frame, as in 000001.pts; rename it or remove it")
    if not path.parents[1].joinpath(VIDEO).is_file():
        raise ValueError(
            f"{path}: there is neither {path.parents[1] / VIDEO} nor {path.stem}.png in {' or '.join(FRAME_FOLDERS)} "
            "beside annot; add one of them or remove the .pts file"
        )
    return int(path.stem)
