"""The wheel holds the compiled modules and every file of the packages, and needs only torch and numpy to run."""

import subprocess
import sys
import zipfile
from pathlib import Path

# Folder of the sources, and where the wheel has it; without what the wheel leaves out.
PACKAGES = {"spuproj": "spuproj", "training": "spuproj/training", "benchmarks": "spuproj/benchmarks"}
PACKAGES |= {"spuproj_cli": "spuproj_cli"}
LEFT_OUT = ("benchmarks/results/", "benchmarks/test_benchmarks.py")


def main(path: Path) -> None:
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        about = next(name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = wheel.read(about).decode()
    required = {
        line.split()[1] for line in metadata.splitlines() if line.startswith("Requires-Dist") and ";" not in line
    }
    compiled = {
        name.split(".")[0] for name in names if name.startswith("spuproj/_") and not name.endswith((".py", ".pyi"))
    }
    assert compiled == {"spuproj/_cpu", "spuproj/_cuda"}, compiled
    listed = subprocess.run(["git", "ls-files", *PACKAGES], capture_output=True, text=True, check=True).stdout
    sources = [name.partition("/") for name in listed.splitlines() if not name.startswith(LEFT_OUT)]
    wanted = {f"{PACKAGES[folder]}/{rest}" for folder, _, rest in sources}
    wanted |= {about.replace("METADATA", "entry_points.txt"), about.replace("METADATA", "licenses/LICENSE")}
    missing = sorted(wanted - names)
    assert not missing, f"the wheel must hold every file of the packages, but lacks {', '.join(missing)}"
    assert {name.split(">")[0] for name in required} == {"torch", "numpy"}, required
    print(f"{path.name}: {len(names)} files, requires {', '.join(sorted(required))}")


main(Path(sys.argv[1]))
