"""The CSV lists of 300W, WFLW and AFLW that come with HRNet."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

import wingmark.schema
from wingmark.data.sources.reading import file_of_split, finite, image_in, read_csv
from wingmark.data.sources.source import Source, Split
from wingmark.types import Box, Face

REGION = ("scale", "center_w", "center_h")


class HRNetCSV(Source):
    """Faces as HRNet for facial landmarks (Sun et al., High-Resolution Representations, 2019) lists them:

        image_name,scale,center_w,center_h,original_0_x,original_0_y,original_1_x,...

    `train`, `val` and `test` are the lists, relative to `root`; a split without one has no faces. `image_name` is
    relative to the folder `images` of `root`. The box `hrnet` is the square of 200 * scale pixels around the center,
    1.25 times as wide in published numbers: what the landmarks of 300W and WFLW span, and AFLW's face rectangle, which
    is its box `dataset` as well, from a further column `box_size`.

    first_pixel: 1 where coordinates count from 1, as in HRNet's test list of 300W, which copies the `.pts` files. Check
        its training list against them: FaRL subtracts 2 from it.
    allow_absolute: images may lie outside `root`, by an absolute path or by `..`; ids are then as the list has them.
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
        self.lists = {"train": train, "val": val, "test": test}
        self.schema = wingmark.schema.get(schema)
        self._coordinates = [f"original_{i}_{axis}" for i in range(self.schema.num_landmarks) for axis in "xy"]

    def faces(self, split: Split) -> list[Face]:
        path = file_of_split("HRNetCSV", self.root, self.lists, split)
        if path is None:
            return []
        faces, counts = [], Counter()
        read_csv(path, partial(self._columns, path), lambda cells: faces.append(self._face(cells, counts)))
        if not faces:
            raise ValueError(f"{path}: no face below the header; choose another list")
        return faces

    def _columns(self, path: Path, columns: list[str]) -> list[str]:
        expected = {"image_name", *REGION, *self._coordinates}
        missing, unknown = expected - {*columns}, {*columns} - expected - {"box_size"}
        if missing or unknown or len({*columns}) < len(columns):
            raise ValueError(
                f"{path}, line 1: expected image_name, {', '.join(REGION)} and {len(self._coordinates)} coordinates of "
                f"schema {self.schema.name}, once each; missing {sorted(missing)[:4]}, unknown {sorted(unknown)[:4]}; "
                "choose another schema or mend the header"
            )
        return columns

    def _face(self, cells: dict[str, str], counts: Counter) -> Face:
        name = (Path(self.images) / cells["image_name"]).as_posix()
        counts[name] += 1
        landmarks = finite([cells[column] for column in self._coordinates]).reshape(-1, 2) - self.first_pixel
        scale, *center = finite([cells[column] for column in REGION]).tolist()
        center = np.array(center) - self.first_pixel
        boxes = {"hrnet": square_box(center, 200 * scale)}
        if "box_size" in cells:
            boxes["dataset"] = square_box(center, finite([cells["box_size"]]).item())
        return Face(
            id=f"{name}#{counts[name] - 1}",
            image=image_in(self.root, name, self.allow_absolute),
            landmarks_image=landmarks,
            group=name,
            boxes=boxes,
        )


def square_box(center: np.ndarray, side: float) -> Box:
    """The square around a center (2,); ValueError where its side is not positive."""
    if not side > 0:
        raise ValueError(f"a box of {side:g} pixels has no area")
    return Box(*center.tolist(), side, side)
