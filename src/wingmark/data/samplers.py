"""Which face comes when, on which process."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Dataset, DistributedSampler


class FaceSampler(DistributedSampler):
    """Hands out (index, epoch, copy): the data set derives a face's augmentation from them, in whatever process.

    It is a DistributedSampler also on one process, so that Lightning leaves it in place and tells it the epoch.
    While training (`shuffle`), faces are drawn in an order of (seed, epoch), dealt like cards and repeated at the
    end until every process has equally many, so the processes together see the faces that one process would with
    the sum of the batch sizes. Otherwise no face is repeated; only a process left without any gets one, since
    Lightning skips a loop without batches and the others would wait for it (metrics drop repeats by index).

    repeats: how often each face comes in an epoch, (N,), once without; `copy` numbers the showings of a face.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        num_replicas: int,
        rank: int,
        shuffle: bool,
        seed: int = 0,
        repeats: np.ndarray | None = None,
    ) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=shuffle, seed=seed)
        repeats = np.ones(len(dataset), np.int64) if repeats is None else repeats
        self.showings = [(face, copy) for face, times in enumerate(repeats.tolist()) for copy in range(times)]

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        showings = [self.showings[number] for number in self._indices()]
        return iter([(index, self.epoch, copy) for index, copy in showings])

    def __len__(self) -> int:
        return len(self._indices())

    def _indices(self) -> np.ndarray:
        count = len(self.showings)
        if not self.shuffle:
            own = np.arange(self.rank, count, self.num_replicas)
            return own if len(own) else np.array([self.rank % count])
        order = np.random.default_rng([self.seed, self.epoch]).permutation(count)
        padded = np.resize(order, -(-count // self.num_replicas) * self.num_replicas)
        return padded[self.rank :: self.num_replicas]
