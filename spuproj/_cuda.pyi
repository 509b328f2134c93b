from typing import final

@final
class Queue:
    def __init__(self, device: int, stream: int) -> None: ...

@final
class Sampling:
    def __init__(self, inverse: bool, nearest: bool, border: bool, source_height: int, source_width: int) -> None: ...

@final
class Shape:
    def __init__(self, batch: int, views: int, channels: int) -> None: ...

@final
class Planes:
    def __init__(self, data: int, batch: int, view: int, channel: int, pixel: int) -> None: ...

@final
class Taps:
    def __init__(
        self, index: int, fraction_y: int, fraction_x: int, pixels: int, source_width: int, sample_stride: int
    ) -> None: ...

@final
class Transpose:
    def __init__(
        self, start: int, pixel: int, weight: int, entries: int, source_pixels: int, sample_views: int
    ) -> None: ...

def build_taps(
    queue: Queue,
    geometry: int,
    count: int,
    sampling: Sampling,
    height: int,
    width: int,
    double_precision: bool,
    taps: Taps,
) -> None: ...
def gather(
    queue: Queue, dtype: int, destination_dtype: int, shape: Shape, taps: Taps, source: Planes, destination: Planes
) -> None: ...
def copy(queue: Queue, element_size: int, shape: Shape, taps: Taps, source: Planes, destination: Planes) -> None: ...
def reduce(
    queue: Queue, dtype: int, shape: Shape, taps: Taps, source: Planes, mean: int, variance: int, count: int
) -> None: ...
def slopes(
    queue: Queue,
    dtype: int,
    shape: Shape,
    taps: Taps,
    source: Planes,
    grad_mean: int,
    grad_variance: int,
    mean: int,
    count: int,
    slopes: int,
) -> None: ...
def collect(
    queue: Queue,
    dtype: int,
    shape: Shape,
    transpose: Transpose,
    source: Planes,
    destination: Planes,
    sum_views: bool,
) -> None: ...
def scatter(queue: Queue, dtype: int, shape: Shape, taps: Taps, source: Planes, destination: Planes) -> None: ...
