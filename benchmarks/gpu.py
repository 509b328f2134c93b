"""The benchmark on a GPU: ``python -m spuproj.benchmarks.gpu``.

Every backend and peer does the same work on the same device; each result is checked against the reference, and called
twice to see whether its bits repeat, before all take turns. Times are those of the device's own events.
"""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from spuproj import info
from spuproj.benchmarks.cases import Case, writes_stack
from spuproj.benchmarks.files import refuse_overwrite, write_whole
from spuproj.benchmarks.gpu_contenders import BOTH_PASSES, GpuContender, Placed, contenders, place
from spuproj.benchmarks.gpu_picture import picture
from spuproj.benchmarks.truth import difference

ROUNDS = 7
# Shorter calls are repeated within their turn.
_TURN_SECONDS = 0.005

_HALVES = ("float16", "bfloat16")
_HEADLINE = Case(batch=128, peers=("grid_sample", "torch.compile", "cupyx", "scipy, one CPU core"))
_REDUCE = Case("reduce", batch=128, channels=1, peers=())
_ADJOINT = Case("project backward", batch=128, peers=("grid_sample",))
CASES = (
    _HEADLINE,
    *(replace(_HEADLINE, dtype=dtype, peers=()) for dtype in _HALVES),
    replace(_HEADLINE, dtype="int16", interpolation="nearest", peers=()),
    replace(_HEADLINE, per_sample=True, peers=("grid_sample",)),
    replace(_HEADLINE, geometry="magnified", peers=("grid_sample",)),
    _REDUCE,
    *(replace(_REDUCE, dtype=dtype) for dtype in _HALVES),
    replace(_REDUCE, op="reduce backward"),
    _ADJOINT,
    *(replace(_ADJOINT, dtype=dtype, peers=()) for dtype in _HALVES),
    replace(_ADJOINT, per_sample=True),
    *(Case(op, batch=64, peers=()) for op in ("unproject", "unproject backward")),
    Case(peers=("grid_sample",)),
)
"""Everything that is measured."""


@dataclass(frozen=True)
class GpuRow:
    """What was measured of one contender on one case.

    Attributes:
        case: what was done.
        name: who did it.
        form: in which way.
        error: largest difference from the reference over the largest value; None for a copy.
        repeats: whether a second call gave the same bits; None for a copy.
        seconds: of each round, for the whole batch.
    """

    case: Case
    name: str
    form: str
    error: float | None
    repeats: bool | None
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds of a call."""
        return statistics.median(self.seconds)


def measure(case: Case, device: str) -> list[GpuRow]:
    """The rows of a case, all contenders taking turns.

    Raises:
        RuntimeError: where a result differs from the reference by more than rounding.
    """
    placed = place(case, device)
    entries = contenders(placed)
    checks = [_checked(entry, placed) for entry in entries]
    repeats = [_repetitions(entry, device) for entry in entries]
    rounds = [
        [_turn(entry, case, count, device) for entry, count in zip(entries, repeats, strict=True)]
        for _ in range(ROUNDS)
    ]
    return [
        GpuRow(case, entry.name, entry.form, error, same, tuple(times))
        for entry, (error, same), *times in zip(entries, checks, *rounds, strict=True)
    ]


def _checked(entry: GpuContender, placed: Placed) -> tuple[float | None, bool | None]:
    if entry.near is None:
        return None, None
    results, again = entry.call(), entry.call()
    same = all(torch.equal(first, second) for first, second in zip(results, again, strict=True))
    few = min(entry.samples, len(placed.truth.samples))
    truth = replace(
        placed.truth, samples=placed.truth.samples[:few], results=tuple(part[:few] for part in placed.truth.results)
    )
    found = difference([result[:few].cpu() for result in results], truth, entry.near)
    nearest = placed.case.interpolation == "nearest"
    tolerance = 0.0 if nearest else 16 * (entry.near + torch.finfo(placed.case.torch_dtype).eps)
    if not found <= tolerance:
        raise RuntimeError(
            f"{entry.name} ({entry.form}) must agree with the reference to {tolerance:.1e} on {placed.case.label}, "
            f"got a difference of {found:.1e}"
        )
    return found, same


def _repetitions(entry: GpuContender, device: str) -> int:
    """Calls that fill a turn; also warms up."""
    _seconds(entry.call, 1, device)
    return max(1, int(_TURN_SECONDS / max(_seconds(entry.call, 1, device), 1e-6)))


def _turn(entry: GpuContender, case: Case, repeat: int, device: str) -> float:
    """Mean seconds of a call, made into those of the whole batch."""
    return _seconds(entry.call, repeat, "cpu" if entry.on_host else device) * case.batch / entry.samples


def _seconds(call: Callable[[], Any], repeat: int, device: str) -> float:
    if device == "cpu":
        start = time.perf_counter()
        for _ in range(repeat):
            call()
        return (time.perf_counter() - start) / repeat
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    before.record()
    for _ in range(repeat):
        call()
    after.record()
    after.synchronize()
    return before.elapsed_time(after) / 1000 / repeat


def select(rows: Sequence[GpuRow], case: Case, name: str, form: str | None = None) -> GpuRow | None:
    """The fastest row of a case and a name, of one form where it is given."""
    found = [row for row in rows if row.case == case and row.name == name and form in (None, row.form)]
    return min(found, key=lambda row: row.median, default=None)


@dataclass(frozen=True)
class GpuGoal:
    """One measured number beside its goal.

    Attributes:
        row: what was measured.
        measured: the number; None where it could not be measured.
        goal: what is aimed at.
        floor: below this it is not done.
        unit: ``"%"`` or ``"x"``.
        smaller_is_better: whether the number must stay below the goal.
    """

    row: str
    measured: float | None
    goal: float
    floor: float
    unit: str
    smaller_is_better: bool = False


def goals(rows: Sequence[GpuRow], share: float | None) -> list[GpuGoal]:
    """What is aimed at, beside what was measured."""
    ours = next((row.name for row in rows if row.case == _HEADLINE), "")
    over_copy = [
        _over_copy(rows, case, ours, *limits)
        for base, limits in ((_HEADLINE, (90, 70)), (_REDUCE, (85, 65)), (_ADJOINT, (75, 50)))
        for case in (base, *(replace(base, dtype=dtype, peers=()) for dtype in _HALVES))
    ]
    return [
        *over_copy,
        _speedup(rows, _HEADLINE, ours, "", "grid_sample", 4),
        _speedup(rows, _ADJOINT, ours, BOTH_PASSES, "grid_sample", 8),
        *(_speedup(rows, _HEADLINE, ours, "", name, goal)
          for name, goal in (("torch.compile", 3), ("cupyx", 10), ("scipy, one CPU core", 1000))),
        GpuGoal("projection's share of a training step", share, 2, 2, "%", smaller_is_better=True),
        *(_triton(rows, base) for base in (_HEADLINE, _REDUCE, _ADJOINT)),
    ]  # fmt: skip


def _over_copy(rows: Sequence[GpuRow], case: Case, name: str, goal: float, floor: float) -> GpuGoal:
    """The bytes of the stack per second, over those of a copy."""
    verb = "written" if writes_stack(case) else "read"
    row = f"{case.label}: bytes {verb} per second over a copy's"
    found, copy = select(rows, case, name, ""), select(rows, case, "copy")
    return GpuGoal(row, 100 * copy.median / found.median if found and copy else None, goal, floor, "%")


def _speedup(rows: Sequence[GpuRow], case: Case, name: str, form: str, peer: str, goal: float) -> GpuGoal:
    row = ", ".join(filter(None, (case.label, form))) + f": {peer} over {name}"
    found, theirs = select(rows, case, name, form), select(rows, case, peer)
    return GpuGoal(row, theirs.median / found.median if found and theirs else None, goal, goal, "x")


def _triton(rows: Sequence[GpuRow], case: Case) -> GpuGoal:
    compiled, triton = select(rows, case, "cuda", ""), select(rows, case, "triton", "")
    measured = triton.median / compiled.median if compiled and triton else None
    return GpuGoal(f"{case.label}: triton over cuda", measured, 1.3, 1.3, "x", smaller_is_better=True)


def to_json(device: str, rows: Sequence[GpuRow], found: Sequence[GpuGoal]) -> bytes:
    """Everything, as JSON."""
    content = {
        "schema": 1,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "device": device_name(device),
        "software": {**info.report(), **{name: _version(name) for name in ("triton", "cupy-cuda13x", "scipy")}},
        "goals": [asdict(goal) for goal in found],
        "rows": [
            {
                **{key: value for key, value in asdict(row.case).items() if key != "peers"},
                "name": row.name,
                "form": row.form,
                "error": row.error,
                "same_bits_twice": row.repeats,
                "median_s": row.median,
                "min_s": min(row.seconds),
                "max_s": max(row.seconds),
                "rounds": len(row.seconds),
                "over_copy": row.median / copy.median if (copy := select(rows, row.case, "copy")) else None,
            }
            for row in rows
        ],
    }
    return (json.dumps(content, indent=1) + "\n").encode()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def device_name(device: str) -> str:
    """The name of a device."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU"


def table(rows: Sequence[GpuRow], found: Sequence[GpuGoal]) -> None:
    """Prints the rows and the goals."""
    console = Console(width=150)
    shown = Table("case", "contender", "ms", "min to max", "over copy", "error", "same bits", title="Rows")
    for row in rows:
        copy = select(rows, row.case, "copy")
        shown.add_row(
            row.case.label,
            " ".join(filter(None, (row.name, row.form))),
            f"{1e3 * row.median:.3f}",
            f"{1e3 * min(row.seconds):.3f} to {1e3 * max(row.seconds):.3f}",
            f"{row.median / copy.median:.2f}x" if copy else "",
            "" if row.error is None else f"{row.error:.1e}",
            {None: "", True: "yes", False: "no"}[row.repeats],
        )
    console.print(shown)
    aims = Table("goal", "measured", "goal", "floor", title="Goals")
    for goal in found:
        measured = "not measured" if goal.measured is None else f"{goal.measured:.3g}{goal.unit}"
        aims.add_row(goal.row, measured, f"{goal.goal:g}{goal.unit}", f"{goal.floor:g}{goal.unit}")
    console.print(aims)


def run(out: Path, cases: Sequence[Case], device: str, share: float | None = None, *, force: bool) -> list[Path]:
    """Measures cases, prints the tables and writes ``<device>.json`` and ``.png``; returns what was written."""
    slug = re.sub(r"[^a-z0-9]+", "-", device_name(device).lower()).strip("-")
    paths = [out / f"{slug}.json", out / f"{slug}.png"]
    refuse_overwrite(paths, force)
    rows = []
    for case in cases:
        rows += measure(case, device)
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
    found = goals(rows, share)
    table(rows, found)
    for path, content in zip(paths, (to_json(device, rows, found), picture(rows, device_name(device))), strict=True):
        write_whole(path, content)
    return paths


def main(
    out: Annotated[Path, typer.Option(help="Folder of the JSON file and the picture.")] = Path("bench"),
    training_share: Annotated[
        float | None, typer.Option(help="What python -m spuproj.benchmarks.step_share has printed, in percent.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Write over existing files.")] = False,
) -> None:
    """Measures every op on the GPU against its peers and against copying."""
    if not torch.cuda.is_available():
        raise SystemExit("error: torch sees no GPU; `spuproj info` tells what it sees")
    for path in run(out, CASES, "cuda", training_share, force=force):
        print(path)


if __name__ == "__main__":
    typer.run(main)
