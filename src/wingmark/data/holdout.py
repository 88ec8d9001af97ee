"""Cutting validation and test faces out of a training set, by photo."""

from dataclasses import dataclass

import numpy as np

from wingmark.data.sources.reading import leaving_out, tell_left_out
from wingmark.data.sources.source import SPLITS, Source, Split
from wingmark.types import Face


@dataclass(frozen=True)
class Holdout:
    """The share of the training faces that becomes each split the source does not provide; 0 cuts none.

    Faces of one `Face.group` (a photo) stay together. The cut depends on the seed and the groups only.
    """

    val: float = 0.0
    test: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.val >= 0 and self.test >= 0 and self.val + self.test < 1):
            raise ValueError(
                f"data.holdout: val and test are shares of the training faces, together below 1; got {self}"
            )


def split_faces(source: Source, holdout: Holdout, *, skip: bool = False) -> dict[Split, list[Face]]:
    """The faces of every split, those cut from training included.

    With `skip`, annotations that cannot be read are left out and named, except those of test faces. Raises ValueError
    where a split would be cut that the source provides, or the source refuses the cut.
    """
    faces = {split: _read(source, split, skip and split != "test") for split in SPLITS}
    shares = {split: getattr(holdout, split) for split in ("val", "test") if getattr(holdout, split)}
    for split in shares:
        if faces[split]:
            raise ValueError(
                f"data.holdout.{split} is {shares[split]}, but {type(source).__name__} has {len(faces[split])} {split} "
                f"faces of its own; set data.holdout.{split} to 0"
            )
    train = faces["train"]
    groups = sorted({face.group for face in train})
    order = [groups[i] for i in np.random.default_rng(holdout.seed).permutation(len(groups))]
    sizes = dict.fromkeys(groups, 0)
    for face in train:
        sizes[face.group] += 1
    for split, share in shares.items():
        chosen, count = set(), 0
        while order and count < share * len(train):
            group = order.pop()
            chosen.add(group)
            count += sizes[group]
        faces[split] = [face for face in train if face.group in chosen]
        faces["train"] = [face for face in faces["train"] if face.group not in chosen]
    source.check_splits(faces)
    return faces


def _read(source: Source, split: Split, skip: bool) -> list[Face]:
    if not skip:
        return source.faces(split)
    with leaving_out() as left_out:
        faces = source.faces(split)
    tell_left_out(f"{split} annotations", left_out)
    return faces
