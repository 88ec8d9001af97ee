"""Which face comes when, on which process."""

from collections.abc import Iterator

import numpy as np
from pytorch_lightning.loops import _FitLoop as FitLoop
from torch.utils.data import Dataset, DistributedSampler


class FaceSampler(DistributedSampler):
    """Hands out (index, epoch, copy): the data set derives a face's augmentation from them, in whatever process.

    It is a DistributedSampler also on one process, so that Lightning leaves it in place and tells it the epoch.
    While training (`shuffle`), faces are drawn in an order of (seed, epoch) and dealt like cards, so the processes
    together see the faces that one process would with the sum of the batch sizes. Until all have equally many, the
    last faces are left out (`drop_last`), which come in another epoch, or the first ones repeated. Otherwise no
    face is repeated; only a process left without any gets one, since Lightning skips a loop without batches and the
    others would wait for it (metrics drop repeats by index).

    repeats: how often each face comes in an epoch, (N,), once without; `copy` numbers the showings of a face.
    """

    start = 0  # how many showings of this epoch were seen before training was resumed

    def __init__(
        self,
        dataset: Dataset,
        *,
        num_replicas: int,
        rank: int,
        shuffle: bool,
        seed: int = 0,
        drop_last: bool = False,
        repeats: np.ndarray | None = None,
    ) -> None:
        super().__init__(dataset, num_replicas, rank, shuffle=shuffle, seed=seed, drop_last=drop_last)
        repeats = np.ones(len(dataset), np.int64) if repeats is None else repeats
        self.showings = [(face, copy) for face, times in enumerate(repeats.tolist()) for copy in range(times)]

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        showings = [self.showings[number] for number in self._indices()[self.start :]]
        return iter([(index, self.epoch, copy) for index, copy in showings])

    def resume(self, epoch: int, start: int) -> None:
        """Go on in an epoch after its first showings; `len` stays that of a whole one.

        Must come before loader processes begin, to which Lightning tells the epoch too late.
        """
        self.epoch, self.start = epoch, start

    def set_epoch(self, epoch: int) -> None:
        # Lightning tells the same epoch again after `resume`.
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0

    def __len__(self) -> int:
        return len(self._indices())

    def _indices(self) -> np.ndarray:
        count = len(self.showings)
        if not self.shuffle:
            own = np.arange(self.rank, count, self.num_replicas)
            return own if len(own) else np.array([self.rank % count])
        order = np.random.default_rng([self.seed, self.epoch]).permutation(count)
        each = count // self.num_replicas if self.drop_last else -(-count // self.num_replicas)
        return np.resize(order, each * self.num_replicas)[self.rank :: self.num_replicas]


def position(fit: FitLoop, batch_size: int) -> tuple[int, int]:
    """Where training stands, for `FaceSampler.resume`: in which epoch, after how many of its showings per process."""
    epoch, batches = fit.epoch_progress.current, fit.epoch_loop.batch_progress.current
    return epoch.processed, batches.processed * batch_size if epoch.ready > epoch.processed else 0
