"""The cases that are measured on the CPU and on a GPU, and how many bytes each op must at least move."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import cast

import torch

OPS = ("project", "project backward", "unproject", "unproject backward", "reduce", "reduce backward")
"""The ops; a backward op is the gradient of its forward op with respect to the tensor that it reads."""

PEERS = ("scipy", "skimage", "cv2", "grid_sample", "kornia", "MONAI Warp", "MONAI Resample", "torch.compile")
"""Names of the peers on the CPU."""

# Ways to measure: single calls, each after other memory was read and written, as between a user's other work; repeated
# calls on hardly any pixels, beside grid_sample's; into a buffer, beside the compiled kernel; of all a GPU's backends.
AS_CALLED, CALL_COST, KERNEL_SHARE, ON_GPU = "as called", "call cost", "kernel's share", "on the GPU"

_UNCOMPILED = PEERS[:-1]
_MAIN_PEERS = ("scipy", "cv2", "grid_sample")


@dataclass(frozen=True)
class Case:
    """One op on one shape, dtype and geometry.

    Attributes:
        op: one of ``OPS``.
        batch, channels, views: B samples, C planes of each, and N views, a square number.
        size: (H, W) of the slice and of each view, in pixels.
        dtype: name of the torch dtype of the tensors.
        interpolation: ``"bilinear"`` or ``"nearest"``.
        per_sample: whether each sample has views of its own (geometry ``[B, N]``) or all share them (``[N]``).
        geometry: ``"spherical"`` (the default fit, which leaves part of each view empty) or ``"magnified"``
            (spherical views without empty parts).
        way: how it is measured; empty for repeated calls in all forms and on all numbers of threads.
        peers: names of the peers that take part where they serve the case. Cases that differ only here are equal.
    """

    op: str = "project"
    batch: int = 1
    channels: int = 4
    views: int = 9
    size: tuple[int, int] = (240, 240)
    dtype: str = "float32"
    interpolation: str = "bilinear"
    per_sample: bool = False
    geometry: str = "spherical"
    way: str = ""
    peers: tuple[str, ...] = field(default=_UNCOMPILED, compare=False)

    @property
    def label(self) -> str:
        """The case in words; what is not named is float32, bilinear, shared and spherical."""
        words = [self.op, f"B={self.batch} C={self.channels} N={self.views}", f"{self.size[0]}x{self.size[1]}"]
        usual = ("float32", "bilinear", "spherical")
        words += [word for word in (self.dtype, self.interpolation, self.geometry) if word not in usual]
        return ", ".join(words + ["per sample"] * self.per_sample + [self.way] * (self.way != ""))

    @property
    def backward(self) -> bool:
        """Whether the op is a gradient."""
        return self.op.endswith("backward")

    @property
    def forward_op(self) -> str:
        """The op itself, or the one that a backward op is the gradient of."""
        return self.op.removesuffix(" backward")

    @property
    def image_shape(self) -> torch.Size:
        """[B, C, H, W]."""
        return torch.Size((self.batch, self.channels, *self.size))

    @property
    def stack_shape(self) -> torch.Size:
        """[B, N, C, H, W]."""
        return torch.Size((self.batch, self.views, self.channels, *self.size))

    @property
    def large(self) -> bool:
        """Whether the stack exceeds 1 GiB: then no time is spent on ways that are known to be slower."""
        return self.torch_dtype.itemsize * self.stack_shape.numel() > 2**30

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype of the tensors."""
        return cast(torch.dtype, getattr(torch, self.dtype))


SLICE = Case(peers=PEERS)
BATCH = Case(batch=16, peers=tuple(name for name in _UNCOMPILED if name != "skimage"))

BATCH_AS_CALLED = Case(batch=16, peers=_MAIN_PEERS, way=AS_CALLED)
SLICE_AS_CALLED = replace(BATCH_AS_CALLED, batch=1)
BACKWARD_AS_CALLED = replace(BATCH_AS_CALLED, op="project backward")
REDUCE_AS_CALLED = replace(BATCH_AS_CALLED, op="reduce", channels=1)
HEADLINE = (BATCH_AS_CALLED, SLICE_AS_CALLED, BACKWARD_AS_CALLED, REDUCE_AS_CALLED)
"""What comes first in every table and picture."""

PROJECT_CALL, REDUCE_CALL = (Case(op, 1, 1, 1, (8, 8), peers=(), way=CALL_COST) for op in ("project", "reduce"))
KERNEL_CASE = Case(peers=(), way=KERNEL_SHARE)

FULL = (
    *HEADLINE, PROJECT_CALL, REDUCE_CALL, KERNEL_CASE,
    SLICE, BATCH, Case(batch=155, peers=("cv2", "grid_sample")),
    *(Case(op) for op in OPS[1:]),
    *(Case(op, batch=16, peers=_MAIN_PEERS) for op in OPS[1:] if op != "unproject backward"),
    Case("reduce", batch=16, channels=1, peers=_MAIN_PEERS),
    *(Case(views=views, peers=_MAIN_PEERS) for views in (1, 25)),
    Case(size=(512, 512), peers=_MAIN_PEERS),
    *(Case(dtype=dtype) for dtype in ("float16", "bfloat16")), Case(dtype="int16", interpolation="nearest"),
    Case(batch=4, per_sample=True, peers=_MAIN_PEERS),
    *(Case(batch=batch, geometry="magnified", peers=_MAIN_PEERS) for batch in (1, 16)),
)  # fmt: skip
"""Everything that the table of the CPU shows."""

SMALL = Case(batch=2, views=4, size=(48, 40))
SHORT = (
    *(replace(case, batch=2, views=4, size=SMALL.size) for case in (KERNEL_CASE, *HEADLINE[1:])),
    PROJECT_CALL, REDUCE_CALL,
    replace(SMALL, peers=PEERS), *(replace(SMALL, op=op) for op in OPS[1:]), replace(SMALL, views=1, channels=1),
    *(replace(SMALL, dtype=dtype) for dtype in ("float16", "bfloat16")),
    replace(SMALL, dtype="int16", interpolation="nearest"),
    replace(SMALL, per_sample=True), replace(SMALL, geometry="magnified"),
)  # fmt: skip
"""Every op, dtype, geometry and peer on small shapes: for checking results, not for timing."""

GPU_BATCH = Case(batch=128, peers=("grid_sample", "torch.compile", "cupyx", "scipy, one CPU core"), way=ON_GPU)
GPU_REDUCE = Case("reduce", batch=128, channels=1, peers=(), way=ON_GPU)
GPU_BACKWARD = Case("project backward", batch=128, peers=("grid_sample",), way=ON_GPU)


def in_halves(case: Case) -> list[Case]:
    """The case in float16 and in bfloat16, without peers."""
    return [replace(case, dtype=dtype, peers=()) for dtype in ("float16", "bfloat16")]


GPU = (
    GPU_BATCH, *in_halves(GPU_BATCH), replace(GPU_BATCH, dtype="int16", interpolation="nearest", peers=()),
    replace(GPU_BATCH, per_sample=True, peers=("grid_sample",)),
    replace(GPU_BATCH, geometry="magnified", peers=("grid_sample",)),
    GPU_REDUCE, *in_halves(GPU_REDUCE), replace(GPU_REDUCE, op="reduce backward"),
    GPU_BACKWARD, *in_halves(GPU_BACKWARD), replace(GPU_BACKWARD, per_sample=True),
    *(Case(op, batch=64, peers=(), way=ON_GPU) for op in ("unproject", "unproject backward")),
    Case(peers=("grid_sample",), way=ON_GPU),
)  # fmt: skip
"""Everything that is measured on a GPU."""


def scaling_points(all_threads: int, short: bool) -> Iterator[tuple[str, Case, int]]:
    """How time grows along ``"N"``, ``"B C"``, ``"side"`` and ``"threads"``: the axis, the case, and its threads."""
    for op in ("project", "reduce"):
        base = Case(op, 2, 4, *((4, (24, 24)) if short else (9, (240, 240))), peers=("grid_sample",))
        for views in (1, 4) if short else (1, 4, 9, 25):
            yield "N", replace(base, views=views), 1
        for batch, channels in ((1, 4), (2, 4)) if short else ((1, 1), (1, 4), (4, 4), (16, 4)):
            yield "B C", replace(base, batch=batch, channels=channels), 1
        for side in (16, 24) if short else (30, 60, 120, 240, 480):
            yield "side", replace(base, size=(side, side)), 1
        powers = (2**power for power in range(all_threads.bit_length()))
        for threads in (1, 2) if short else sorted({*powers, all_threads}):
            yield "threads", base, threads


def read_and_written(case: Case) -> tuple[int, int]:
    """Bytes that the op must at least read and write once."""
    item = case.torch_dtype.itemsize
    image, stack, counts = (
        item * case.image_shape.numel(),
        item * case.stack_shape.numel(),
        4 * case.image_shape.numel(),
    )
    return {
        "project": (image, stack),
        "project backward": (stack, image),
        "unproject": (stack, stack),
        "unproject backward": (stack, stack),
        "reduce": (stack, 2 * image + counts),
        "reduce backward": (stack + 3 * image + counts, stack),
    }[case.op]


def writes_stack(case: Case) -> bool:
    """Whether the op writes a ``[B, N, C, ., .]`` tensor, or reads one and writes ``[B, C, H, W]``."""
    return case.op not in ("project backward", "reduce")


def copied_bytes(case: Case) -> int:
    """Bytes of the copy that serves as the physical limit: as many as the stack has.

    On the CPU, where the op only reads a stack, the copy reads and writes together as many bytes as the op.
    """
    read, written = read_and_written(case)
    return written if writes_stack(case) else read if case.way == ON_GPU else (read + written) // 2
