"""What the documents point at is there: the targets of links, and in the guides for developers every path."""

import re
from pathlib import Path

import pytest

from helpers import ROOT

DOCUMENTS = sorted(str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))
GUIDES = ("CONTRIBUTING.md", "docs/architecture.md", "docs/backends.md")
ENDING = re.compile(r"\w\.(cff|cpp|cu|hpp|json|lock|md|pyi?|sh|toml|ya?ml)$")
IN_DIAGRAM = re.compile(r"(?<=\s)(?:csrc|spuproj|training|benchmarks|tests|docs|examples)/[\w./]*")


def paths_named(text: str) -> list[str]:
    """Words in backticks that have a slash or a file's ending, and paths in diagrams."""
    quoted = [word for word in re.findall(r"`([\w./-]+)`", text) if "/" in word or ENDING.search(word)]
    diagrams = [path for line in text.splitlines() if line.startswith("    ") for path in IN_DIAGRAM.findall(line)]
    return sorted({*quoted, *diagrams})


def headings(document: Path) -> set[str]:
    """Anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("guide", GUIDES)
def test_every_path_in_a_guide_exists(guide: str) -> None:
    named = paths_named((ROOT / guide).read_text())
    assert "spuproj/backends/prepared.py" in named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_paths_are_found_in_text_and_diagrams() -> None:
    text = "`a/b.py`, `c.md`, `x`, `B/C`\n\n    1 views    spuproj/views.py    maps/\n"
    assert paths_named(text) == ["B/C", "a/b.py", "c.md", "spuproj/views.py"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_has_its_target(document: str) -> None:
    folder = (ROOT / document).parent
    for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / document).read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = folder / path if path else ROOT / document
        assert there.exists(), target
        assert not anchor or anchor in headings(there), target
