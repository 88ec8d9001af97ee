"""COFW: 29 landmarks on faces with heavy occlusion, images and annotations in one MATLAB 7.3 file."""

from pathlib import Path
from typing import ClassVar

import numpy as np

import wingmark.schema
from wingmark.data.sources.reading import box_from_corners, entry, finite, missing_layout, parsing, tell_if_partial
from wingmark.data.sources.source import Source, Split
from wingmark.geometry import shrink
from wingmark.types import Face

MAX_BYTES = 2**28  # of a variable or image; the set's are a few megabytes


class COFW(Source):
    """COFW (Burgos-Artizzu et al., Robust Face Landmark Estimation under Occlusion, 2013) as its archives unpack:

        root/COFW_{train,test}_color.mat or, its gray version, root/COFW_{train,test}.mat

    The color version is read where both are there. Occluded landmarks have a location and are valid. The box `dataset`
    is that of the file. Face `#n` is the n-th of the file, counted from 0, and a group of its own, since the set does
    not tell which faces share a photo.
    """

    published_counts: ClassVar[dict[Split, int]] = {"train": 1345, "test": 507}

    def __init__(self, root: str) -> None:
        self.root = Path(root)
        self.schema = wingmark.schema.get("cofw29")

    def faces(self, split: Split) -> list[Face]:
        if split not in self.published_counts:
            return []
        files = {name: cofw_file(name, self.root) for name in self.published_counts}
        if not any(files.values()):
            raise missing_layout("COFW", self.root, f"COFW_{split}_color.mat or COFW_{split}.mat")
        path = files[split]
        if path is None:
            return []
        count = count_images(path)
        # HDF5 shows the axes of MATLAB in reverse.
        phis, boxes = _read(path, "phis").T, _read(path, "bboxes").T
        if phis.shape != (count, 87) or boxes.shape != (count, 4):
            found = f"phis {phis.shape} and bboxes {boxes.shape}"
            raise ValueError(f"{path}: {count} images need as many rows of 87 and 4, got {found}; unpack it again")
        faces = []
        for row in range(count):
            with entry(f"{path}, row {row}", "unpack it again"):
                points = phis[row, :58].reshape(2, 29).T  # all x, then all y
                faces.append(cofw_face(path, row, points, phis[row, 58:], boxes[row]))
        tell_if_partial("COFW", split, len(faces), self.published_counts[split], self.root)
        return faces

    def read_image(self, face: Face, reduce: int = 1) -> np.ndarray:
        return read_cofw_image(face, reduce)


def cofw_face(path: Path, row: int, points: np.ndarray, flags: np.ndarray, rectangle: np.ndarray) -> Face:
    """The face of a row: points (K, 2) and the rectangle x y width height count from 1, flags (K,) tell occlusion."""
    flags = finite(flags)
    if not np.isin(flags, (0, 1)).all():
        raise ValueError(f"the flags of occlusion must be 0 or 1, got {flags.tolist()}")
    x, y, width, height = (finite(rectangle) - [1, 1, 0, 0]).tolist()
    name = f"{path.name}#{row}"
    return Face(
        id=name,
        image=path,
        landmarks_image=finite(points.ravel()).reshape(-1, 2) - 1,
        group=name,
        boxes={"dataset": box_from_corners(x, y, x + width, y + height)},
        occluded=flags == 1,
    )


def cofw_file(split: Split, *folders: Path) -> Path | None:
    """COFW's file of a split in the first of the folders that has one, the color version if it has both."""
    names = (f"COFW_{split}_color.mat", f"COFW_{split}.mat")
    return next((folder / name for folder in folders for name in names if (folder / name).is_file()), None)


def count_images(path: Path) -> int:
    """The number of images in a file of COFW."""
    return _read(path, "Is").size


def read_cofw_image(face: Face, reduce: int = 1) -> np.ndarray:
    """The image that a face is named after, `<file of COFW>#<row>`, as `Source.read_image` gives it."""
    row = int(face.id.rpartition("#")[2])
    image = np.ascontiguousarray(_read(face.image, "Is", row).T)
    if image.dtype != np.uint8 or not (image.ndim == 2 or image.shape[2:] == (3,)):
        raise ValueError(
            f"{face.image}, row {row}: expected a color or gray image of 8 bits, got {image.dtype} {image.shape}; "
            "unpack it again"
        )
    return shrink(image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2), reduce)[0]


def _read(path: Path, variable: str, row: int | None = None) -> np.ndarray:
    """A variable of a file of COFW, or the array that its `row` refers to; ValueError for a damaged file."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError("MATLAB files are read with h5py: pip install -e '.[mat]'") from error
    variable += "Tr" if "train" in path.name else "T"
    # Opened anew each time: loader processes must not share an open file.
    with parsing(path, f"MATLAB 7.3 file with {variable}"), h5py.File(path) as file:
        if not isinstance(file.get(variable, getlink=True), h5py.HardLink):
            raise ValueError("it is in another file")
        data = file[variable] if row is None else file[file[variable][0, row]]
        plain = data.dtype.kind in "fiu" or h5py.check_ref_dtype(data.dtype) is h5py.Reference  # each of a known size
        if not plain or not 0 < data.nbytes <= MAX_BYTES or data.external or data.is_virtual:
            raise ValueError(f"expected numbers, 1 to {MAX_BYTES} bytes within the file")
        return data[:]
