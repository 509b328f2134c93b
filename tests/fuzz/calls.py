"""Calls of ops on every backend, and of the reference sample by sample."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fuzz.cases import Case
from fuzz.coordinates import Array, Mask
from fuzz.readings import Reading, readings
from fuzz.tolerance import Bounded, accepted
from helpers import BACKENDS, parts
from spuproj import reference


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def plain(tensor: Tensor) -> Any:
    """A tensor as a float64 array of its own."""
    return tensor.detach().double().contiguous().numpy()


def flat(array: Any) -> Any:
    """Planes as rows: ``[..., H, W]`` to ``[..., K]``."""
    return array.reshape(*array.shape[:-2], array.shape[-2] * array.shape[-1])


def by_sample(tables: Any, b: int) -> Any:
    """The table ``[N, 19]`` of a sample."""
    return tables[min(b, len(tables) - 1)]


def on_every_backend(case: Case, op: str, *arguments: Any) -> Iterator[tuple[str, tuple[Tensor, ...]]]:
    """Results of an op by the backend's name. A second call, which a backend may repeat, must give the same bits."""
    for name, backend in BACKENDS.items():
        with threads(case.threads):
            first, second = (parts(getattr(backend, op)(*arguments)) for _ in range(2))
        for a, b in zip(first, second, strict=True):
            torch.testing.assert_close(b, a, rtol=0, atol=0, equal_nan=True, msg=f"{op} on {name} twice")
        yield name, first


def reading_of(case: Case, op: str) -> Reading:
    """What the points of an op, or of the op whose adjoint it is, read."""
    inverse = op.startswith("unproject")
    sizes = (case.size, case.view_size) if inverse else (case.view_size, case.size)
    padding = "constant" if inverse else case.padding
    return readings(case.tables, *sizes, inverse=inverse, interpolation=case.interpolation, padding=padding)


def by_the_reference(case: Case, op: str, array: Any, wanted: tuple[int, int], *, weights: Any = None) -> Any:
    """An op of finite numbers in float64, sample by sample where each has its own table or weights; planes as rows."""
    options = (case.interpolation,) if op.startswith("unproject") else (case.interpolation, case.padding)
    one_call = case.table.dim() == 2 and (weights is None or weights.ndim == 3)
    results = []
    for b in range(1 if one_call else case.batch):
        table = by_sample(case.tables, b)
        samples = array if one_call else array[b : b + 1]
        given = () if weights is None else (weights if weights.ndim == 3 else weights[b : b + 1],)
        with np.errstate(all="ignore"):
            results.append(getattr(reference, op)(samples, table, wanted, *options, *given))
    if isinstance(results[0], tuple):
        return tuple(flat(np.concatenate(each)) for each in zip(*results, strict=True))
    return flat(np.concatenate(results))


def check(name: str, result: Tensor, bound: Bounded, also: float | None = None, where: Mask | None = None) -> None:
    """Asserts that a result is within its bound."""
    wrong = ~accepted(result, bound, also, where)
    if not wrong.any():
        return
    at = tuple(int(each[0]) for each in np.nonzero(wrong))
    got = plain(result).reshape(bound.value.shape)[at]
    raise AssertionError(
        f"{name}: {wrong.sum()} of {wrong.size} wrong; at {at} got {got!r}, the reference has {bound.value[at]!r}"
        f" +- {bound.error[at]!r}, non-finite {bound.touched[at]} or perhaps {bound.lost[at]}"
    )


def rows_of(tensor: Tensor) -> Array:
    """A tensor's planes as float64 rows, a single image with an axis of views."""
    array = flat(plain(tensor))
    return array[:, None] if tensor.dim() == 4 else array
