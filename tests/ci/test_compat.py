"""``.ci/compat.py``: which interpreters it takes, and how it counts."""

from __future__ import annotations

import importlib.util
import os
import sys

import pytest

from helpers import ROOT

_spec = importlib.util.spec_from_file_location("compat", ROOT / ".ci/compat.py")
compat = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(compat)

REPORT = '<testsuites><testsuite errors="1" failures="2" skipped="3" tests="10"/></testsuites>'


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.skipif(os.name != "posix", reason="interpreters are stood for by shell scripts")
def test_interpreters_that_do_not_run_or_are_too_old_are_passed_over(tmp_path, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    script(first / "python3.91", "exit 127")
    for name in ("python3.9", "python3.91", "python3.92", "python3.92-config"):
        script(second / name, f'exec {sys.executable} "$@"')
    monkeypatch.setenv("PATH", f"{first}{os.pathsep}{second}")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert compat.interpreters(10) == {91: second / "python3.91", 92: second / "python3.92"}


def test_errors_count_as_failures(tmp_path):
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    assert compat.counts(report) == ("4", "3", "3")


def test_a_run_without_a_report_has_failed(tmp_path):
    passed, failed, _ = compat.counts(tmp_path / "missing.xml")
    assert (passed, failed[:3]) == ("0", "all")
