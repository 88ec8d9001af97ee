"""Landmark errors and what is made of them, as functions of tensors. Everything is a fraction: 0.08, not 8 %.

The way goes from per-landmark errors (`face_errors`) over one NME per face (`face_nme`) to the numbers of a data set:
`nme`, `failure_rate`, `auc` and `ced` all take the NMEs of its faces, (N,).
"""

import torch
from torch import Tensor


def face_errors(
    prediction: Tensor,
    target: Tensor,
    normalizer: Tensor,
    valid: Tensor | None = None,
    index: Tensor | None = None,
) -> Tensor:
    """Euclidean error of each landmark over the face's normalizer, (B,K) float64, NaN where the landmark is not valid.

    prediction, target: (B,K,2) in pixels of the original image. normalizer: (B,) in the same pixels, such as the
    distance of the outer eye corners. valid: (B,K) bool, all landmarks without it. index: (B,), names the faces in
    errors; without it the row does. Raises ValueError for shapes that do not fit, a normalizer that is not positive
    and finite, a face without a valid landmark, and coordinates of valid landmarks that are not finite.
    """
    _check_shapes(prediction, target, normalizer=normalizer, index=index, valid=valid)
    valid = torch.ones_like(target[..., 0], dtype=torch.bool) if valid is None else valid.bool()
    faults = {
        "normalizer must be positive and finite": ~(normalizer.isfinite() & (normalizer > 0)),
        "at least one landmark must be valid": ~valid.any(dim=1),
        "predictions of valid landmarks must be finite (a training that diverged gives others: lower its rate)": (
            valid & ~prediction.isfinite().all(dim=2)
        ).any(dim=1),
        "targets of valid landmarks must be finite": (valid & ~target.isfinite().all(dim=2)).any(dim=1),
    }
    if torch.stack([*faults.values()]).any():  # asked once, since each question waits for the GPU
        rule, broken = next((rule, broken) for rule, broken in faults.items() if broken.any())
        faces = broken.nonzero()[:, 0] if index is None else index[broken]
        raise ValueError(f"{rule}; not so for the faces of index {faces.tolist()}")
    error = torch.linalg.vector_norm(prediction.double() - target.double(), dim=2) / normalizer.double()[:, None]
    return error.masked_fill(~valid, torch.nan)


def _check_shapes(prediction: Tensor, target: Tensor, **rows: Tensor | None) -> None:
    if prediction.shape != target.shape or target.ndim != 3 or target.shape[2] != 2:
        raise ValueError(
            f"prediction and target must both be (B,K,2), got {tuple(prediction.shape)} and {tuple(target.shape)}"
        )
    for name, tensor in rows.items():
        shape = target.shape[:2] if name == "valid" else target.shape[:1]
        if tensor is not None and tensor.shape != shape:
            raise ValueError(
                f"{name} must be {tuple(shape)} to go with target {tuple(target.shape)}, got {tuple(tensor.shape)}"
            )


def face_nme(errors: Tensor) -> Tensor:
    """NME of each face (N,): the mean of its errors (N,K) over valid landmarks (Wang et al., ICCV 2019, eq. 7)."""
    return errors.nanmean(dim=1)


def nme(face_nmes: Tensor) -> Tensor:
    """NME of a data set: the mean over faces, each face counting alike however many landmarks are valid."""
    return face_nmes.mean()


def failure_rate(face_nmes: Tensor, threshold: float) -> Tensor:
    """FR@t: the share of faces with NME strictly above the threshold."""
    return (face_nmes > threshold).double().mean()


def auc(face_nmes: Tensor, threshold: float) -> Tensor:
    """AUC@t: the area under the CED from 0 to t, over t, in closed form: the mean of max(0, 1 - NME / t)."""
    return (1 - face_nmes / threshold).clamp(min=0).mean()


def ced(face_nmes: Tensor) -> tuple[Tensor, Tensor]:
    """Cumulative error distribution: sorted NMEs (N,) and at each the share of faces up to it, 1/N to 1 (N,).

    A step function: the share of faces with NME <= x is the share at the last entry not above x.
    """
    errors = face_nmes.sort().values
    return errors, torch.arange(1, len(errors) + 1, dtype=torch.float64, device=errors.device) / len(errors)
