from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, final

from torch import Tensor

TILE: tuple[int, int]

# (batch, views, channels)
_Shape: TypeAlias = tuple[int, int, int]
# Of the batch, the views, the channels and the pixels, in elements
_Strides: TypeAlias = tuple[int, int, int, int]

@final
class Sampling:
    def __init__(self, inverse: bool, nearest: bool, border: bool, source_height: int, source_width: int) -> None: ...

@final
class Taps:
    def __init__(
        self, index: int, fraction_y: int, fraction_x: int, pixels: int, source_pixels: int, source_width: int,
        sample_stride: int,
    ) -> None: ...  # fmt: skip

@final
class Tiles:
    def __init__(
        self, index: int, fraction_y: int, fraction_x: int, window: int, height: int, width: int,
        source_width: int, sample_stride: int,
    ) -> None: ...  # fmt: skip

def build_taps(
    geometry: int, count: int, sampling: Sampling, height: int, width: int, double_precision: bool, taps: Taps,
    threads: int,
) -> None: ...  # fmt: skip
def build_tiles(
    geometry: int, count: int, sampling: Sampling, double_precision: bool, tiles: Tiles, threads: int
) -> None: ...

@final
class Kernel: ...

def run(kernel: Kernel, addresses: Sequence[int], threads: int) -> None: ...
def project(
    dtype: int, result_dtype: int, shape: _Shape, taps: Taps, source: _Strides, result: _Strides, fill: float
) -> Kernel: ...
def copy(
    element_size: int, shape: _Shape, taps: Taps, source: _Strides, result: _Strides, fill_bits: int
) -> Kernel: ...
def unproject(dtype: int, shape: _Shape, tiles: Tiles, source: _Strides, result: _Strides) -> Kernel: ...
def gather_adjoint(
    dtype: int, sum_views: bool, shape: _Shape, taps: Taps, source: _Strides, result: _Strides
) -> Kernel: ...
def reduce(dtype: int, shape: _Shape, tiles: Tiles, source: _Strides) -> Kernel: ...
def reduce_backward(dtype: int, shape: _Shape, taps: Taps, source: _Strides) -> Kernel: ...
def set_exchange(capsule: object) -> bool: ...
def in_block(like: Tensor, keep: bool) -> Tensor: ...
def set_block_limit(nbytes: int) -> None: ...
def drop_unused_blocks() -> None: ...
def kept_bytes() -> int: ...

@final
class TableCalls:
    def __len__(self) -> int: ...
    def clear(self) -> None: ...
    def keep(
        self, op: object, geometry_at: int, tensors_at: Sequence[int], given: tuple[Any, ...],
        results: Sequence[tuple[Tensor, Tensor | None]], kernel: Kernel, most_threads: int, taps: object,
    ) -> None: ...  # fmt: skip

@final
class Calls:
    def __init__(self, empty_like: Callable[[Tensor], Tensor], thread_count: Callable[[], int]) -> None: ...
    def of_table(self, table: Tensor) -> TableCalls: ...
    def repeat(self, op: object, geometry_at: int, given: tuple[Any, ...]) -> Any: ...

def simd_level() -> str: ...
def simd_levels() -> list[str]: ...
