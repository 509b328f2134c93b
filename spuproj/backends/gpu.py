"""Code shared by the GPU backends: the four kernels of ``Backend``, built from six device kernels."""

import math
from collections.abc import Callable, Hashable, Sequence
from functools import cache
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from spuproj.backends.base import CALLS, Backend, Moments, overlap, returned
from spuproj.backends.native import strides_of, weight_planes
from spuproj.backends.prepared import PreparedStore, side_stream
from spuproj.backends.taps import Part, Sampling, Taps, Transpose, in_parts, parts, transpose_of

PLANE_BYTES = 2**32 - 1
"""Largest extent of one plane in memory, in bytes: kernels use 32-bit offsets within a plane."""

SLOPE_BYTES = 256 * 2**20
"""Memory for the gradients of unprojected views in ``reduce_backward``, in bytes; the batch is split to fit."""


class Kernels(Protocol):
    """The device kernels of one backend. Tensors are ``[B, N, C, ., .]``, or ``[B, C, ., .]`` if shared by all views.

    Neighbouring pixels of a plane are a constant stride apart, also across rows; other strides are arbitrary. Kernels
    run on the current stream.

    Attributes:
        points: largest number of taps computed at a time for per-sample geometry.
    """

    points: int

    def taps(self, geometry: Tensor, sampling: Sampling) -> Taps:
        """The taps of ``[N, 19]`` or ``[B, N, 19]`` views."""

    def gather(self, source: Tensor, taps: Taps, destination: Tensor, *, copy: bool, fill: float) -> None:
        """Samples the source into ``[B, N, C, ., .]``; with ``copy``, moves elements without arithmetic (nearest)."""

    def reduce(self, stack: Tensor, taps: Taps, weights: Tensor | None, *results: Tensor) -> None:
        """Mean, variance and count of every slice pixel; results are contiguous, weights as of ``weight_planes``."""

    def slopes(self, stack: Tensor, taps: Taps, weights: Tensor | None, moments: Moments, slopes: Tensor) -> None:
        """Gradient of ``reduce`` with respect to the unprojected views; moments and slopes are contiguous."""

    def gather_adjoint(self, source: Tensor, transpose: Transpose, destination: Tensor) -> None:
        """Adjoint of ``gather``, in a fixed order, so deterministic; summed over the views if the result has no N."""

    def gather_adjoint_atomic(self, source: Tensor, taps: Taps, destination: Tensor) -> None:
        """Adjoint of ``gather`` with atomic adds, in any order, into a zeroed tensor of the taps' precision."""


def _uniform(tensor: Tensor) -> Tensor:
    """The tensor if its pixels have a constant stride and planes fit 32-bit offsets, else a contiguous copy."""
    height, width = tensor.shape[-2:]
    if height * width * tensor.itemsize > PLANE_BYTES:
        raise ValueError(
            f"a plane that is read must be of less than 4 GiB here, got {height} x {width} of {tensor.dtype}"
        )
    stride = strides_of(tensor)[-1]
    regular = height == 1 or tensor.stride(-2) == width * stride
    return tensor if regular and height * width * stride * tensor.itemsize <= PLANE_BYTES else tensor.contiguous()


@cache
def kept_bytes(device: torch.device) -> int:
    """How much memory taps and transposes may take: an eighth of a GPU's; 512 MiB where the CPU runs GPU kernels."""
    return torch.cuda.get_device_properties(device).total_memory // 8 if device.type == "cuda" else 512 * 2**20


class Launch(NamedTuple):
    """One run of a kernel: its arguments are tensors, None, and the taps or transpose it reads."""

    kernel: Callable[..., None]
    arguments: Sequence[Any]
    options: dict[str, Any]
    reads: Taps | Transpose

    def run(self) -> "Launch":
        """Runs the kernel; returns itself."""
        self.kernel(*self.arguments, **self.options)
        return self


class _Call(NamedTuple):
    """A kept call: its kernel, arguments (of a tensor its place in the call), and how to allocate its results."""

    kernel: Callable[..., None]
    places: list[Any]
    options: dict[str, Any]
    layouts: list[tuple[Any, ...]]

    def run(self, given: tuple[Any, ...], device: torch.device) -> Any:
        """Runs the kernel on the tensors of another call; returns its results."""
        results = [torch.empty_strided(*sizes, dtype=dtype, device=device) for *sizes, dtype in self.layouts]
        there = (*given, *results)
        self.kernel(*[there[at] if type(at) is int else at for at in self.places], **self.options)
        return returned(results)


def _reads_what_it_writes(given: Sequence[Any]) -> bool:
    """Whether the last tensor of a call without results, into which it writes, overlaps another."""
    *read, written = (each for each in given if isinstance(each, Tensor))
    return any(overlap(written, each) for each in read)


def _key(op: object, given: Sequence[Any]) -> Hashable:
    """What two calls must have in common to differ in the values of tensors alone."""
    return op, *map(_described, given)


def _described(value: Any) -> Hashable:
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype, value.device
    if isinstance(value, list):
        return tuple(value)
    # Zeros of both signs are equal, and NaN equals nothing.
    return value.hex() if isinstance(value, float) else value


class GpuBackend(Backend):
    """A GPU backend. Results are bit-identical from run to run, except where ``gather_adjoint_atomic`` is used."""

    def __init__(self, kernels: Kernels) -> None:
        super().__init__(PreparedStore(kept_bytes, warns=True))
        self.kernels = kernels

    def prepare(self, geometry: Tensor, samplings: Sequence[Sampling], *, backward: bool) -> None:
        if geometry.is_cuda:
            # Only what the default stream computes is kept, and a graph cannot wait for what was queued before it.
            default = torch.cuda.default_stream(geometry.device)
            default.wait_stream(torch.cuda.current_stream(geometry.device))
            with torch.cuda.stream(default):
                self._prepare(geometry, samplings, backward)
            default.synchronize()
        else:
            self._prepare(geometry, samplings, backward)

    def _prepare(self, geometry: Tensor, samplings: Sequence[Sampling], backward: bool) -> None:
        self.prepared.pin(geometry)
        for sampling in samplings:
            for part in parts(geometry, 1 if geometry.dim() == 2 else len(geometry), sampling, self.kernels.points):
                if part.keep:
                    self._taps(part, sampling)
                if part.keep and backward and _sorts(geometry):
                    self._transpose(part, sampling)

    def repeat(self, op: object, geometry_at: int, given: tuple[Any, ...]) -> Any:
        table = given[geometry_at]
        prepared = self.prepared.find(table)
        calls = None if prepared is None else prepared.calls
        call = None if calls is None else calls.get(_key(op, given))
        if call is None or side_stream(table) is not None or (not call.layouts and _reads_what_it_writes(given)):
            return NotImplemented
        return call.run(given, table.device)

    def keep(
        self, op: object, geometry_at: int, given: tuple[Any, ...], results: Sequence[Tensor], launch: Launch
    ) -> None:
        prepared = self.prepared.find(given[geometry_at])
        # Taps too large to be kept would be kept by the call nevertheless.
        if prepared is None or not prepared.holds(launch.reads):
            return
        position = {id(each): at for at, each in enumerate((*given, *results))}
        places = [position.get(id(argument), argument) for argument in launch.arguments]
        if any(isinstance(place, Tensor) for place in places):
            return  # A tensor was copied first.
        # Another thread may drop the calls at any time.
        calls = prepared.calls
        if calls is None or len(calls) >= CALLS:
            calls = prepared.calls = {}
        layouts = [(tuple(each.shape), each.stride(), each.dtype) for each in results]
        calls[_key(op, given)] = _Call(launch.kernel, places, launch.options, layouts)

    def gather(
        self, source: Tensor, geometry: Tensor, sampling: Sampling, result: Tensor, fill: float
    ) -> Launch | None:
        source, options = _uniform(source), {"copy": sampling.nearest and source.dtype == result.dtype, "fill": fill}

        def run(part: Part) -> Launch:
            taps = self._taps(part, sampling)
            return Launch(self.kernels.gather, (part.of(source), taps, part.of(result)), options, taps).run()

        return in_parts(run, geometry, len(source), sampling, self.kernels.points)

    def gather_adjoint(self, source: Tensor, geometry: Tensor, sampling: Sampling, result: Tensor) -> Launch | None:
        source = _uniform(source)

        def run(part: Part) -> Launch | None:
            return self._adjoint_of_part(part.of(source), part, sampling, part.of(result))

        return in_parts(run, geometry, len(source), sampling, self.kernels.points)

    def reduce(
        self, stack: Tensor, geometry: Tensor, sampling: Sampling, weights: Tensor | None, results: Sequence[Tensor]
    ) -> Launch | None:
        stack = _uniform(stack)
        each = None if weights is None else weight_planes(weights, len(stack), sampling.precision)

        def run(part: Part) -> Launch:
            taps, used = self._taps(part, sampling), None if each is None else part.of(each)
            given = (part.of(stack), taps, used, *map(part.of, results))
            return Launch(self.kernels.reduce, given, {}, taps).run()

        return in_parts(run, geometry, len(stack), sampling, self.kernels.points)

    def reduce_backward(
        self,
        stack: Tensor,
        geometry: Tensor,
        sampling: Sampling,
        weights: Tensor | None,
        moments: Moments,
        grad_stack: Tensor,
    ) -> None:
        stack, dense = _uniform(stack), [tensor.contiguous() for tensor in moments]
        each = None if weights is None else weight_planes(weights, len(stack), sampling.precision)
        shape = (*stack.shape[1:3], *moments[0].shape[-2:])
        most = max(1, SLOPE_BYTES // (sampling.precision.itemsize * math.prod(shape)))
        for part in parts(geometry, len(stack), sampling, self.kernels.points, most):
            views = part.of(stack)
            slopes = torch.empty((len(views), *shape), dtype=sampling.precision, device=stack.device)
            used = None if each is None else part.of(each)
            self.kernels.slopes(views, self._taps(part, sampling), used, [part.of(tensor) for tensor in dense], slopes)
            gradient = torch.empty_like(views, dtype=sampling.precision, memory_format=torch.contiguous_format)
            self._adjoint_of_part(slopes, part, sampling, gradient)
            part.of(grad_stack).copy_(gradient)

    def _taps(self, part: Part, sampling: Sampling) -> Taps:
        return self.prepared.of(part, sampling, self._new_taps)

    def _new_taps(self, geometry: Tensor, sampling: Sampling) -> Taps:
        return self.kernels.taps(geometry, sampling)

    def _transpose(self, part: Part, sampling: Sampling) -> Transpose:
        return self.prepared.of(part, sampling, self._new_transpose)

    def _new_transpose(self, geometry: Tensor, sampling: Sampling) -> Transpose:
        return transpose_of(self.prepared.get(geometry, sampling, self._new_taps))

    def _adjoint_of_part(self, source: Tensor, part: Part, sampling: Sampling, destination: Tensor) -> Launch | None:
        """Adjoint, with a sorted transpose or with atomic adds."""
        if _sorts(part.geometry):
            transpose = self._transpose(part, sampling)
            return Launch(self.kernels.gather_adjoint, (source, transpose, destination), {}, transpose).run()
        exact = destination.dtype == sampling.precision
        sums = destination if exact else torch.empty_like(destination, dtype=sampling.precision)
        self.kernels.gather_adjoint_atomic(source, self._taps(part, sampling), sums.zero_())
        if not exact:
            destination.copy_(sums)
        return None


def _sorts(geometry: Tensor) -> bool:
    """Whether adjoints sort, once, who reads which pixel: for shared geometry, or in deterministic mode."""
    return geometry.dim() == 2 or torch.are_deterministic_algorithms_enabled()
