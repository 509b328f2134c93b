"""Prints the memory traffic of the GPU kernels on the views of the benchmark."""

from __future__ import annotations

from spuproj import Views
from spuproj.benchmarks.gpu_model.traffic import KERNELS, traffic_of

NOTES = """nine views of 240 x 240
loads: of a warp for 32 elements of the stack; lines, sectors: of 128 and 32 bytes, touched by a load
idle warps: without a source; read: bytes of the source that are read at all, for an element of the stack
L2 bytes: fetched from the second-level cache for an element of the stack
turns: of a warp, over those that its lanes need on average
"""
HEADINGS = ("bytes", "loads", "lines", "sectors", "idle warps", "read", "L2 bytes", "turns")


def table(views: Views) -> str:
    """A heading, and a row for every layout of every kernel."""
    lines = [f"{'':32}" + "".join(f"{heading:>11}" for heading in HEADINGS)]
    for kernel in KERNELS:
        for layout, found in zip(kernel.layouts, traffic_of(kernel, views), strict=True):
            label = kernel.label + f", {layout.side} planes side by side" * (layout.side > 1)
            lines.append(
                f"{label:32}{layout.size:>11}{found.requests:>11.2f}{found.lines:>11.2f}{found.sectors:>11.2f}"
                f"{found.idle:>11.0%}{found.read:>11.2f}{found.fetched:>11.2f}{found.divergence:>11.2f}"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    print(NOTES)
    print(table(Views.spherical((240, 240), grid=(3, 3))))
