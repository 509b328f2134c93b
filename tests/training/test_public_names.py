"""What ``spuproj.training`` exports, and that neither it nor the command line imports a library before it is needed."""

from __future__ import annotations

import pytest

from helpers import run_python
from spuproj import training

HEAVY = ("monai", "pytorch_lightning", "nibabel", "nilearn", "matplotlib", "scipy", "skimage", "torchmetrics")


@pytest.mark.parametrize("name", training.__all__)
def test_a_public_name_is_what_its_module_defines(name):
    assert getattr(training, name).__name__ == name
    assert name in dir(training)


def test_another_name_is_an_error():
    with pytest.raises(AttributeError, match=r"module 'spuproj\.training' has no attribute 'nothing'"):
        _ = training.nothing


def test_importing_it_or_the_command_or_its_progress_imports_nothing_heavy():
    lines = ["import sys"]
    for module in ("spuproj.training", "spuproj_cli.app", "spuproj.training.runtime.progress"):
        lines.append(f"import {module}; print('{module}', [name for name in {HEAVY!r} if name in sys.modules])")
    run = run_python("\n".join(lines))
    assert run.returncode == 0, run.stderr
    assert run.stdout == "spuproj.training []\nspuproj_cli.app []\nspuproj.training.runtime.progress []\n"
