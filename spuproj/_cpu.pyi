from typing import final

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
def project(
    dtype: int,
    destination_dtype: int,
    shape: Shape,
    taps: Taps,
    source_strides: Strides,
    destination_strides: Strides,
    source: int,
    destination: int,
    threads: int,
) -> None: ...
def unproject(
    dtype: int,
    shape: Shape,
    tiles: Tiles,
    source_strides: Strides,
    destination_strides: Strides,
    source: int,
    destination: int,
    threads: int,
) -> None: ...
def copy(
    element_size: int,
    shape: Shape,
    taps: Taps,
    source_strides: Strides,
    destination_strides: Strides,
    source: int,
    destination: int,
    threads: int,
) -> None: ...
def scatter(
    dtype: int,
    sum_views: bool,
    shape: Shape,
    taps: Taps,
    source_strides: Strides,
    destination_strides: Strides,
    source: int,
    destination: int,
    threads: int,
) -> None: ...
def reduce(
    dtype: int,
    shape: Shape,
    tiles: Tiles,
    source_strides: Strides,
    source: int,
    mean: int,
    variance: int,
    count: int,
    threads: int,
) -> None: ...
def reduce_backward(
    dtype: int,
    shape: Shape,
    taps: Taps,
    source_strides: Strides,
    source: int,
    grad_mean: int,
    grad_variance: int,
    mean: int,
    count: int,
    grad_source: int,
    threads: int,
) -> None: ...
def has_variable(name: str) -> bool: ...
def holds(data: int, bytes: bytes) -> bool: ...
def expect_writes(data: int, bytes: int) -> None: ...
def simd_level() -> str: ...
def simd_levels() -> list[str]: ...
