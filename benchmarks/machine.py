"""The machine and the software that the numbers belong to."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

import torch

from spuproj import info

_LIBRARIES = (
    "torch",
    "numpy",
    "scipy",
    "scikit-image",
    "opencv-python-headless",
    "kornia",
    "monai",
    "matplotlib",
)


def machine() -> dict[str, object]:
    """Processor, cores, caches, memory and system. What the system does not tell is left empty."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "caches": _caches(),
        "memory_bytes": _memory_bytes(),
        "system": platform.platform(),
    }


def software() -> dict[str, str]:
    """Versions of Python and of all that is compared, and what spuproj runs on here."""
    report = info.report()
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("spuproj", *_LIBRARIES)},
        "simd": report["simd"],
        "backend": report["cpu tensors"],
    }


def slug() -> str:
    """A file name for the machine: its processor and number of cores."""
    return re.sub(r"[^a-z0-9]+", "-", f"{_cpu()} {os.cpu_count()} cores".lower()).strip("-")


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", path.read_text(), re.MULTILINE) if path.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _caches() -> dict[str, str]:
    """Sizes of the first core's caches, such as ``{"L1 Data": "32K"}``."""
    folders = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"))
    return {f"L{_read(folder / 'level')} {_read(folder / 'type')}": _read(folder / "size") for folder in folders}


def _read(path: Path) -> str:
    return path.read_text().strip()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
