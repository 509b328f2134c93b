from typing import final

@final
class Sampling:
    def __init__(self, inverse: bool, nearest: bool, border: bool, source_height: int, source_width: int) -> None: ...

@final
class Shape:
    def __init__(self, batch: int, views: int, channels: int) -> None: ...

@final
class Planes:
    def __init__(self, data: int, batch_stride: int, view_stride: int, channel_stride: int) -> None: ...

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
def coordinates(
    geometry: int, count: int, sampling: Sampling, height: int, width: int, y: int, x: int, threads: int
) -> None: ...
def gather(dtype: int, shape: Shape, taps: Taps, source: Planes, destination: Planes, threads: int) -> None: ...
def copy(element_size: int, shape: Shape, taps: Taps, source: Planes, destination: Planes, threads: int) -> None: ...
def scatter(
    dtype: int, shape: Shape, taps: Taps, source: Planes, destination: Planes, sum_views: bool, threads: int
) -> None: ...
def reduce(
    dtype: int, shape: Shape, taps: Taps, source: Planes, mean: int, variance: int, count: int, threads: int
) -> None: ...
def reduce_backward(
    dtype: int,
    shape: Shape,
    taps: Taps,
    source: Planes,
    grad_mean: int,
    grad_variance: int,
    mean: int,
    count: int,
    grad_source: int,
    threads: int,
) -> None: ...
def simd_level() -> str: ...
def simd_levels() -> list[str]: ...
