"""300W's test set of 600 faces, which was private while the challenge ran: 68 landmarks, indoor and outdoor."""

from pathlib import Path
from typing import ClassVar

import wingmark.schema
from wingmark.data.sources.pts import image_beside, read_pts
from wingmark.data.sources.reading import entry, files_of, images_by_stem, missing_layout, tell_if_partial
from wingmark.data.sources.source import Source, Split
from wingmark.types import Face

# The folders of the set and the tag of their faces.
SETS = {"01_Indoor": "indoor", "02_Outdoor": "outdoor"}


class IBUG300WPrivate(Source):
    """The test set of the 300W challenge (Sagonas et al., 300 Faces In-The-Wild Challenge, 2016) as it unpacks:

        root/300W/01_Indoor/indoor_001.{png,pts}
        root/300W/02_Outdoor/outdoor_001.{png,pts}

    or without the folder `300W`, below which ids start in either case. All are test faces, tagged `indoor` or
    `outdoor`, without a box of their own. Each image is a group.
    """

    published_counts: ClassVar[dict[Split, int]] = {"test": 600}

    def __init__(self, root: str) -> None:
        self.root = Path(root)
        self.schema = wingmark.schema.get("ibug68")

    def faces(self, split: Split) -> list[Face]:
        if split not in self.published_counts:
            return []
        folder = self.root / "300W" if (self.root / "300W").is_dir() else self.root
        names = [name for name in SETS if (folder / name).is_dir()]
        if not names:
            raise missing_layout("IBUG300WPrivate", folder, f"some of {', '.join(SETS)}")
        faces = [face for name in names for face in self._faces_of(folder, name)]
        tell_if_partial("IBUG300WPrivate", split, len(faces), self.published_counts[split], self.root)
        return faces

    def _faces_of(self, folder: Path, name: str) -> list[Face]:
        images = images_by_stem(folder / name)
        faces = []
        for path in files_of(folder / name, ".pts"):
            with entry():
                image = image_beside(path, images)
                group = image.relative_to(folder).as_posix()
                faces.append(
                    Face(
                        id=f"{group}#0",
                        image=image,
                        landmarks_image=read_pts(path, 68) - 1,  # counted from 1, as in MATLAB
                        group=group,
                        tags=frozenset({SETS[name]}),
                    )
                )
        return faces
