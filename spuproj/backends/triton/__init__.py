"""The ``triton`` backend: kernels that Triton compiles when they are first called, for GPUs without compiled kernels.

Taps are computed by the ``torch`` backend, so the geometry is not implemented again here. Under Triton's interpreter
(``TRITON_INTERPRET=1``) the kernels also run on CPU tensors, slowly, to test them.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from triton import cdiv, next_power_of_2

from spuproj.backends.base import Moments
from spuproj.backends.gpu import GpuBackend
from spuproj.backends.native import bits_of, strides_of
from spuproj.backends.taps import Sampling, Taps, Transpose
from spuproj.backends.torch import taps_of
from spuproj.backends.triton import kernels

# Pixels (rows and columns) that one program processes, and planes at a time, at most.
_TILE = (8, 16)
_PLANES = 8

# A program of ``gather`` uses its taps for up to this many times as many planes, while there are so many programs.
_TURNS = 4
_PROGRAMS = 4096

# Neighbouring channels that one instruction stores, if the result has them side by side (channels last).
_PACK = 4

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _packed(destination: Tensor) -> bool:
    """Whether four neighbouring channels of every pixel lie side by side, aligned."""
    batch, view, channel, pixel = strides_of(destination)
    regular = channel == 1 and not any(step % _PACK for step in (batch, view, pixel, destination.shape[-3]))
    return regular and destination.data_ptr() % (_PACK * destination.itemsize) == 0


def _launch(
    kernel: Any, pointers: Sequence[Tensor], sizes: Sequence[int], *numbers: int, shared: bool, **constants: bool
) -> None:
    """Launches a kernel for every plane of some views, or of their reduction.

    Args:
        kernel: one of ``kernels``.
        pointers: its tensors.
        sizes: rows and columns of a plane, views, batch, channels.
        numbers: its other arguments.
        shared: whether the batch shares what the kernel reads beside its planes, so that one program can process
            several samples.
        constants: its constants.
    """
    rows, columns, views, batch, channels = sizes
    most = _PACK if constants.get("packed") else _PLANES
    chunk_channels = min(most, next_power_of_2(channels))
    chunk_samples = most // chunk_channels if shared and batch > 1 else 1
    across = cdiv(columns, _TILE[1])
    tiles = cdiv(rows, _TILE[0]) * across
    items, samples = tiles * (1 if kernel is kernels.reduce else views), chunk_samples
    if kernel is kernels.gather:
        while shared and samples < min(batch, _TURNS * chunk_samples) and items * batch >= 2 * samples * _PROGRAMS:
            samples *= 2
        numbers = (*numbers, samples)
    with torch.cuda.device(pointers[0].device) if pointers[0].is_cuda else nullcontext():
        kernel[(items * cdiv(batch, samples), cdiv(channels, chunk_channels))](
            *pointers, rows, columns, tiles, across, views, batch, channels, *numbers, **constants,
            chunk_samples=chunk_samples, chunk_channels=chunk_channels, tile_rows=_TILE[0], tile_columns=_TILE[1],
            # No fused multiply-add, as in the compiled kernels, so that results are bit-identical.
            enable_fp_fusion=False,
        )  # fmt: skip


def _launch_at_taps(
    kernel: Any, planes: Tensor, taps: Taps, pointers: Sequence[Tensor], *numbers: int, own: bool = False,
    **constants: bool,
) -> None:  # fmt: skip
    """Launches a kernel that reads taps.

    ``planes``: a tensor with a plane of taps for each sample and channel.
    ``own``: samples do not share what the kernel reads beside its planes and the taps.
    """
    views, pixels = taps.index.shape[-2:]
    shared = taps.index.dim() == 2
    sizes = (*planes.shape[-2:], views, planes.shape[0], planes.shape[-3])
    numbers = (taps.source[1], 0 if shared else views * pixels, *numbers)
    _launch(kernel, (*taps.tensors, *pointers), sizes, *numbers, shared=shared and not own, **constants)


def _launch_weighted(kernel: Any, stack: Tensor, taps: Taps, weights: Tensor | None, others: Sequence[Tensor]) -> None:
    """Launches a kernel that reads the stack and, if there are any, the weights of its views."""
    # Without weights the pointer is not read.
    batch, view = (0, 0) if weights is None else strides_of(weights)[:2]
    pointers = (stack, stack if weights is None else weights, *others)
    numbers = (*strides_of(stack), batch, view)
    _launch_at_taps(kernel, others[0], taps, pointers, *numbers, own=batch > 0, weighted=weights is not None)


class TritonKernels:
    """The kernels, for ``GpuBackend``."""

    # The float64 coordinates of this many points take half a gigabyte.
    points = 2**21

    def taps(self, geometry: Tensor, sampling: Sampling) -> Taps:
        taps = taps_of(geometry, sampling)
        index, y, x = (part.contiguous() for part in taps.tensors)
        return Taps(index, y, x, taps.source)

    def gather(self, source: Tensor, taps: Taps, destination: Tensor, *, copy: bool, fill: float) -> None:
        # As bits, since Triton would pass a Python float as float32.
        bits = bits_of(fill, source.dtype) if copy else bits_of(fill, torch.float64)
        bits -= 2**64 if bits >= 2**63 else 0  # Kernels take it as a signed number.
        if copy:
            integer = _INTEGERS[source.itemsize]
            source, destination = source.view(integer), destination.view(integer)
        numbers = (*strides_of(source), *strides_of(destination), bits)
        constants = {"copies": copy, "packed": _packed(destination)}
        _launch_at_taps(kernels.gather, destination, taps, (source, destination), *numbers, **constants)

    def reduce(self, stack: Tensor, taps: Taps, weights: Tensor | None, *results: Tensor) -> None:
        _launch_weighted(kernels.reduce, stack, taps, weights, results)

    def slopes(self, stack: Tensor, taps: Taps, weights: Tensor | None, moments: Moments, slopes: Tensor) -> None:
        _launch_weighted(kernels.slopes, stack, taps, weights, (*moments, slopes))

    def gather_adjoint(self, source: Tensor, transpose: Transpose, destination: Tensor) -> None:
        views = transpose.start.shape[-2]
        targets, terms = (1, views) if destination.dim() == 4 else (views, 1)
        shared = transpose.start.dim() == 2
        pointers = (transpose.start, transpose.pixel, transpose.weight, source, destination)
        sizes = (*destination.shape[-2:], targets, source.shape[0], source.shape[-3])
        numbers = (transpose.pixel.shape[-1], terms, 0 if shared else views)
        strides = (*strides_of(source), *strides_of(destination))
        _launch(kernels.gather_adjoint, pointers, sizes, *numbers, *strides, shared=shared)

    def gather_adjoint_atomic(self, source: Tensor, taps: Taps, destination: Tensor) -> None:
        numbers = (*strides_of(source), *strides_of(destination))
        _launch_at_taps(kernels.gather_adjoint_atomic, source, taps, (source, destination), *numbers)


backend = GpuBackend(TritonKernels())
