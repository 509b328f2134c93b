from collections.abc import Callable, Sequence
from typing import Any, final

from torch import Tensor

TILE: tuple[int, int]

@final
class Sampling:
    def __init__(self, inverse: bool, nearest: bool, border: bool, source_height: int, source_width: int) -> None: ...

@final
class Shape:
    def __init__(self, batch: int, views: int, channels: int) -> None: ...

@final
class Strides:
    def __init__(self, batch: int, view: int, channel: int, pixel: int) -> None: ...

@final
class Taps:
    def __init__(
        self,
        index: int,
        fraction_y: int,
        fraction_x: int,
        pixels: int,
        source_pixels: int,
        source_width: int,
        sample_stride: int,
    ) -> None: ...

@final
class Tiles:
    def __init__(
        self,
        index: int,
        fraction_y: int,
        fraction_x: int,
        window: int,
        height: int,
        width: int,
        source_width: int,
        sample_stride: int,
    ) -> None: ...

def build_taps(
    geometry: int,
    count: int,
    sampling: Sampling,
    height: int,
    width: int,
    double_precision: bool,
    taps: Taps,
    threads: int,
) -> None: ...
def build_tiles(
    geometry: int, count: int, sampling: Sampling, double_precision: bool, tiles: Tiles, threads: int
) -> None: ...
def coordinates(
    geometry: int, count: int, sampling: Sampling, height: int, width: int, y: int, x: int, threads: int
) -> None: ...

@final
class Kernel:
    def __call__(self, tensors: Sequence[int], threads: int) -> None: ...

@final
class Plans:
    def __init__(
        self,
        tensor_type: type[Tensor],
        empty_like: Callable[[Tensor], Tensor],
        grad_enabled: Callable[[], bool],
        num_threads: Callable[[], int],
        conditions: tuple[tuple[Callable[[], object], object], ...],
        unless_variable: str,
        limit: int,
    ) -> None: ...
    def __len__(self) -> int: ...
    def keep(
        self,
        name: str,
        sources: tuple[Tensor, ...],
        geometry: Tensor,
        options: tuple[Any, ...],
        out: Tensor | None,
        taps: Callable[[], object | None],
        kernel: Kernel,
        threads: int,
        like: tuple[Tensor, ...] | None,
        empty: Callable[[Tensor], Any] | None,
    ) -> None: ...
    @property
    def call(
        self,
    ) -> Callable[
        [str, tuple[Tensor, ...], Tensor, tuple[Any, ...], Tensor | None], Tensor | tuple[Tensor, ...] | None
    ]: ...

def project(
    dtype: int, destination_dtype: int, shape: Shape, taps: Taps, source: Strides, destination: Strides
) -> Kernel: ...
def unproject(dtype: int, shape: Shape, tiles: Tiles, source: Strides, destination: Strides) -> Kernel: ...
def copy(element_size: int, shape: Shape, taps: Taps, source: Strides, destination: Strides) -> Kernel: ...
def scatter(dtype: int, sum_views: bool, shape: Shape, taps: Taps, source: Strides, destination: Strides) -> Kernel: ...
def reduce(dtype: int, shape: Shape, tiles: Tiles, source: Strides) -> Kernel: ...
def reduce_backward(dtype: int, shape: Shape, taps: Taps, source: Strides) -> Kernel: ...
def expect_writes(data: int, bytes: int) -> None: ...
def simd_level() -> str: ...
def simd_levels() -> list[str]: ...
