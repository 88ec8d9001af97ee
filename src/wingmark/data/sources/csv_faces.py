"""Your own set: a folder of images and one CSV file of landmarks."""

import re
from collections import Counter
from pathlib import Path

import numpy as np

import wingmark.schema
from wingmark.data.sources.reading import image_in, numbers, read_csv
from wingmark.data.sources.source import SPLITS, Source, Split
from wingmark.types import Box, Face

BOX = ("x_min", "y_min", "x_max", "y_max")


class CSVFaces(Source):
    """A folder of images and a CSV file with a header and one face per row, columns in any order:

        image,split,x0,y0,x1,y1,...

    image: path relative to `root`; several faces of an image are numbered in the order of the rows.
    x0, y0, ...: the K landmarks of the schema in pixels counted from 0, pixel center at the integer. Both cells of a
        landmark that is not annotated are empty: it is not valid, its coordinates are NaN.
    And optionally split: train (where the column is absent), val or test; x_min, y_min, x_max, y_max: the box `file`;
    group: what must stay on one side of a split (otherwise the image); tags: separated by semicolons.

    `annotations` is relative to `root` too: `../faces.csv` lies beside that folder. `schema` is a built-in name or a
    YAML file. The headers `,0,1,2,3,...` (0 is x0, 1 is y0) and `image_name,part_0_x,part_0_y,...` are read as well.

    allow_absolute: images may lie outside `root`, by an absolute path or by `..`; ids are then as the file has them.
    """

    def __init__(self, root: str, annotations: str, schema: str = "ibug68", allow_absolute: bool = False) -> None:
        self.root, self.allow_absolute = Path(root), allow_absolute
        self.annotations = self.root / annotations
        self.schema = wingmark.schema.get(schema)
        self._coordinates = [f"{axis}{landmark}" for landmark in range(self.schema.num_landmarks) for axis in "xy"]

    def faces(self, split: Split) -> list[Face]:
        if not self.annotations.is_file():
            raise FileNotFoundError(
                f"CSVFaces: there is no file {self.annotations}; set data.source.init_args.root to the images' folder "
                "and annotations to the CSV file, relative to root"
            )
        faces, counts = [], Counter()

        def read(cells: dict[str, str]) -> None:
            if cells.setdefault("split", "train") not in SPLITS:
                raise ValueError(f"split must be train, val or test, got {cells['split']!r}")
            name = Path(cells["image"].replace("\\", "/")).as_posix()
            number, counts[name] = counts[name], counts[name] + 1
            if cells["split"] == split:
                faces.append(self._face(cells, name, number))

        read_csv(self.annotations, self._columns, read)
        if not counts:
            raise ValueError(f"{self.annotations}, line 2: no face below the header; add one row per face")
        return faces

    def _columns(self, header: list[str]) -> list[str]:
        """The header in our names, after checking that it has the columns needed, once each, and no unknown ones."""
        columns = [_our_name(name) for name in header]
        required = {"image", *self._coordinates, *(BOX if {*BOX} & {*columns} else ())}
        missing, unknown = required - {*columns}, {*columns} - required - {"split", "group", "tags"}
        twice = {name for name, count in Counter(columns).items() if count > 1}
        if missing or unknown or twice:
            found, needed = sum(bool(re.fullmatch(r"[xy]\d+", name)) for name in columns), len(self._coordinates)
            raise ValueError(
                f"{self.annotations}, line 1: {found} coordinate columns, schema {self.schema.name} needs {needed}; "
                f"missing {sorted(missing)[:4]}, unknown {sorted(unknown)[:4]}, twice {sorted(twice)[:4]} (a column "
                "without a name is taken for image): choose another data.source.init_args.schema, or mend the header: "
                f"image,x0,y0,... and optionally split,{','.join(BOX)},group,tags"
            )
        return columns

    def _face(self, cells: dict[str, str], name: str, number: int) -> Face:
        image = image_in(self.root, name, self.allow_absolute)
        fields = [cells[column] for column in (*self._coordinates, *BOX) if column in cells]
        found = numbers([field or "nan" for field in fields])
        if (np.isfinite(found) != [field != "" for field in fields]).any():
            raise ValueError("numbers must be finite; leave both cells of an unknown landmark empty")
        landmarks, corners = found[: len(self._coordinates)].reshape(-1, 2), found[len(self._coordinates) :]
        known = np.isfinite(landmarks)
        if not known.any() or (known[:, 0] != known[:, 1]).any():
            raise ValueError("a landmark needs both cells or none, and a face at least one landmark")
        if not (corners[:2] < corners[2:]).all():
            raise ValueError(f"the box {corners.tolist()} ({', '.join(BOX)}) has no area")
        return Face(
            id=f"{name}#{number}",
            image=image,
            landmarks_image=landmarks,
            group=cells.get("group") or name,
            boxes={"file": Box.from_corners(*corners.tolist())} if corners.size else {},
            tags=frozenset(tag.strip() for tag in cells.get("tags", "").split(";")) - {""},
        )


def _our_name(column: str) -> str:
    """`image_name` and the unnamed column are `image`, `part_3_y` and `7` are `y3`."""
    if column in ("", "image_name"):
        return "image"
    if re.fullmatch("[0-9]{1,6}", column):
        return f"{'xy'[int(column) % 2]}{int(column) // 2}"
    return re.sub(r"^part_(\d+)_([xy])$", r"\2\1", column)
