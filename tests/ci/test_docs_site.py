"""The documentation builds as a site, without a warning."""

from __future__ import annotations

import subprocess
import sys

import pytest

from helpers import ROOT

pytest.importorskip("mkdocs")
pytest.importorskip("mkdocstrings")


def test_the_site_builds_and_its_code_blocks_keep_their_lines(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--config-file", str(ROOT / "docs" / "site" / "mkdocs.yml")]
    build = subprocess.run([*command, "--site-dir", str(tmp_path)], capture_output=True, text=True)
    assert build.returncode == 0, build.stderr
    page = (tmp_path / "tutorial" / "index.html").read_text()
    # In a list, a block that is indented too little becomes a paragraph.
    assert page.count("<pre>") == 7
    assert "&gt;&gt;&gt;" in (tmp_path / "api" / "index.html").read_text()
