"""``benchmarks/gpu.sh``: the steps of its commands, with programs in place of Python, ``timeout`` and the sanitizer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from helpers import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the script is for Linux")

COMMANDS = ("test", "sanitize", "bench")
BUILD = "python3 -m pip install"
INSTALLED = "python3 -c import spuproj._cuda"
SOURCES = ("CMakeLists.txt", "pyproject.toml", "cmake", "csrc", "spuproj", "training", "benchmarks", "spuproj_cli")

# Each notes how it was called, and fails where the variable FAILS holds a part of that. What is installed is RECORD.
NOTE = """#!/bin/bash
echo "$(basename "$0") $*" >> "$CALLS"
[ -z "$FAILS" ] || [[ "$*" != *"$FAILS"* ]] || { echo "torch sees no GPU" >&2; exit 3; }
[[ "$*" != *RECORD* ]] || echo "$RECORD"
"""
LIMIT = """#!/bin/bash
echo "limit $2" >> "$CALLS"
shift 2
exec "$@"
"""

Script = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def script(tmp_path) -> Script:
    """Runs a copy of the script, in a folder with a file for each of the package's sources."""
    for name in SOURCES:
        path = tmp_path / "repository" / (name if "." in name else f"{name}/file")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    copy = shutil.copy(ROOT / "benchmarks" / "gpu.sh", tmp_path / "repository" / "benchmarks" / "gpu.sh")
    (tmp_path / "bin").mkdir()
    for name, content in {"python3": NOTE, "compute-sanitizer": NOTE, "timeout": LIMIT}.items():
        (tmp_path / "bin" / name).write_text(content)
        (tmp_path / "bin" / name).chmod(0o755)

    def run(*arguments: str, fails: str = "", record: str = "") -> subprocess.CompletedProcess[str]:
        (tmp_path / "calls").write_text("")
        paths = f"{tmp_path / 'bin'}:{os.defpath}"
        variables = {"PATH": paths, "CALLS": str(tmp_path / "calls"), "FAILS": fails, "RECORD": record}
        return subprocess.run([copy, *arguments], env=variables, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def calls(tmp_path) -> Callable[[], list[str]]:
    """The calls of the last run."""
    return lambda: (tmp_path / "calls").read_text().splitlines()


@pytest.mark.parametrize(
    ("command", "steps"),
    [
        ("test", ["python3 -m pytest"]),
        ("sanitize", ["compute-sanitizer --tool memcheck", "compute-sanitizer --tool initcheck"]),
        ("bench", ["python3 -m spuproj.benchmarks --out results"]),
    ],
)
def test_a_command_builds_reports_and_does_its_steps_within_its_time(script, calls, command, steps):
    done = script(command, "results")
    assert done.returncode == 0, done.stderr
    noted = [call for call in calls() if not call.startswith("limit")]
    expected = ["python3 -c import torch", INSTALLED, BUILD, INSTALLED, "python3 -m spuproj info", *steps]
    assert len(noted) == len(expected)
    assert all(map(str.startswith, noted, expected)), noted
    limits = [int(call.split()[1]) for call in calls() if call.startswith("limit")]
    assert len(limits) == len(expected) - 3  # all but the short ones, before and after the build
    assert sum(limits) < 480
    assert f"{command}: all passed" in done.stdout


def test_a_build_from_the_same_files_is_kept(script, calls, tmp_path):
    def builds() -> int:
        assert script("test").returncode == 0
        return sum(call.startswith(BUILD) for call in calls())

    assert [builds(), builds()] == [1, 0]
    (tmp_path / "repository/csrc/another").write_text("changed")
    assert [builds(), builds()] == [1, 0]


def test_a_build_that_does_not_import_is_made_again(script, calls):
    assert script("test").returncode == 0
    for _ in range(2):
        assert script("test", fails="import spuproj").returncode == 0
        assert any(call.startswith(BUILD) for call in calls())


def test_another_package_in_place_of_the_one_that_was_built_is_replaced(script, calls):
    assert script("test", record="spuproj/views.py,sha256=of these files").returncode == 0
    assert script("test", record="spuproj/views.py,sha256=of older files").returncode == 0
    assert any(call.startswith(BUILD) for call in calls())


@pytest.mark.parametrize(
    ("command", "fails", "step"),
    [
        ("test", "pytest", "tests"),
        ("sanitize", "initcheck", "initcheck"),
        ("bench", "spuproj.benchmarks", "benchmark"),
        ("bench", "spuproj info", "info"),
        *((command, "pip install", "build") for command in COMMANDS),
    ],
)
def test_a_step_that_fails_is_named(script, command, fails, step):
    done = script(command, fails=fails)
    assert done.returncode == 1
    assert f"failed: {step} (exit status 3)" in done.stderr
    assert "all passed" not in done.stdout


def test_a_tool_that_finds_faults_does_not_stop_the_other(script, calls):
    assert script("sanitize", fails="memcheck").returncode == 1
    assert any("initcheck" in call for call in calls())


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_tested_after_a_build_that_failed(script, calls, command):
    script(command, fails="pip install")
    assert calls()[-1].startswith(BUILD)


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_built_without_a_gpu(script, calls, command):
    done = script(command, fails="is_available")
    assert done.returncode == 1
    assert "torch sees no GPU" in done.stderr
    assert len(calls()) == 1


def test_without_the_sanitizer_the_script_says_where_it_comes_from(script, calls, tmp_path):
    (tmp_path / "bin" / "compute-sanitizer").unlink()
    done = script("sanitize")
    assert done.returncode == 1
    assert "compute-sanitizer is not installed; it comes with CUDA's toolkit" in done.stderr
    assert calls() == []


@pytest.mark.parametrize("arguments", [(), ("tests",)])
def test_an_unknown_command_is_told_which_there_are(script, calls, arguments):
    done = script(*arguments)
    assert done.returncode == 2
    assert "usage: benchmarks/gpu.sh test | sanitize | bench [FOLDER]" in done.stderr
    assert calls() == []
