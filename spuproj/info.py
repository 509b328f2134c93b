"""Reports package versions and which backend runs on which device, with the reason."""

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from spuproj import backends
from spuproj.backends import cpu


def report() -> dict[str, str]:
    """Versions, backends, the choice for each device type with its reason, SIMD level and threads."""
    lines = {"spuproj": _version("spuproj"), "python": platform.python_version(), "platform": platform.platform()}
    for package in ("torch", "numpy", "monai", "pytorch-lightning", "nibabel"):
        lines[package] = _version(package)
    for name in backends.NAMES:
        lines[f"backend {name}"] = backends.missing(name) or "available"
    for device in ["cpu"] + (["cuda"] if torch.cuda.is_available() else []):
        lines[f"{device} tensors"] = _choice(device)
    lines["simd"] = _simd()
    lines["threads"] = str(torch.get_num_threads())
    return lines


def text() -> str:
    """The report as aligned lines."""
    lines = report()
    width = max(map(len, lines))
    return "\n".join(f"{key:<{width}}  {value}" for key, value in lines.items())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _choice(device_type: str) -> str:
    try:
        name, reason = backends.choose(device_type)
    except RuntimeError as error:
        return f"none: {error}"
    return f"{name} ({reason})"


def _simd() -> str:
    if cpu.MISSING is not None:
        return "none"
    try:
        return f"{cpu.simd_level()} (this processor has {', '.join(cpu.simd_levels())})"
    except ValueError as error:
        return f"none: {error}"
