"""The source distribution: what a build needs and what users read, and nothing that works only in a clone."""

from __future__ import annotations

import subprocess
import tarfile

from scikit_build_core.build import build_sdist

from helpers import ROOT

BUILT_FROM = {"CMakeLists.txt", "LICENSE", "README.md", "pyproject.toml"}
FOLDERS = {"benchmarks", "cmake", "csrc", "examples", "spuproj", "spuproj_cli", "training"}
READ = {"CHANGELOG.md", "CITATION.cff", "PKG-INFO"}
LEFT_OUT = ("benchmarks/gpu.sh", "benchmarks/results/", "benchmarks/test_benchmarks.py")


def test_it_has_every_file_that_is_built_and_none_of_the_developers(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    with tarfile.open(tmp_path / build_sdist(str(tmp_path))) as content:
        names = {name.partition("/")[2] for name in content.getnames()}
    assert {name.partition("/")[0] for name in names} == BUILT_FROM | FOLDERS | READ
    listed = subprocess.run(["git", "ls-files", *FOLDERS], capture_output=True, text=True, check=True).stdout
    wanted = {name for name in listed.splitlines() if not name.startswith(LEFT_OUT)}
    assert wanted - names == set()
    assert [name for name in names if name.startswith(LEFT_OUT)] == []
