"""Installs the package as users do, and runs the tests of its core against it: with the oldest and the newest Python at
hand, and for each with the oldest and the newest releases of torch and NumPy that pyproject.toml allows.

Each test is run once, with the first of its parameters. Arguments are the tests to run (``tests/core`` without any). A
leg is a virtual environment of several GB; it is removed after its tests. The table of all legs is printed, and lies in
build/compat/report.md.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "compat"
UV = Path(sys.executable).with_name("uv")
OPTIONS = [f"--config-setting=cmake.define.{name}" for name in ("SPUPROJ_CUDA=OFF", "SPUPROJ_CUDA_HOST=ON")]
TOOLS = ("pytest", "pytest-xdist", "hypothesis", "scipy", "matplotlib", "safetensors")
VERSIONS = """
from importlib.metadata import version
from platform import python_version
print(python_version(), version("torch"), version("numpy"))
"""
HEADING = "| Python | torch | NumPy | passed | failed | skipped |"


def run(*command: str | Path, check: bool = True) -> str:
    """Runs a command that sees nothing of this environment or of the folder it is called from; returns what it says."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {"UV_CACHE_DIR": str(FOLDER / "cache"), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if check and done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}")
    return done.stdout


def interpreters(minimum: int) -> dict[int, Path]:
    """Python 3's minor versions from ``minimum`` on, each with an interpreter that runs: from PATH, or from pyenv."""
    folders = [*map(Path, os.get_exec_path()), *Path.home().glob(".pyenv/versions/*/bin")]
    found: dict[int, Path] = {}
    for program in (path for folder in folders for path in sorted(folder.glob("python3.*"))):
        match = re.fullmatch(r"python3\.(\d+)", program.name)
        # A name on PATH may be a stand-in (a shim) for a version that is not chosen.
        if match and int(match[1]) >= minimum and int(match[1]) not in found and _runs(program):
            found[int(match[1])] = program
    return found


def _runs(program: Path) -> bool:
    return subprocess.run([program, "-c", "import venv"], capture_output=True, check=False).returncode == 0


def build(python: Path) -> Path:
    """A wheel for this interpreter, built from the source distribution."""
    dist = FOLDER / "dist" / python.name
    run(UV, "build", "--python", python, "--out-dir", dist, *OPTIONS, ROOT)
    return next(dist.glob("*.whl"))


def test(python: Path, wheel: Path, resolution: str, tests: Sequence[str]) -> str:
    """A row of the table: versions, and how the tests went."""
    leg, report = FOLDER / "leg", FOLDER / f"{python.name}-{resolution}.xml"
    shutil.rmtree(leg, ignore_errors=True)
    report.unlink(missing_ok=True)
    run(UV, "venv", "--quiet", "--python", python, leg)
    install: list[str | Path] = [UV, "pip", "install", "--quiet", "--python", leg / "bin" / "python"]
    run(*install, "--resolution", resolution, "--no-build", "--requirements", "pyproject.toml")
    versions = run(leg / "bin" / "python", "-c", VERSIONS).split()
    run(*install, wheel, f"torch=={versions[1]}", f"numpy=={versions[2]}", *TOOLS)
    # Each release of torch and Triton has warnings of its own about itself.
    options = (
        f"--junit-xml={report}",
        "--override-ini=cache_dir=build/compat/pytest",
        "--override-ini=filterwarnings=",
    )
    pytest = ("env", f"PYTHONPATH={ROOT / 'tests' / 'plugins'}", leg / "bin" / "pytest", "-p", "first_of_each")
    said = run(*pytest, "-n", "auto", "-m", "not slow", *options, *tests, check=False)
    report.with_suffix(".log").write_text(said)
    shutil.rmtree(leg)
    shutil.rmtree(FOLDER / "cache")
    return f"| {' | '.join((*versions, *counts(report)))} |"


def counts(report: Path) -> tuple[str, str, str]:
    """How many tests passed, failed and were skipped, from pytest's report; one without tests has failed."""
    if not report.exists():
        return "0", "all: pytest did not finish", "0"
    suite = ElementTree.parse(report).getroot()[0].attrib
    failed, skipped = int(suite["failures"]) + int(suite["errors"]), int(suite["skipped"])
    passed = int(suite["tests"]) - failed - skipped
    return str(passed), str(failed) if passed or failed else "all: no test ran", str(skipped)


def main(tests: Sequence[str]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    oldest = re.search(r'^requires-python = ">=3\.(\d+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert oldest is not None
    found = interpreters(int(oldest[1]))
    rows = [HEADING, "|---|---|---|---|---|---|"]
    print(*rows, sep="\n", flush=True)
    for minor in sorted({min(found), max(found)}):
        wheel = build(found[minor])
        for resolution in ("lowest-direct", "highest"):
            rows.append(test(found[minor], wheel, resolution, tests))
            print(rows[-1], flush=True)
    (FOLDER / "report.md").write_text("\n".join(rows) + "\n")
    if any(row.split(" | ")[4] != "0" for row in rows[2:]):
        raise SystemExit(f"all tests must pass, but some failed: see the logs in {FOLDER}")


if __name__ == "__main__":
    main(sys.argv[1:] or ["tests/core"])
