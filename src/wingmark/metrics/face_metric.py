"""The base of all metrics: a table with one row per face, the same for any number of processes."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat
from torchmetrics.utilities.distributed import gather_all_tensors

BY_ARRIVAL = -1


class FaceMetric(Metric):
    """Collects rows of `columns` under the index of their face, and gives them sorted by index, each face once.

    Samplers repeat faces and spread them unevenly over processes. Since the rows and their order are the same in any
    case, so is every bit of what is computed from them.

    kwargs: those of `torchmetrics.Metric`.
    """

    is_differentiable = False
    full_state_update = False

    # Name: type and number of axes, the first one the faces. "index" (int64, 1) is one of them.
    columns: ClassVar[dict[str, tuple[torch.dtype, int]]]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in self.columns:
            self.add_state(name, [], dist_reduce_fx="cat")

    def _append(self, index: Tensor | None, **rows: Tensor) -> None:
        """Add faces. Without index they are numbered by arrival, which only one process can do."""
        column = next(iter(rows.values()))
        if index is None:
            if self.distributed_available_fn() and torch.distributed.get_world_size(self.process_group) > 1:
                raise ValueError(
                    "faces need an index under more than one process, where they are repeated and arrive in any "
                    "order; pass index=batch.index to update"
                )
            index = torch.full((len(column),), BY_ARRIVAL, device=column.device)
        elif index.shape != (len(column),) or index.is_floating_point() or (index < 0).any():
            raise ValueError(f"index must be {len(column)} integers from 0 on, got {tuple(index.shape)} {index}")
        for name, row in {"index": index, **rows}.items():
            # A copy: each tensor of a loader's worker that is kept alive keeps a file of shared memory open.
            getattr(self, name).append(row.detach().to(self.columns[name][0], copy=True))

    def _rows(self) -> tuple[dict[str, Tensor], Tensor]:
        """All columns sorted by index, repeats side by side in order of arrival, and which rows come first (N,)."""
        if not len(self.index) or not len(dim_zero_cat(self.index)):
            raise ValueError("there are no faces to evaluate: update came with none; check that the split is not empty")
        rows = {name: dim_zero_cat(getattr(self, name)) for name in self.columns}
        by_arrival = rows["index"] == BY_ARRIVAL
        if by_arrival.all():
            rows["index"] = torch.arange(len(by_arrival), device=by_arrival.device)
        elif by_arrival.any():
            raise ValueError("some faces came with an index and some without; pass index to every update or to none")
        order = rows["index"].argsort(stable=True)
        rows = {name: column[order] for name, column in rows.items()}
        first = torch.ones_like(rows["index"], dtype=torch.bool)
        first[1:] = rows["index"].diff() > 0
        return rows, first

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Add faces and give the value of these alone. A refused batch leaves nothing behind, as in `update`."""
        before = dict(vars(self))
        try:
            return super().forward(*args, **kwargs)
        except BaseException:
            vars(self).update(before)
            raise

    def reset(self) -> None:
        """Forget all faces. The lists are replaced: a MetricCollection or wrapper may share the old ones."""
        for name in self.columns:
            setattr(self, name, [])
        super().reset()

    def _sync_dist(self, dist_sync_fn: Callable = gather_all_tensors, process_group=None) -> None:
        """Gather the rows of all processes.

        All must bring tensors of one type and number of axes, or the gathering aborts or hangs; one without faces
        brings no rows, and since it cannot know K, its (0, 0) is left out before the others' (n, K) are joined.
        """
        if not self.index:
            for name, (dtype, axes) in self.columns.items():
                setattr(self, name, [torch.empty((0,) * axes, dtype=dtype, device=self.device)])

        def gather(tensor: Tensor, group=None) -> list[Tensor]:
            parts = dist_sync_fn(tensor, group)
            return [part for part in parts if len(part)] or parts[:1]

        super()._sync_dist(gather, process_group)

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state=()) -> "FaceMetric":
        """Follow the module to its device but not to its precision, which would round the rows."""
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), exclude_state)
