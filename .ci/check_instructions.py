"""Counts the instructions of the CPU kernels, by valgrind's callgrind, and compares them with the recorded budget.

Seconds depend on what else a machine does, instructions do not. They depend on the compiler, so each has a budget.
"""

import argparse
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

LEVELS = ("baseline", "avx2")
"""The SIMD levels that valgrind can run: it knows no AVX-512."""

TOLERANCE = 0.01
"""One machine counts the same to the last instruction. Others may have another C library or another of its variants of
memset, sin and so on, which the processor chooses."""

SAME_LIBRARY = {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-ERMS,-FSRM"}
"""Without the instructions that set or copy any number of bytes, which not every processor has: callgrind counts them
once for each byte."""

RECORD = "make instructions RECORD=1"

Counts = Mapping[str, float]
"""Instructions for each element, by SIMD level and kernel."""


class Measured(NamedTuple):
    compiler: str
    counts: dict[str, float]


def measure(driver: Path, level: str) -> Measured:
    """Runs the driver once at this level."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", "--collect-atstart=no", f"--callgrind-out-file={folder}/dump"]
        environment = {**os.environ, **SAME_LIBRARY, "SPUPROJ_SIMD": level}
        done = subprocess.run([*command, driver, "count"], env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{driver} must run under valgrind, but it failed:\n{done.stderr}")
        totals = dict(map(total, (path.read_text() for path in Path(folder).glob("dump.*"))))
    compiler, _, *lines = done.stdout.splitlines()
    elements = (line.split("\t") for line in lines)
    return Measured(compiler, {f"{level} {name}": round(totals[name] / int(count), 3) for name, count in elements})


def total(dump: str) -> tuple[str, int]:
    """The name of one of callgrind's dumps, and its number of instructions."""
    name = re.search(r"^desc: Trigger: Client Request: (.+)$", dump, re.MULTILINE)
    count = re.search(r"^(?:totals|summary): (\d+)", dump, re.MULTILINE)
    if name is None or count is None:
        raise SystemExit("a dump of callgrind must have a trigger and totals, but one has not")
    return name.group(1), int(count.group(1))


def faults(found: Counts, budget: Counts) -> Iterator[str]:
    """One line for each kernel that needs more or fewer instructions than recorded, or that was not recorded."""
    for kernel in sorted({*found, *budget}):
        if kernel not in budget:
            yield f"{kernel} must have a budget, but none is recorded; got {found[kernel]:.2f} instructions per element"
        elif kernel not in found:
            yield f"{kernel} has a budget, but must be among the {len(found)} kernels that the driver ran"
        elif abs(found[kernel] / budget[kernel] - 1) > TOLERANCE:
            change = f"{found[kernel]:.2f}, {100 * (found[kernel] / budget[kernel] - 1):+.1f} %"
            yield f"{kernel} must need {budget[kernel]:.2f} instructions per element, got {change}"


def main(driver: Path, budget: Path, record: bool) -> None:
    """Raises SystemExit with one line for every kernel that is not within its budget."""
    runs = [measure(driver, level) for level in LEVELS]
    compiler, found = runs[0].compiler, {kernel: count for run in runs for kernel, count in run.counts.items()}
    recorded = json.loads(budget.read_text())
    if record:
        budget.write_text(json.dumps({**recorded, compiler: found}, indent=2, sort_keys=True) + "\n")
        print(f"recorded {len(found)} kernels of {compiler} in {budget}")
        return
    if compiler not in recorded:
        known = ", ".join(sorted(recorded))
        raise SystemExit(f"{budget} must hold counts of {compiler}, but holds those of {known}; add them by {RECORD}")
    if wrong := list(faults(found, recorded[compiler])):
        raise SystemExit("\n".join([*wrong, f"if this is meant, record new budgets by {RECORD}"]))
    print(f"{len(found)} kernels need as many instructions as recorded, within {TOLERANCE:.0%} ({compiler})")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("driver", type=Path)
    options.add_argument("budget", type=Path)
    options.add_argument("--record", action="store_true", help="writes what is counted into the budget")
    main(**vars(options.parse_args()))
