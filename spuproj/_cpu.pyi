from typing import TypeAlias, final

TILE: tuple[int, int]
PROFILES: tuple[str, ...]

# (batch, views, channels)
_Shape: TypeAlias = tuple[int, int, int]
# (address, batch_stride, view_stride, channel_stride, pixel_stride), strides in elements
_Planes: TypeAlias = tuple[int, int, int, int, int]

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
def coordinates(
    geometry: int, count: int, sampling: Sampling, height: int, width: int, y: int, x: int, threads: int
) -> None: ...
def project(
    dtype: int, destination_dtype: int, shape: _Shape, taps: Taps, source: _Planes, destination: _Planes,
    fill: float, threads: int,
) -> None: ...  # fmt: skip
def copy(
    element_size: int, shape: _Shape, taps: Taps, source: _Planes, destination: _Planes, fill_bits: int, threads: int
) -> None: ...
def unproject(dtype: int, shape: _Shape, tiles: Tiles, source: _Planes, destination: _Planes, threads: int) -> None: ...
def gather_adjoint(
    dtype: int, sum_views: bool, shape: _Shape, taps: Taps, source: _Planes, destination: _Planes, threads: int
) -> None: ...
def reduce(
    dtype: int, shape: _Shape, tiles: Tiles, source: _Planes, mean: int, variance: int, count: int, threads: int
) -> None: ...
def reduce_backward(
    dtype: int, shape: _Shape, taps: Taps, source: _Planes, grad_mean: int, grad_variance: int, mean: int,
    count: int, grad_source: int, threads: int,
) -> None: ...  # fmt: skip
def simd_level() -> str: ...
def simd_levels() -> list[str]: ...
