"""Wheels hold the compiled modules and every file of the packages, need only torch and numpy to run, and their page at
the package index has no link that leads nowhere.

    check_wheel.py MODULES WHEEL...    MODULES are the compiled ones, such as _cpu,_cuda
"""

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from pathlib import Path

# Folder of the sources, and where the wheel has it; without what the wheel leaves out.
PACKAGES = {"spuproj": "spuproj", "training": "spuproj/training", "benchmarks": "spuproj/benchmarks"}
PACKAGES |= {"spuproj_cli": "spuproj_cli"}
LEFT_OUT = ("benchmarks/gpu.sh", "benchmarks/results/", "benchmarks/test_benchmarks.py")
LINK = re.compile(r"\]\(([^)\s]*)\)")


def tracked(*folders: str) -> list[str]:
    """The files of the repository, or of these folders of it."""
    listed = subprocess.run(["git", "ls-files", *folders], capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def page_faults(metadata: Message, files: list[str]) -> Iterator[str]:
    """Links of the index's page to anything but addresses, and to files that this version of the repository lacks."""
    addresses = dict(line.split(", ", 1) for line in metadata.get_all("Project-URL", []))
    known = {*files, *(str(folder) for file in files for folder in Path(file).parents)}
    here = re.compile(rf"{addresses['Homepage']}/(blob|raw)/v{re.escape(metadata['Version'])}/([^#]+)(#.*)?")
    targets = LINK.findall(str(metadata.get_payload()))
    if not targets:
        yield "the page must have links, but it has none"
    for target in targets:
        found = here.fullmatch(target)
        if not target.startswith("https://"):
            yield f"a link of the page must be an address, got {target}"
        elif target.startswith(f"{addresses['Homepage']}/") and not (found and found[2] in known):
            yield f"a link into the repository must lead to a file of version {metadata['Version']}, got {target}"


def faults(path: Path, modules: set[str]) -> Iterator[str]:
    """What is wrong with a wheel."""
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        about = next(name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(wheel.read(about))
    compiled = {name for name in names if name.startswith("spuproj/_") and not name.endswith((".py", ".pyi"))}
    if {name.removeprefix("spuproj/").split(".")[0] for name in compiled} != modules:
        yield f"it must have the compiled modules {', '.join(sorted(modules))}, but has {', '.join(sorted(compiled))}"
    files = tracked()
    sources = [name.partition("/") for name in files if not name.startswith(LEFT_OUT)]
    wanted = {f"{PACKAGES[folder]}/{rest}" for folder, _, rest in sources if folder in PACKAGES}
    others = ("entry_points.txt", "licenses/LICENSE", "licenses/cmake/LICENSE.pybind11")
    wanted |= {about.replace("METADATA", name) for name in others}
    for name in sorted(wanted - names):
        yield f"it must hold every file of the packages, but lacks {name}"
    required = [line for line in metadata.get_all("Requires-Dist", []) if ";" not in line]
    if {re.split(r"\W", line)[0] for line in required} != {"torch", "numpy"}:
        yield f"it must need only torch and numpy, but needs {', '.join(required)}"
    yield from page_faults(metadata, files)


def main(modules: set[str], wheels: list[Path]) -> None:
    """Raises SystemExit with one line for every fault."""
    if wrong := [f"{wheel.name}: {fault}" for wheel in wheels for fault in faults(wheel, modules)]:
        raise SystemExit("\n".join(wrong))
    for wheel in wheels:
        print(f"{wheel.name}: whole, {wheel.stat().st_size / 2**20:.1f} MiB; its page's links lead somewhere")


if __name__ == "__main__":
    main(set(sys.argv[1].split(",")), [Path(name) for name in sys.argv[2:]])
