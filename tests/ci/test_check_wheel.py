"""``.ci/wheel/check_wheel.py`` on the page that README becomes at the package index, and on links planted in it."""

from __future__ import annotations

import importlib.util
import re
from email.message import Message

import pytest
from scikit_build_core.metadata.fancy_pypi_readme import dynamic_metadata

from helpers import ROOT

_spec = importlib.util.spec_from_file_location("check_wheel", ROOT / ".ci/wheel/check_wheel.py")
check = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check)

HOME = re.search(r'^Homepage = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]


@pytest.fixture
def faults(monkeypatch):
    """The faults of a page, of version 1.2."""
    monkeypatch.chdir(ROOT)

    def faults(page: str) -> list[str]:
        metadata = Message()
        metadata["Version"] = "1.2"
        metadata["Project-URL"] = f"Homepage, {HOME}"
        metadata.set_payload(page)
        return list(check.page_faults(metadata, check.tracked()))

    return faults


def test_every_link_of_the_page_leads_somewhere(faults):
    made = dynamic_metadata("readme", {}, {"name": "spuproj", "version": "1.2"})
    assert isinstance(made, dict)
    page = made["text"]
    assert f"]({HOME}/raw/v1.2/docs/pictures/overview.png)" in page
    assert f"]({HOME}/blob/v1.2/docs/evaluation.md#on-real-patients)" in page
    assert faults(page) == []


@pytest.mark.parametrize("target", ["docs/data.md", "#speed", "http://example.org", ""])
def test_a_link_that_is_no_address_is_named(faults, target):
    assert faults(f"![picture]({target})") == [f"a link of the page must be an address, got {target}"]


@pytest.mark.parametrize("target", ["blob/v1.2/docs/missing.md", "blob/main/README.md", "blob/v1.1/README.md"])
def test_a_link_to_a_file_that_the_version_lacks_is_named(faults, target):
    (fault,) = faults(f"[text]({HOME}/{target})")
    assert fault == f"a link into the repository must lead to a file of version 1.2, got {HOME}/{target}"


def test_links_into_the_repository_and_out_of_it_are_accepted(faults):
    assert faults(f"[a]({HOME}/blob/v1.2/examples) [b](https://example.org) ![c]({HOME}/raw/v1.2/README.md#x)") == []


def test_a_page_without_links_was_not_read(faults):
    assert faults("spuproj") == ["the page must have links, but it has none"]
