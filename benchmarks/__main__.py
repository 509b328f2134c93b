"""The benchmark of the ops: ``spuproj bench`` on the CPU, and ``python -m spuproj.benchmarks`` on a GPU."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import track

from spuproj.benchmarks.goals import cpu_goals, gpu_goals
from spuproj.benchmarks.memory import MEMORY_CASE, VIEWS, measure_memory
from spuproj.benchmarks.ops.cases import AS_CALLED, FULL, GPU, SHORT, Case, scaling_points
from spuproj.benchmarks.ops.contenders import reason_of
from spuproj.benchmarks.plots import gpu_picture, ratios_picture, scaling_picture
from spuproj.benchmarks.record import Record, prepare_outputs, slug, to_json, write_all
from spuproj.benchmarks.text import text
from spuproj.benchmarks.timing import Row, measure

# Seconds for all contenders of a case at one thread count, by the case's ``way``; at least five rounds are timed.
_BUDGETS = {"": 1.5, AS_CALLED: 6.0, "scaling": 0.3}
_SHORT_BUDGETS = {"": 0.05, "scaling": 0.0}
# On a GPU: rounds of a case, and seconds after which it gets no more of them.
_GPU_ROUNDS, _GPU_SECONDS = 7, 10.0


def run_bench(out: Path, *, short: bool, force: bool) -> list[Path]:
    """Measures every op on the CPU, prints the tables and writes ``<machine>.json``, ``.png`` and ``-scaling.png``.

    Args:
        out: folder of the three files, whose paths are returned.
        short: use small shapes, to check every peer's result in a few minutes; the times are meaningless, and the
            names of the files end in ``-short``.
        force: overwrite existing files; without it, they raise ValueError.

    Raises:
        ImportError: where a peer's package is missing.
        OSError: where the folder cannot be made or written to, before anything is measured.
        RuntimeError: where a result differs from the reference.
    """
    for package in ("cv2", "kornia", "monai", "skimage"):
        import_module(package)
    name = slug() + ("-short" if short else "")
    paths = [out / f"{name}{ending}" for ending in (".json", ".png", "-scaling.png")]
    prepare_outputs(paths, force)
    record = collect(short)
    print(text(record))
    write_all(paths, to_json(record), ratios_picture(record), scaling_picture(record))
    return paths


def collect(short: bool) -> Record:
    """Measures everything on the CPU, with one thread and with all threads."""
    all_threads = torch.get_num_threads()
    numbers, budgets = sorted({1, all_threads}), _SHORT_BUDGETS if short else _BUDGETS
    rows = [
        row
        for case in _watched(SHORT if short else FULL, "Cases")
        for row in measure(case, [1] if case.way else numbers, budgets.get(case.way, budgets[""]))
    ]
    scaling = [
        (axis, row)
        for axis, case, threads in _watched(list(scaling_points(all_threads, short)), "Scaling")
        for row in measure(case, [threads], budgets["scaling"])
    ]
    memory = [
        entry
        for views in _watched(VIEWS[:2] if short else VIEWS, "Memory")
        for entry in measure_memory(replace(MEMORY_CASE, views=views))
    ]
    return Record(rows, scaling, memory, cpu_goals(rows, memory, all_threads), short)


def _watched(items: Sequence[Any], description: str) -> Iterable[Any]:
    """The items, with a progress bar on standard error that is redrawn only between items."""
    return track(items, description, auto_refresh=False, console=Console(file=sys.stderr))


def run_gpu(out: Path, cases: Sequence[Case], device: str, *, force: bool) -> tuple[list[Path], list[str]]:
    """Measures cases on a device. Writes the JSON file after each case; prints the tables and draws the picture last.

    Args:
        out: folder of ``<device's name>.json`` and ``.png``.
        cases: in the order to measure them. One that fails is measured again without peers, and stops no other.
        device: of the tensors.
        force: overwrite existing files; without it, they raise ValueError.

    Returns:
        The paths of the files, and why cases failed.
    """
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU"
    paths = [out / f"{slug(name)}{ending}" for ending in (".json", ".png")]
    prepare_outputs(paths, force)
    rows, failed = list[Row](), list[str]()
    for case in cases:
        start = time.perf_counter()
        if found := _measured(case, device, failed):
            rows += found
            write_all(paths[:1], to_json(Record(rows, goals=gpu_goals(rows, None))))
        print(f"{case.label}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
    if not rows:
        return [], failed
    share = _step_share(device)
    record = Record(rows, goals=gpu_goals(rows, share))
    print(text(record))
    write_all(paths, to_json(record), gpu_picture(record, name))
    return paths, failed


def _measured(case: Case, device: str, failed: list[str]) -> list[Row]:
    """The rows of a case, with its peers or, if that fails, without. Reasons are printed and added to ``failed``."""
    for peers in dict.fromkeys((case.peers, ())):
        try:
            return measure(replace(case, peers=peers), device=device, rounds=_GPU_ROUNDS, limit=_GPU_SECONDS)
        # An error in one case, a lack of memory for example, must not lose the others.
        except Exception as error:
            failed.append(f"{case.label}, with {', '.join(peers) or 'no peers'}: {reason_of(error)}")
            print(f"failed: {failed[-1]}", file=sys.stderr)
    return []


def _step_share(device: str) -> float | None:
    """Percent of a training step for projecting; None on the CPU or without the packages of the training layer."""
    if not device.startswith("cuda"):
        return None
    try:
        from spuproj.benchmarks.training import step_share
    except ImportError as error:
        print(f"projection's share of a training step is left out: {error}", file=sys.stderr)
        return None
    return step_share(device)


def main(
    out: Annotated[Path, typer.Option(help="Folder of the JSON file and the picture.")] = Path("bench"),
    force: Annotated[bool, typer.Option(help="Write over existing files.")] = False,
) -> None:
    """Measure every op on the GPU against its peers and against copying."""
    if not torch.cuda.is_available():
        raise SystemExit("error: torch sees no GPU; `spuproj info` tells what it sees")
    try:
        paths, failed = run_gpu(out, GPU, "cuda", force=force)
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
    for path in paths:
        print(path)
    if failed:
        raise SystemExit("error: failed were " + "; ".join(failed))


if __name__ == "__main__":
    typer.run(main)
