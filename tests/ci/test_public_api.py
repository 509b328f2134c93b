"""No public name or signature changes unseen: all of them are listed in ``public_api.txt``."""

from __future__ import annotations

import difflib
import importlib.util

from helpers import ROOT
from spuproj import training

_spec = importlib.util.spec_from_file_location("public_api", ROOT / ".ci/public_api.py")
public_api = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(public_api)

LISTING = ROOT / "tests/ci/public_api.txt"
RENEW = ".venv/bin/python .ci/public_api.py > tests/ci/public_api.txt"


def test_the_public_api_is_the_one_that_is_listed():
    listed, found = LISTING.read_text().splitlines(), public_api.listing()
    changes = "\n".join(difflib.unified_diff(listed, found, "listed", "found", lineterm="", n=0))
    assert changes == "", f"if the change is meant, write it into CHANGELOG.md and renew the list by\n{RENEW}"


def test_all_that_the_packages_export_is_listed():
    names = {line.removeprefix("class ").split("(")[0].split(":")[0] for line in LISTING.read_text().splitlines()}
    assert {f"spuproj.training.{name}" for name in training.__all__} <= names
    assert {"spuproj.Views.project", "spuproj.functional.project", "spuproj.geometry.to_view"} <= names
    assert {"spuproj.reference.project", "torch.ops.spuproj.project", "spuproj.monai.ViewsInferer"} <= names
