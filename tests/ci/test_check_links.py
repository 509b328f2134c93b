"""``.ci/wheel/check_links.py``: the modules under test keep its rules, and others break each of them."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from helpers import ROOT

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("readelf") is None, reason="reads modules of Linux with readelf"
)

_spec = importlib.util.spec_from_file_location("check_links", ROOT / ".ci/wheel/check_links.py")
check_links = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check_links)

OURS = Path(find_spec("spuproj._cpu").origin)
LINEAR_ALGEBRA = Path(find_spec("numpy.linalg._umath_linalg").origin)


def wheel_of(folder, tag, *modules):
    path = folder / f"spuproj-1.0-cp311-cp311-{tag}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for module in modules:
            wheel.write(module, f"spuproj/{module.name}")
    return path


def test_the_compiled_module_needs_only_what_every_linux_has(tmp_path):
    assert list(check_links.faults(wheel_of(tmp_path, "linux_x86_64", OURS))) == []


def test_a_library_that_a_linux_may_lack_is_named(tmp_path):
    (fault, *_) = check_links.faults(wheel_of(tmp_path, "linux_x86_64", LINEAR_ALGEBRA))
    assert "must need only libraries that every Linux has, but it needs libscipy_openblas" in fault


@pytest.mark.parametrize("tag", ["manylinux_2_1_x86_64", "manylinux_2_1_x86_64.manylinux_2_99_x86_64"])
def test_a_glibc_newer_than_the_tag_promises_is_named(tmp_path, tag):
    (fault,) = check_links.faults(wheel_of(tmp_path, tag, OURS))
    assert f"{OURS.name} must run with glibc 2.1, which spuproj-1.0-cp311-cp311-{tag}.whl promises" in fault


def test_the_glibc_of_the_tag_is_enough(tmp_path):
    assert list(check_links.faults(wheel_of(tmp_path, "manylinux_2_99_x86_64", OURS))) == []


def test_a_wheel_without_compiled_modules_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="must contain compiled modules"):
        check_links.main([wheel_of(tmp_path, "linux_x86_64")])
