"""The wheel holds the compiled modules and all packages, and needs only torch and numpy to run."""

import sys
import zipfile
from pathlib import Path

MODEL = ("config.json", "model.safetensors", "card.md")
TEMPLATES = (
    *("page.html", "case.html", "cohort.html", "explore.html", "style.css", "explore.css"),
    *("case.js", "cohort.js", "explore.js", "geometry.js"),
)


def main(path: Path) -> None:
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        metadata = wheel.read(next(name for name in names if name.endswith(".dist-info/METADATA"))).decode()
    required = {
        line.split()[1] for line in metadata.splitlines() if line.startswith("Requires-Dist") and ";" not in line
    }
    compiled = {
        name.split(".")[0] for name in names if name.startswith("spuproj/_") and not name.endswith((".py", ".pyi"))
    }
    assert compiled == {"spuproj/_cpu", "spuproj/_cuda"}, names
    modules = (
        "views.py",
        "py.typed",
        "training/workflows/predict.py",
        "benchmarks/__main__.py",
        "benchmarks/notes/cpu.txt",
    )
    data = (
        "training/models/configs/spu.json",
        *(f"training/models/trained/{target}/{name}" for target in ("ET", "TC", "WT") for name in MODEL),
        *(f"training/report/templates/{name}" for name in TEMPLATES),
    )
    assert {"spuproj_cli/app.py", *(f"spuproj/{name}" for name in (*modules, *data))} <= set(names), names
    assert {name.split(">")[0] for name in required} == {"torch", "numpy"}, required
    print(f"{path.name}: {len(names)} files, requires {', '.join(sorted(required))}")


main(Path(sys.argv[1]))
