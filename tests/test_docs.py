"""Documents: links, paths, commands and options exist, blocks of Python run, figures are current."""

import re
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.main import get_group

from helpers import ROOT
from processes.forked import run_forked
from processes.here import not_imported, run_here
from spuproj_cli.app import app

DOCUMENTS = sorted(str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))
GUIDES = ("CONTRIBUTING.md", "docs/architecture.md", "docs/backends.md")
ENDING = re.compile(r"\w\.(cff|cpp|cu|hpp|json|lock|md|pyi?|sh|toml|ya?ml)$")
PICTURES = ROOT / "docs/pictures"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^ +(?:\$ )?(spuproj [a-z].*)$", re.MULTILINE)
MANY_PACKAGES = re.compile(r"^(?:from|import) (?:monai|nnunetv2|onnxruntime|torchmetrics)", re.MULTILINE)
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
    assert "spuproj/backends/unchanged.py" in named
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


def test_the_citation_and_the_newest_changes_are_those_of_the_version() -> None:
    (version,) = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert re.findall(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE) == [version]
    newest = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    assert newest == version


def having(pattern: re.Pattern[str]) -> list[str]:
    """The documents in which a pattern is found."""
    return [document for document in DOCUMENTS if pattern.search(joined(document))]


def joined(document: str) -> str:
    """A document's text, with commands of several lines on one."""
    return (ROOT / document).read_text().replace("\\\n", " ")


@pytest.mark.parametrize("document", having(BLOCK))
@pytest.mark.filterwarnings("default")  # a reader's Python stops at none
def test_every_block_of_python_runs(document: str, tmp_path: Path) -> None:
    """The blocks of a document run one after another, as a reader would type them."""
    code = "\n".join(BLOCK.findall((ROOT / document).read_text()))
    if MANY_PACKAGES.search(code):
        run_here(code, folder=tmp_path)
    else:
        run = run_forked(code, folder=tmp_path)
        assert run.returncode == 0, run.stderr


def test_a_module_that_a_block_forgets_to_import_is_found() -> None:
    for module in ("html.parser", "spuproj.plotting"):
        import_module(module)
    code = "import html, torch, spuproj\nprint(spuproj.functional, torch.nn, html.parser, spuproj.plotting)"
    assert set(not_imported(code)) == {"html.parser", "spuproj.plotting"}
    assert set(not_imported(f"import html.parser\nfrom spuproj.plotting import figure\n{code}")) == set()


@pytest.mark.parametrize("document", having(COMMAND))
def test_every_command_in_a_document_exists_with_its_options(document: str) -> None:
    for line in COMMAND.findall(joined(document)):
        command, known = line.split()[1], options(line.split()[1])
        unknown = [word for word in re.findall(r"(?<=\s)--[a-z][a-z-]*", line) if word not in known]
        assert not unknown, f"{command}: {unknown}"


@cache
def options(command: str) -> set[str]:
    """The long options of a command of spuproj."""
    found = get_group(app).commands[command]
    return {"--help", *(word for each in found.params for word in each.opts if word.startswith("--"))}


def test_the_figures_are_those_that_the_code_draws(tmp_path: Path) -> None:
    run = run_forked(ROOT / "docs/site/figures.py", tmp_path)
    assert run.returncode == 0, run.stderr
    drawn = sorted(tmp_path.iterdir())
    assert len(drawn) >= 4
    for path in drawn:
        new, kept = (np.asarray(Image.open(each).convert("RGB"), float) for each in (path, PICTURES / path.name))
        assert new.shape == kept.shape
        assert np.abs(new - kept).mean() < 2, f"{path.name} must be drawn again: python docs/site/figures.py"
