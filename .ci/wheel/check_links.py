"""The compiled modules of a wheel for Linux need only what every Linux has, and no newer glibc than the tag says.

The libraries are those of the manylinux policy (PEP 600) that C++ needs. A wheel that is not tagged manylinux was built
to run where it was built, so that its glibc counts.
"""

import platform
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

ALLOWED = re.compile(
    r"(libc|libm|libpthread|libdl|librt|ld-linux-x86-64|ld-linux-aarch64)\.so\.\d|libstdc\+\+\.so\.6|libgcc_s\.so\.1"
)
Version = tuple[int, ...]


def version(text: str) -> Version:
    return tuple(map(int, text.split(".")))


def readelf(option: str, module: Path) -> str:
    return subprocess.run(["readelf", "--wide", option, module], capture_output=True, text=True, check=True).stdout


def promised(wheel: Path) -> Version:
    """The oldest glibc that a wheel says it runs with."""
    tags = [(int(a), int(b)) for a, b in re.findall(r"manylinux_(\d+)_(\d+)", wheel.name)]
    return min(tags) if tags else version(platform.libc_ver()[1])


def faults(wheel: Path) -> Iterator[str]:
    """What is wrong with the compiled modules of a wheel."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as content:
        modules = [Path(content.extract(name, folder)) for name in content.namelist() if name.endswith(".so")]
        if not modules:
            yield f"{wheel.name} must contain compiled modules, but it has none"
        for module in modules:
            dynamic = readelf("--dynamic", module)
            for library in re.findall(r"\(NEEDED\).*\[(.+?)\]", dynamic):
                if not ALLOWED.fullmatch(library):
                    yield f"{module.name} must need only libraries that every Linux has, but it needs {library}"
            if re.search(r"\((RPATH|RUNPATH)\)", dynamic):
                yield f"{module.name} must find its libraries by name, but it has a path of its own (RPATH)"
            asked = [version(text) for text in re.findall(r"\bGLIBC_([\d.]+)", readelf("--version-info", module))]
            if max(asked, default=(0,)) > promised(wheel):
                wanted, got = (".".join(map(str, each)) for each in (promised(wheel), max(asked)))
                yield f"{module.name} must run with glibc {wanted}, which {wheel.name} promises, but it needs {got}"


def main(wheels: list[Path]) -> None:
    """Raises SystemExit with one line for every rule that a module breaks."""
    if wrong := [fault for wheel in wheels for fault in faults(wheel)]:
        raise SystemExit("\n".join(wrong))
    for wheel in wheels:
        print(f"{wheel.name}: needs the libraries of every Linux, glibc {'.'.join(map(str, promised(wheel)))} or newer")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
