"""Pixel-wise uncertainty of a probability map, and scores of how well it locates errors of a segmentation.

The score is that of QU-BraTS (Mehta et al., MELBA 2022:026).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spuproj.checks import choice

__all__ = ["SCALINGS", "QuBrats", "entropy", "mutual_information", "qu_brats", "to_percent"]

Array = NDArray[np.float64]

_SCALINGS: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "variance-1": ("variance / 0.25", lambda values: values / 0.25),
    "std-1": ("square root of the variance / 0.5", lambda values: np.sqrt(values) / 0.5),
    "entropy-1": ("entropy / ln 2", lambda values: values / math.log(2)),
    "mutual-1": ("mutual information / ln 2", lambda values: values / math.log(2)),
    "maximum-1": (
        "value / largest value of the case",
        lambda values: values / max(float(values.max(initial=0.0)), np.finfo(np.float64).tiny),
    ),
}
SCALINGS = {name: meaning for name, (meaning, _) in _SCALINGS.items()}
"""Named scalings of an uncertainty map to [0, 100]: the divisor of each. Names keep their meaning between versions."""

# Relative tolerance: rounding in float32 may exceed a map's theoretical maximum.
_ROUNDING = 1e-4


def entropy(probability: Tensor, dim: int | None = None) -> Tensor:
    """Predictive entropy (Shannon 1948): -p ln p - (1 - p) ln(1 - p) of a binary segmentation, -sum p ln p of classes.

    Its gradient is finite, with 0 ln 0 a constant.

    Args:
        probability: any shape, floating, values in [0, 1]: the mean over views.
        dim: the axis of the classes, over which probabilities sum to 1; if None, each value is one of a binary
            segmentation.

    Returns:
        The same shape (with ``dim``, of length one there) and dtype, in nats, from 0 (certain) to ln 2 (p = 1/2), or
        to ln K for K classes; NaN where a probability lies outside [0, 1] (with ``dim``, below 0).

    Raises:
        TypeError: for a dtype that is not floating point.

    Examples:
        >>> entropy(torch.tensor([0.5, 0.9]))
        tensor([0.6931, 0.3251])
        >>> entropy(torch.tensor([[0.1, 0.9], [0.5, 0.5]]), dim=1)
        tensor([[0.3251],
                [0.6931]])
    """
    if not (isinstance(probability, Tensor) and probability.dtype.is_floating_point):
        kind = getattr(probability, "dtype", type(probability).__name__)
        raise TypeError(f"probability must be a torch tensor of a floating-point dtype, got {kind}")
    if dim is None:
        return _surprise(probability) + _surprise(1 - probability)
    return _surprise(probability).sum(dim, keepdim=True)


def _surprise(probability: Tensor) -> Tensor:
    """-p ln p, where 0 ln 0 is 0 and has the gradient 0."""
    return -probability * torch.where(probability == 0, 1, probability).log()


def mutual_information(mean: Tensor, expected_entropy: Tensor, dim: int | None = None) -> Tensor:
    """Disagreement of the views: entropy of the mean minus mean of the entropies (Houlsby et al. 2011).

    Args:
        mean: any shape, floating, values in [0, 1]: the mean probability over views.
        expected_entropy: the shape of ``entropy(mean, dim)``: the mean over views of their entropies, in nats.
        dim: see ``entropy``.

    Returns:
        The shape of ``expected_entropy``, in nats, from 0 to ln 2, or to ln K for K classes; negative values from
        rounding are set to 0.

    Raises:
        ValueError: where the shapes do not fit.
        TypeError: for a dtype that is not floating point.
    """
    total = entropy(mean, dim)
    if total.shape != expected_entropy.shape:
        raise ValueError(
            f"expected_entropy must have the shape of the mean's entropy, {tuple(total.shape)}, "
            f"got {tuple(expected_entropy.shape)}"
        )
    return (total - expected_entropy).clamp(min=0)


def to_percent(values: Any, scaling: str, entropies: Any = None) -> Array:
    """Scales an uncertainty map to [0, 100], as ``qu_brats`` needs it.

    A pixel that too few views see has no variance: it is marked with NaN, since the views have not agreed on it.
    Where a number is needed, the entropy of the mean takes its place, divided by its own maximum, ln 2.

    Args:
        values: array or tensor of any shape: variances for ``"variance-1"`` and ``"std-1"``, entropies in nats for
            ``"entropy-1"``, mutual information in nats for ``"mutual-1"``, or any nonnegative values for
            ``"maximum-1"``.
        scaling: a name in ``SCALINGS``. The QU-BraTS score depends on it: report it with the score.
        entropies: array or tensor of the same shape, in nats: the entropy of the mean. Where a value is NaN, its
            entropy is scaled instead, by ``"entropy-1"``, or by ``"maximum-1"`` with that scaling. If None, NaN is an
            error.

    Returns:
        float64 of the same shape; values that exceed 100 only by rounding are set to 100.

    Raises:
        ValueError: for an unknown name, NaN without an entropy, a negative value, one that is larger than the scaling's
            divisor, or entropies of another shape.
    """
    choice(scaling, tuple(SCALINGS), "scaling")
    array = _array(values)
    if entropies is not None:
        return _with_entropies(array, scaling, _array(entropies))
    if not (np.isfinite(array).all() and (array >= 0).all()):
        raise ValueError(f"values must be finite and not negative, got {_worst(array, math.inf)}")
    percent = 100 * _SCALINGS[scaling][1](array)
    if percent.max(initial=0.0) > 100 * (1 + _ROUNDING):
        raise ValueError(
            f"values must be at most what {scaling} ({SCALINGS[scaling]}) divides by, "
            f"got a largest value of {array.max():g}"
        )
    return np.minimum(percent, 100)


def _with_entropies(values: Array, scaling: str, entropies: Array) -> Array:
    """Values scaled to [0, 100], and the entropies where a value is NaN."""
    if values.shape != entropies.shape:
        raise ValueError(f"entropies must have the shape of values, {values.shape}, got {entropies.shape}")
    unknown = np.isnan(values)
    percent = to_percent(np.where(unknown, 0, values), scaling)
    if unknown.any():
        percent[unknown] = to_percent(entropies, scaling if scaling == "maximum-1" else "entropy-1")[unknown]
    return percent


class QuBrats(NamedTuple):
    """The QU-BraTS score of one map, and its curves over the thresholds.

    Attributes:
        auc_dice: area under the Dice curve, in [0, 1]; higher is better.
        auc_ftp: area under the curve of ``ftp``, in [0, 1]; lower is better.
        auc_ftn: area under the curve of ``ftn``, in [0, 1]; lower is better.
        score: (auc_dice + 1 - auc_ftp + 1 - auc_ftn) / 3.
        thresholds: ``[points]``, from 0 to 100.
        dice: ``[points]``, Dice of the voxels whose uncertainty is at most the threshold; 1 if both masks are empty.
        ftp: ``[points]``, share of true positives of the brain that are removed, (TP_100 - TP_t) / (TP_100 + eps).
        ftn: ``[points]``, the same share of the true negatives inside the mask.
    """

    auc_dice: float
    auc_ftp: float
    auc_ftn: float
    score: float
    thresholds: Array
    dice: Array
    ftp: Array
    ftn: Array


def qu_brats(
    truth: Any, prediction: Any, uncertainty: Any, mask: Any, points: int = 41, *, scaled: bool = False
) -> QuBrats:
    """The QU-BraTS uncertainty score of a binary segmentation (Mehta et al. 2022, section 3).

    At each threshold, voxels with a strictly greater uncertainty are removed. TP_100 and TN_100 are the counts before
    any removal; eps is the machine epsilon of float32. Areas under the curves over the thresholds are computed by the
    trapezoidal rule and divided by 100. A map of zeros scores (Dice + 2) / 3.

    Args:
        truth: array or tensor of any shape, bool or 0 and 1.
        prediction: likewise, of the same shape.
        uncertainty: array or tensor of the same shape, in [0, 100]: see ``to_percent``.
        mask: array or tensor of the same shape, bool or 0 and 1: the brain, inside which the true positives and true
            negatives that are removed are counted. Dice is that of the whole arrays, as in the authors' program.
        points: number of equally spaced thresholds from 0 to 100, at least 2.
        scaled: whether the map comes from ``to_percent``. If False, a nonzero map without values above 1 is an error,
            since it was probably not scaled.

    Returns:
        The score and its curves.

    Raises:
        ValueError: for different shapes, values other than 0 and 1 in a mask, an uncertainty that is NaN, outside
            [0, 100] or probably not scaled (see ``scaled``), or fewer than two points.

    Examples:
        >>> truth, prediction = [1, 1, 0, 0], [1, 0, 0, 0]
        >>> round(qu_brats(truth, prediction, uncertainty=[0, 100, 0, 0], mask=[1, 1, 1, 1]).score, 3)
        0.999
    """
    if type(points) is not int or points < 2:
        raise ValueError(f"points must be a whole number of at least 2, got {points}")
    wanted, found, brain = _binary(truth, "truth"), _binary(prediction, "prediction"), _binary(mask, "mask")
    percent = _percent(uncertainty, scaled)
    shapes = [array.shape for array in (wanted, found, brain, percent)]
    if len(set(shapes)) > 1:
        raise ValueError(
            f"truth, prediction, mask and uncertainty must have one shape, got {', '.join(map(str, shapes))}"
        )
    thresholds = np.linspace(0, 100, points)
    # Index of the first threshold at which each voxel is kept.
    first = np.searchsorted(thresholds, percent.ravel(), side="left")

    def left(voxels: NDArray[np.bool_]) -> Array:
        return np.bincount(first[voxels.ravel()], minlength=points)[:points].cumsum().astype(np.float64)

    total = left(wanted) + left(found)
    dice = np.where(total > 0, 2 * left(wanted & found) / np.maximum(total, 1), 1.0)
    ftp, ftn = _filtered(left(wanted & found & brain)), _filtered(left(~wanted & ~found & brain))
    auc_dice, auc_ftp, auc_ftn = (_area(curve, thresholds) for curve in (dice, ftp, ftn))
    return QuBrats(auc_dice, auc_ftp, auc_ftn, (auc_dice + 1 - auc_ftp + 1 - auc_ftn) / 3, thresholds, dice, ftp, ftn)


def _area(curve: Array, thresholds: Array) -> float:
    """Area under a curve by the trapezoidal rule, with thresholds rescaled to [0, 1]."""
    return float(((curve[1:] + curve[:-1]) / 2 * np.diff(thresholds)).sum()) / 100


def _filtered(left: Array) -> Array:
    """The share of voxels removed at each threshold; at the last one all are kept."""
    share: Array = (left[-1] - left) / (left[-1] + float(np.finfo(np.float32).eps))
    return share


def _array(values: Any) -> Array:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values
    return np.asarray(values).astype(np.float64, copy=False)


def _binary(values: Any, argument: str) -> NDArray[np.bool_]:
    array = _array(values)
    known = (array == 0) | (array == 1)
    if not known.all():
        raise ValueError(f"{argument} must hold nothing but 0 and 1, got {array[~known].flat[0]:g}")
    found: NDArray[np.bool_] = array == 1
    return found


def _percent(values: Any, scaled: bool) -> Array:
    array = _array(values)
    if not ((array >= 0) & (array <= 100)).all():
        raise ValueError(f"uncertainty must lie in [0, 100], got {_worst(array, 100.0)}")
    largest = float(array.max(initial=0.0))
    if 0 < largest <= 1 and not scaled:
        raise ValueError(
            f"uncertainty must be scaled to [0, 100], got a largest value of {largest:g}; "
            "scale it with spuproj.uncertainty.to_percent, or pass scaled=True where it is"
        )
    return array


def _worst(array: Array, most: float) -> str:
    """The first value that does not lie in [0, most]."""
    return f"{array[~((array >= 0) & (array <= most) & np.isfinite(array))].flat[0]:g}"
