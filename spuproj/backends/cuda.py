"""The ``cuda`` backend: the compiled kernels of ``csrc/cuda``, queued on torch's current stream."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spuproj.backends.dtypes import CODES
from spuproj.backends.gpu import GpuBackend, pixel_stride
from spuproj.backends.gpu_taps import Sampling, Taps, Transpose

try:
    from spuproj import _cuda

    MISSING: str | None = None
except ImportError as error:
    MISSING = (
        f"the compiled module spuproj._cuda does not import ({error}); build spuproj from source where nvcc is found, "
        "or with --config-settings=cmake.define.SPUPROJ_CUDA=ON to learn why it is not"
    )


class CudaKernels:
    """The kernels of a compiled module: of ``spuproj._cuda``, or of its twin that runs on the CPU."""

    points = 2**22

    def __init__(self, module: Any) -> None:
        self._module = module

    def _queue(self, tensor: Tensor) -> Any:
        if not tensor.is_cuda:
            return self._module.Queue(0, 0)
        return self._module.Queue(tensor.device.index, torch.cuda.current_stream(tensor.device).cuda_stream)

    def _shape(self, stack: Tensor) -> Any:
        return self._module.Shape(*stack.shape[:3])

    def _planes(self, tensor: Tensor) -> Any:
        """Of a ``[B, N, C, ., .]`` tensor, or of a ``[B, C, ., .]`` one whose planes serve every view."""
        batch, *view, channel = tensor.stride()[:-2]
        return self._module.Planes(tensor.data_ptr(), batch, view[0] if view else 0, channel, pixel_stride(tensor))

    def _taps(self, taps: Taps) -> Any:
        views, pixels = taps.index.shape[-2:]
        return self._module.Taps(
            index=taps.index.data_ptr(),
            fraction_y=taps.fraction_y.data_ptr(),
            fraction_x=taps.fraction_x.data_ptr(),
            pixels=pixels,
            source_width=taps.source[1],
            sample_stride=0 if taps.index.dim() == 2 else views * pixels,
        )

    def taps(self, geometry: Tensor, sampling: Sampling) -> Taps:
        """The taps of ``[N, 17]`` or ``[B, N, 17]`` views."""
        table, (height, width) = geometry.contiguous(), sampling.raster
        shape = (*table.shape[:-1], height * width)
        index = table.new_empty(shape, dtype=torch.int32)
        y, x = (table.new_empty(shape, dtype=sampling.precision) for _ in range(2))
        taps = Taps(index, y, x, sampling.source)
        native = self._module.Sampling(sampling.inverse, sampling.nearest, sampling.border, *sampling.source)
        double, count = sampling.precision == torch.float64, table.shape[:-1].numel()
        queue = self._queue(table)
        self._module.build_taps(queue, table.data_ptr(), count, native, height, width, double, self._taps(taps))
        return taps

    def gather(self, source: Tensor, taps: Taps, destination: Tensor, *, copy: bool) -> None:
        """Every point's value, into ``[B, N, C, ., .]``; with ``copy`` the elements as they are."""
        run = self._module.copy if copy else self._module.gather
        types = (source.itemsize,) if copy else (CODES[source.dtype], CODES[destination.dtype])
        shape, planes = self._shape(destination), (self._planes(source), self._planes(destination))
        run(self._queue(source), *types, shape, self._taps(taps), *planes)

    def reduce(self, views: Tensor, taps: Taps, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Mean, variance and count of every slice pixel, contiguous."""
        results = (tensor.data_ptr() for tensor in (mean, variance, count))
        given = (CODES[views.dtype], self._shape(views), self._taps(taps), self._planes(views))
        self._module.reduce(self._queue(views), *given, *results)

    def slopes(
        self,
        views: Tensor,
        taps: Taps,
        grad_mean: Tensor,
        grad_variance: Tensor,
        mean: Tensor,
        count: Tensor,
        slopes: Tensor,
    ) -> None:
        """The gradient of ``reduce`` with respect to the unprojected views; all but views contiguous."""
        tensors = (tensor.data_ptr() for tensor in (grad_mean, grad_variance, mean, count, slopes))
        given = (CODES[views.dtype], self._shape(views), self._taps(taps), self._planes(views))
        self._module.slopes(self._queue(views), *given, *tensors)

    def collect(self, source: Tensor, transpose: Transpose, destination: Tensor) -> None:
        """The transpose of ``gather``, in one order of adding; over all views where the destination has no axis N."""
        views, rows = transpose.start.shape[-2:]
        native = self._module.Transpose(
            start=transpose.start.data_ptr(),
            pixel=transpose.pixel.data_ptr(),
            weight=transpose.weight.data_ptr(),
            entries=transpose.pixel.shape[-1],
            source_pixels=rows - 1,
            sample_views=0 if transpose.start.dim() == 2 else views,
        )
        given = (CODES[source.dtype], self._shape(source), native)
        planes = (self._planes(source), self._planes(destination))
        self._module.collect(self._queue(source), *given, *planes, sum_views=destination.dim() == 4)

    def scatter(self, source: Tensor, taps: Taps, destination: Tensor) -> None:
        """The same in any order, added to zeros of the taps' precision."""
        given = (CODES[source.dtype], self._shape(source), self._taps(taps))
        self._module.scatter(self._queue(source), *given, self._planes(source), self._planes(destination))


backend = None if MISSING else GpuBackend(CudaKernels(_cuda))
