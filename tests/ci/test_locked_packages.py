"""``requirements.lock`` names one version of every package that is installed, and a bill of materials is made of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from packaging.requirements import Requirement

from helpers import ROOT

LOCK = ROOT / "requirements.lock"
LOCKED = [Requirement(line) for line in LOCK.read_text().splitlines()]


def names_of(requirements):
    return {re.sub(r"[-_.]+", "-", requirement.name).lower() for requirement in requirements}


def test_every_package_is_locked_to_one_version():
    loose = [str(each) for each in LOCKED if not re.fullmatch(r"==[\w.+!]+", str(each.specifier)) or each.url]
    assert loose == []


def test_no_package_is_locked_twice_for_the_same_python():
    for minor in range(10, 15):
        here = {"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.0"}
        used = [each.name for each in LOCKED if each.marker is None or each.marker.evaluate(here)]
        assert sorted(set(used)) == sorted(used)


def test_what_the_project_needs_is_locked():
    project = (ROOT / "pyproject.toml").read_text()
    listed = re.findall(r'^ *"([A-Za-z][\w.-]*)(?:\[[\w,]+\])?[><=~!]=', project, re.MULTILINE)
    assert {"monai", "ruff", "zizmor"} <= set(listed)
    assert names_of(map(Requirement, listed)) <= names_of(LOCKED)


def test_a_bill_of_materials_lists_every_locked_package(tmp_path):
    bill = tmp_path / "bill.json"
    # Validation takes a minute; the release does it.
    options = ["--no-validate", "--pyproject", ROOT / "pyproject.toml", "--output-file", bill]
    subprocess.run([sys.executable, "-m", "cyclonedx_py", "requirements", LOCK, *options], check=True)
    content = json.loads(bill.read_text())
    assert (content["bomFormat"], content["metadata"]["component"]["name"]) == ("CycloneDX", "spuproj")
    found = {(part["name"], part["version"]) for part in content["components"]}
    assert found == {(each.name, str(each.specifier).removeprefix("==")) for each in LOCKED}
