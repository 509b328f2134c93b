"""The record of one run: what was measured, the machine and software, and its JSON file."""

from __future__ import annotations

import json
import os
import platform
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import torch

from spuproj import info
from spuproj.benchmarks.goals import Goal
from spuproj.benchmarks.memory import Memory
from spuproj.benchmarks.ops.cases import Case
from spuproj.benchmarks.timing import Row

_HEAD = ("date", "short", "machine", "software")
_PEERS = ("scipy", "scikit-image", "opencv-python-headless", "kornia", "monai", "triton", "matplotlib")


def machine() -> dict[str, Any]:
    """Processor, cores, caches, memory, system and GPU. Unknown values are left empty."""
    folders = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"))
    caches = [[_text(folder / part) for part in ("level", "type", "size")] for folder in folders]
    pages = {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= set(getattr(os, "sysconf_names", ()))
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "caches": {f"L{level} {kind}": size for level, kind, size in caches},
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if pages else None,
        "system": platform.platform(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _text(path: Path) -> str:
    """Empty where there is no such file: virtual machines hide the sizes of caches."""
    return path.read_text().strip() if path.is_file() else ""


def software() -> dict[str, str]:
    """Versions of Python and of all compared libraries, and spuproj's backends here."""
    installed = {package.name: package.version for package in distributions()}
    peers = (*_PEERS, *(name for name in installed if name.startswith("cupy")))  # as cupy-cuda13x
    return {**info.report(), **{package: installed.get(package, "not installed") for package in peers}}


def slug(name: str = "") -> str:
    """The name, or else the processor's name and number of cores, as a file name."""
    return re.sub(r"[^a-z0-9]+", "-", (name or f"{_cpu()} {os.cpu_count()} cores").lower()).strip("-")


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", path.read_text(), re.MULTILINE) if path.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


@dataclass(frozen=True)
class Record:
    """One run.

    Attributes:
        rows: rows of all cases.
        scaling: an axis, and the row of a contender at one point of it.
        memory: peak memory of reduce.
        goals: the goals with the measured values.
        short: whether shapes were small, so that the times are meaningless.
        date, machine, software: date (UTC), machine and software of the run.
    """

    rows: Sequence[Row]
    scaling: Sequence[tuple[str, Row]] = ()
    memory: Sequence[Memory] = ()
    goals: Sequence[Goal] = ()
    short: bool = False
    date: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    machine: dict[str, Any] = field(default_factory=machine)
    software: dict[str, str] = field(default_factory=software)


def to_json(record: Record) -> bytes:
    """The record as JSON, with one line for each case and each row. A row names its case by the case's label."""
    measured: list[Row | Memory] = [*record.rows, *(row for _, row in record.scaling), *record.memory]
    cases = {entry.case.label: entry.case for entry in measured}
    lists = {
        "goals": [{**_fields(goal), "outcome": goal.outcome} for goal in record.goals],
        "cases": [{"label": label, **_fields(case)} for label, case in cases.items()],
        "rows": [_fields(row) for row in record.rows],
        "scaling": [{"axis": axis, **_fields(row)} for axis, row in record.scaling],
        "memory": [_fields(entry) for entry in record.memory],
    }
    head = {"schema": 3, **{name: getattr(record, name) for name in _HEAD}}
    parts = [f' "{name}": {json.dumps(value)}' for name, value in head.items()]
    parts += [f' "{name}": [\n  ' + ",\n  ".join(map(json.dumps, entries)) + "\n ]" for name, entries in lists.items()]
    return ("{\n" + ",\n".join(parts) + "\n}\n").encode()


def _fields(item: Any) -> dict[str, Any]:
    """Fields by name: numbers to six digits, without empty fields and without the case's list of peers."""
    return {
        name: value.label if name == "case" else float(f"{value:.6g}") if isinstance(value, float) else value
        for name, value in vars(item).items()
        if value is not None and name != "peers"
    }


def from_json(content: bytes) -> Record:
    """The record that ``to_json`` wrote."""
    kept = json.loads(content)
    cases = {entry.pop("label"): Case(**{**entry, "size": tuple(entry["size"])}) for entry in kept["cases"]}
    for entry in (*kept["rows"], *kept["scaling"], *kept["memory"]):
        entry["case"] = cases[entry["case"]]
    return Record(
        rows=[Row(**entry) for entry in kept["rows"]],
        scaling=[(entry.pop("axis"), Row(**entry)) for entry in kept["scaling"]],
        memory=[Memory(**entry) for entry in kept["memory"]],
        goals=[Goal(**{name: entry.get(name) for name in Goal.__dataclass_fields__}) for entry in kept["goals"]],
        **{name: kept[name] for name in _HEAD},
    )


def write_all(paths: Sequence[Path], *contents: bytes) -> None:
    """Writes each file beside its path and renames it; on an error an older file stays as it was."""
    for path, content in zip(paths, contents, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".spuproj-", dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            temporary.write_bytes(content)
            os.replace(temporary, path)


def prepare_outputs(paths: Sequence[Path], force: bool) -> None:
    """Makes the folders of files that are to be written, before there is work to be lost.

    Raises ValueError where any of the paths exists and ``force`` is not set, and OSError where a folder cannot be made
    or written to.
    """
    existing = [path for path in paths if path.exists()]
    if existing and not force:
        raise ValueError(f"{existing[0]} exists already; pass --force to write over it")
    for folder in {path.parent for path in paths}:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".spuproj-", dir=folder):
            pass
