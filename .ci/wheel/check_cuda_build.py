"""Reads ptxas's report of a build: each kernel, on each architecture, stays within its recorded budget."""

import json
import re
import sys
from pathlib import Path

REPORT = re.compile(
    r"Compiling entry function '(?P<symbol>\S+)' for 'sm_(?P<architecture>\d+)'"
    r".*?(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores"
    r".*?Used (?P<registers>\d+) registers",
    re.DOTALL,
)

UNITS = {"registers": "registers", "stack": "bytes of stack", "stores": "bytes of spilled registers"}


def main(log: Path, budgets: Path) -> None:
    """Raises SystemExit with one line for every kernel that is not within its budget, and for each that is missing."""
    budget = json.loads(budgets.read_text())
    found = [match.groupdict() for match in REPORT.finditer(log.read_text())]
    faults, seen = [], set()
    for kernel in found:
        # A mangled name holds the element's name behind its length.
        name = next((name for name in budget["kernels"] if f"{len(name)}{name}" in kernel["symbol"]), None)
        place = f"{kernel['symbol']} on sm_{kernel['architecture']}"
        if name is None:
            faults.append(f"{place} must have a budget in {budgets}")
            continue
        seen.add((name, int(kernel["architecture"])))
        limits = budget["kernels"][name]
        for what, limit in limits.items():
            if int(kernel[what]) > limit:
                faults.append(f"{place} must have at most {limit} {UNITS[what]}, got {kernel[what]}")
    wanted = {(name, architecture) for name in budget["kernels"] for architecture in budget["architectures"]}
    faults += [f"{name} must be compiled for sm_{architecture}" for name, architecture in sorted(wanted - seen)]
    if faults:
        raise SystemExit("\n".join(faults))
    spilling = sum(kernel["stores"] != "0" for kernel in found)
    print(f"{len(found)} kernels of {len(budget['architectures'])} architectures within budget, {spilling} with spills")


main(Path(sys.argv[1]), Path(sys.argv[2]))
