"""What is measured: calls as users make them, a base case, one axis varied at a time, and a small version of it all."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

OPS = ("project", "project backward", "unproject", "unproject backward", "reduce", "reduce backward")
"""The ops; a backward op is the gradient of its forward op with respect to the tensor that it reads."""

PEERS = ("scipy", "skimage", "cv2", "grid_sample", "kornia", "MONAI Warp", "MONAI Resample", "torch.compile")
"""Names of the peers."""

AS_CALLED = "as called"
"""A way to measure: before each call the harness reads and writes other memory, as whatever else a user runs would."""

CALL_COST = "call cost"
"""A way to measure: calls on hardly any pixels, over and over, beside one call of grid_sample."""

KERNEL_SHARE = "kernel's share"
"""A way to measure: ours into a buffer, over and over, beside its compiled kernel alone."""

_UNCOMPILED = PEERS[:-1]
_MAIN_PEERS = ("scipy", "cv2", "grid_sample")
_LARGE_BYTES = 2**30


@dataclass(frozen=True)
class Case:
    """One op on one shape, dtype and geometry.

    Attributes:
        op: one of ``OPS``.
        batch: B, samples.
        channels: C, planes of each sample.
        views: N, a square number.
        size: (H, W) of the slice and of each view, in pixels.
        dtype: name of the torch dtype of the tensors.
        interpolation: ``"bilinear"`` or ``"nearest"``.
        per_sample: whether each sample has views of its own (geometry ``[B, N]``) or all share them (``[N]``).
        geometry: ``"spherical"`` (the default fit, which leaves part of each view empty) or ``"magnified"``
            (spherical views without empty parts).
        peers: names of the peers that take part where they serve the case.
        way: ``AS_CALLED``, ``CALL_COST``, ``KERNEL_SHARE``, or empty: over and over, in all forms and on all numbers of
            threads.
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
    peers: tuple[str, ...] = _UNCOMPILED
    way: str = ""

    @property
    def label(self) -> str:
        """The case in words; what is not named is float32, bilinear, shared and spherical."""
        words = [self.op, f"B={self.batch} C={self.channels} N={self.views}", f"{self.size[0]}x{self.size[1]}"]
        words += [value for value, usual in ((self.dtype, "float32"), (self.interpolation, "bilinear"),
                                             (self.geometry, "spherical")) if value != usual]  # fmt: skip
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
    def image_shape(self) -> tuple[int, ...]:
        """[B, C, H, W]."""
        return (self.batch, self.channels, *self.size)

    @property
    def stack_shape(self) -> tuple[int, ...]:
        """[B, N, C, H, W]."""
        return (self.batch, self.views, self.channels, *self.size)

    @property
    def large(self) -> bool:
        """Whether the stack is beyond 1 GiB: then no time is spent on ways that are known to be slower."""
        return self.torch_dtype.itemsize * torch.Size(self.stack_shape).numel() > _LARGE_BYTES

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype of the tensors."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype


SLICE = Case(peers=PEERS)
BATCH = Case(batch=16, peers=tuple(name for name in _UNCOMPILED if name != "skimage"))
VOLUME = Case(batch=155, peers=("cv2", "grid_sample"))

BATCH_AS_CALLED = Case(batch=16, peers=_MAIN_PEERS, way=AS_CALLED)
SLICE_AS_CALLED = replace(BATCH_AS_CALLED, batch=1)
BACKWARD_AS_CALLED = replace(BATCH_AS_CALLED, op="project backward")
REDUCE_AS_CALLED = replace(BATCH_AS_CALLED, op="reduce", channels=1)
HEADLINE = (BATCH_AS_CALLED, SLICE_AS_CALLED, BACKWARD_AS_CALLED, REDUCE_AS_CALLED)
"""What comes first in every table and picture."""

PROJECT_CALL, REDUCE_CALL = (Case(op, 1, 1, 1, (8, 8), peers=(), way=CALL_COST) for op in ("project", "reduce"))
KERNEL_CASE = Case(peers=(), way=KERNEL_SHARE)

SMALL = Case(batch=2, views=4, size=(48, 40))

FULL = (
    *HEADLINE,
    PROJECT_CALL,
    REDUCE_CALL,
    KERNEL_CASE,
    SLICE,
    BATCH,
    VOLUME,
    *(Case(op) for op in OPS[1:]),
    *(Case(op, batch=16, peers=_MAIN_PEERS) for op in OPS[1:] if op != "unproject backward"),
    Case("reduce", batch=16, channels=1, peers=_MAIN_PEERS),
    Case(views=1, peers=_MAIN_PEERS),
    Case(views=25, peers=_MAIN_PEERS),
    Case(size=(512, 512), peers=_MAIN_PEERS),
    Case(dtype="float16"),
    Case(dtype="bfloat16"),
    Case(dtype="int16", interpolation="nearest"),
    Case(batch=4, per_sample=True, peers=_MAIN_PEERS),
    Case(geometry="magnified", peers=_MAIN_PEERS),
    Case(batch=16, geometry="magnified", peers=_MAIN_PEERS),
)
"""Everything that the table shows."""

SHORT = (
    replace(KERNEL_CASE, batch=SMALL.batch, views=SMALL.views, size=SMALL.size),
    *(replace(case, batch=SMALL.batch, views=SMALL.views, size=SMALL.size) for case in HEADLINE[1:]),
    PROJECT_CALL,
    REDUCE_CALL,
    replace(SMALL, peers=PEERS),
    *(replace(SMALL, op=op) for op in OPS[1:]),
    replace(SMALL, views=1, channels=1),
    replace(SMALL, dtype="float16"),
    replace(SMALL, dtype="bfloat16"),
    replace(SMALL, dtype="int16", interpolation="nearest"),
    replace(SMALL, per_sample=True),
    replace(SMALL, geometry="magnified"),
)
"""Every op, dtype, geometry and peer on small shapes: for checking results, not for timing."""


def read_and_written(case: Case) -> tuple[int, int]:
    """Bytes that the op must at least read and write once."""
    item = case.torch_dtype.itemsize
    image, stack = (torch.Size(shape).numel() for shape in (case.image_shape, case.stack_shape))
    counts = 4 * image
    return {
        "project": (item * image, item * stack),
        "project backward": (item * stack, item * image),
        "unproject": (item * stack, item * stack),
        "unproject backward": (item * stack, item * stack),
        "reduce": (item * stack, 2 * item * image + counts),
        "reduce backward": (item * (stack + 3 * image) + counts, item * stack),
    }[case.op]


def writes_stack(case: Case) -> bool:
    """Whether the op writes a ``[B, N, C, ., .]`` tensor, or reads one and writes ``[B, C, H, W]``."""
    return case.op not in ("project backward", "reduce")


def copied_bytes(case: Case) -> int:
    """Bytes of the copy that serves as the physical limit.

    Where the op writes a stack, the copy is of a tensor of that size. Where it only reads one, the copy's own reads
    and writes together are as many bytes as the op reads and writes.
    """
    read, written = read_and_written(case)
    return written if writes_stack(case) else (read + written) // 2
