"""The workflows: which rights they have, and what they run. ``make lint`` runs zizmor on them besides."""

from __future__ import annotations

import re

import pytest
import yaml

from helpers import ROOT

FOLDER = ROOT / ".github/workflows"
WORKFLOWS = {path.name: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yml"))}
JOBS = {f"{name}:{job}": content for name, each in WORKFLOWS.items() for job, content in each["jobs"].items()}
# A job may be another workflow, such as that of the checks before a release.
STEPS = {name: job["steps"] for name, job in JOBS.items() if "uses" not in job}
each_workflow = pytest.mark.parametrize("name", WORKFLOWS)


def test_all_workflows_are_read():
    assert {"ci.yml", "release.yml", "reliability.yml"} <= set(WORKFLOWS)


@each_workflow
def test_a_workflow_may_only_read_the_repository(name):
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}


def test_only_the_jobs_that_publish_may_write_signatures_or_the_page_of_the_release():
    writing = {name: job["permissions"] for name, job in JOBS.items() if "permissions" in job}
    signatures = {"id-token": "write", "attestations": "write"}
    assert writing == {"release.yml:publish": signatures, "release.yml:page": {"contents": "write"}}


@each_workflow
def test_no_workflow_knows_a_secret(name):
    assert "secrets." not in (FOLDER / name).read_text()


@each_workflow
def test_every_action_is_pinned_to_a_commit_and_says_its_version(name):
    used = re.findall(r"\buses: (.+)", (FOLDER / name).read_text())
    assert used
    others = [action for action in used if not action.startswith("$/.github/workflows/")]
    assert [action for action in others if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)] == []


def test_each_push_runs_the_whole_check_of_the_repository():
    assert STEPS["ci.yml:whole"][-1] == {"run": ".ci/run"}


def test_the_index_names_the_versions_of_python_that_wheels_are_built_for():
    project = (ROOT / "pyproject.toml").read_text()
    named = re.findall(r'"Programming Language :: Python :: 3\.(\d+)"', project)
    assert named == [str(minor) for minor in range(int(named[0]), int(named[-1]) + 1)]
    assert f'requires-python = ">=3.{named[0]}"' in project
    assert f'build = "cp31[{named[0][-1]}-{named[-1][-1]}]-*"' in project
    tested = {row["python"] for row in JOBS["ci.yml:test"]["strategy"]["matrix"]["include"]}
    assert {f"3.{named[0]}", f"3.{named[-1]}"} <= tested


def test_a_release_runs_the_checks_first():
    assert JOBS["release.yml:checks"]["uses"] == "$/.github/workflows/ci.yml"
    assert "workflow_call" in WORKFLOWS["ci.yml"][True]  # YAML reads `on` as a truth value.


@pytest.mark.parametrize("job", STEPS)
def test_the_token_does_not_stay_in_the_checkout(job):
    checkouts = [step for step in STEPS[job] if step.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_a_release_is_published_only_from_a_tag_by_trusted_publishing_with_attestations():
    publish = JOBS["release.yml:publish"]
    assert (publish["if"], publish["environment"]) == ("github.ref_type == 'tag'", "release")
    assert sorted(publish["needs"]) == ["checks", "sdist", "wheels"]
    *_, attest, upload = publish["steps"]
    assert attest["uses"].startswith("actions/attest-build-provenance@")
    assert upload["uses"].startswith("pypa/gh-action-pypi-publish@")
    assert upload["with"] == {"attestations": True}


def test_publishing_jobs_run_no_code_of_the_repository():
    assert all("run" not in step and "checkout" not in step["uses"] for step in STEPS["release.yml:publish"])
    assert all(step.get("run", "gh ").startswith("gh ") for step in STEPS["release.yml:page"])
    assert all("checkout" not in step.get("uses", "") for step in STEPS["release.yml:page"])


def test_the_page_of_a_release_has_all_that_was_made_and_only_after_it_was_published():
    page = JOBS["release.yml:page"]
    download, create = page["steps"]
    assert page["needs"] == "publish"
    assert download["with"] == {"path": "dist", "merge-multiple": True}  # no pattern: the bill of materials, too
    assert create["run"].startswith("gh release create ")
    assert create["run"].endswith(" dist/*")


def test_every_wheel_of_a_release_is_checked_before_it_is_kept():
    commands = [step.get("run") for step in STEPS["release.yml:wheels"]]
    assert "python .ci/wheel/check_wheel.py _cpu dist/*.whl" in commands


def test_tools_of_the_release_have_a_version():
    commands = [step["run"] for name, steps in STEPS.items() for step in steps if "run" in step and "release" in name]
    installed = [each for line in commands for each in re.findall(r"pip install (.+)", line)]
    assert len(installed) == 2
    assert [name for each in installed for name in each.split() if not re.fullmatch(r"[\w-]+==[\w.]+", name)] == []


def test_artifacts_are_taken_under_the_names_that_they_were_kept_under():
    kept: set[str] = set()
    wanted: set[str] = set()
    for step in STEPS["release.yml:wheels"] + STEPS["release.yml:sdist"] + STEPS["release.yml:publish"]:
        names = {step.get("with", {}).get("name"), step.get("with", {}).get("pattern")} - {None}
        (kept if "upload-artifact" in step.get("uses", "") else wanted).update(names)
    assert kept == {"wheels-${{ matrix.os }}", "sdist", "bill-of-materials"}
    assert wanted == {"{wheels-*,sdist}", "bill-of-materials"}


def test_every_long_check_runs_weekly_by_a_target_that_exists():
    targets = JOBS["reliability.yml:checks"]["strategy"]["matrix"]["target"]
    phony = re.search(r"^\.PHONY:((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert set(targets) <= set(phony)
    assert {"fuzz", "sanitize", "compat", "test-slow"} <= set(targets)
