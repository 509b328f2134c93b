"""The packages' layers: imports go downwards, without cycles; folders and files stay small."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PACKAGES = {
    "spuproj": "spuproj",
    "training": "spuproj.training",
    "benchmarks": "spuproj.benchmarks",
    "spuproj_cli": "spuproj_cli",
}
"""Folders of the repository, with the names of the packages that they are installed as."""

LAYERS = (
    ("spuproj.checks",),
    ("spuproj.inputs",),
    ("spuproj.geometry",),
    ("spuproj.backends",),
    ("spuproj.ops",),
    ("spuproj.functional", "spuproj.portable", "spuproj.reference", "spuproj.uncertainty", "spuproj.info"),
    ("spuproj.plotting",),
    ("spuproj.views",),
    ("spuproj.learnable",),
    ("spuproj.wrapping",),
    ("spuproj",),
    ("spuproj.monai",),
    ("spuproj.training.runtime",),
    ("spuproj.training.data", "spuproj.training.phantom"),
    ("spuproj.training.models",),
    ("spuproj.training.inference", "spuproj.training.evaluation"),
    ("spuproj.training.fit", "spuproj.training.report"),
    ("spuproj.training.workflows",),
    ("spuproj.training.export",),
    ("spuproj.training",),
    ("spuproj.metrics", "spuproj.nnunet"),
    ("spuproj.benchmarks",),
    ("spuproj_cli",),
    ("spuproj.__main__",),
)
"""Layers from lowest to highest. A package may import itself and lower layers, but no other package of its layer."""

MOST_FILES = 12
MOST_LINES = 400

Imports = Mapping[str, set[str]]
"""For each module the modules that it imports."""


def package_of(module: str) -> str:
    """The longest name in ``LAYERS`` that a module belongs to."""
    names = [name for layer in LAYERS for name in layer if f"{module}.".startswith(f"{name}.")]
    return max(names, key=len)


def level_of(module: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if package_of(module) in layer)


def imported_names(source: str, package: str) -> Iterator[str]:
    """Every name that a file imports, anywhere in it: in functions, under TYPE_CHECKING, or by ``import_module``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            base = ".".join(filter(None, (above, node.module)))
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            yield from (str(value.value) for value in node.args if isinstance(value, ast.Constant))


def imports_of(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Imports among modules, given the source of each. A package's ``__init__`` has the package's name."""
    packages = {name.rpartition(".")[0] for name in sources} & set(sources)
    graph: dict[str, set[str]] = {}
    for module, source in sources.items():
        names = imported_names(source, module if module in packages else module.rpartition(".")[0])
        # spuproj._cpu and its like are compiled modules, which import nothing.
        python = [name for name in names if not re.fullmatch(r"spuproj\._[a-z]\w*", name)]
        found = {name if name in sources else name.rpartition(".")[0] for name in python}
        graph[module] = {name for name in found if name in sources} - {module}
    return graph


def upward_imports(graph: Imports) -> list[str]:
    """Imports of a higher layer, or of another package of the same layer."""
    return sorted(
        f"{module} imports {other}"
        for module, others in graph.items()
        for other in others
        if level_of(other) > level_of(module)
        or (level_of(other) == level_of(module) and package_of(other) != package_of(module))
    )


def cycle(graph: Imports) -> list[str]:
    """Modules of an import cycle; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def too_large(lines: Mapping[str, int]) -> list[str]:
    """Folders with too many files and sources with too many lines, given the number of lines of each tracked file."""
    folders = Counter(str(Path(path).parent) for path in lines)
    crowded = [f"{folder} has {count} files" for folder, count in folders.items() if count > MOST_FILES]
    sources = [path for path in lines if path.endswith((".py", ".cpp", ".hpp", ".cu"))]
    return crowded + [f"{path} has {lines[path]} lines" for path in sources if lines[path] > MOST_LINES]


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    """Imports among all modules of the repository."""
    sources = {}
    for folder, package in PACKAGES.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            sources[".".join((package, *parts)).removesuffix(".__init__")] = path.read_text()
    return imports_of(sources)


def test_every_package_of_the_training_layer_has_a_place() -> None:
    packages = {f"spuproj.training.{path.parent.name}" for path in (ROOT / "training").glob("*/__init__.py")}
    assert packages <= {name for layer in LAYERS for name in layer}


def test_imports_go_downwards(graph: Imports) -> None:
    figures, view_sets = graph["spuproj.training.report.figures"], graph["spuproj.training.models.view_sets"]
    assert {"spuproj.plotting.figure", "spuproj.training.runtime.files"} <= figures
    assert {"spuproj", "spuproj.geometry.placement"} <= view_sets
    assert upward_imports(graph) == []


def test_no_modules_import_each_other_in_a_circle(graph: Imports) -> None:
    assert cycle(graph) == []


def test_the_kernels_include_neither_torch_nor_python() -> None:
    """Only the bindings include Python headers, and no file includes torch."""
    included = {
        path.relative_to(ROOT / "csrc"): re.findall(r"#include\s*[<\"](\w+)", path.read_text())
        for path in (ROOT / "csrc").rglob("*.[ch]*")
    }
    assert any("spuproj" in names for names in included.values())
    assert [path for path, names in included.items() if {"torch", "ATen", "c10"} & set(names)] == []
    outside = [
        path for path, names in included.items() if {"pybind11", "Python"} & set(names) and path.parts[0] != "bindings"
    ]
    assert outside == []


def test_folders_and_files_are_small() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    paths = [path for path in listed.stdout.splitlines() if (ROOT / path).is_file()]
    assert {"csrc/cpu/project.cpp", "docs/study/README.md", "pyproject.toml"} <= set(paths)
    assert too_large({path: (ROOT / path).read_bytes().count(b"\n") for path in paths}) == []


LOW, HIGH = "spuproj.training.data.case", "spuproj.training.workflows.predict"


@pytest.mark.parametrize(
    "statement",
    [
        f"import {HIGH}",
        f"from {HIGH} import predict",
        "from spuproj.training.workflows import predict",
        "from ..workflows.predict import predict",
        f"def late():\n    from {HIGH} import predict",
        f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from {HIGH} import predict",
        f"import importlib\nimportlib.import_module('{HIGH}')",
    ],
)
def test_a_planted_upward_import_is_found(statement: str) -> None:
    assert upward_imports(imports_of({LOW: statement, HIGH: ""})) == [f"{LOW} imports {HIGH}"]
    assert upward_imports(imports_of({LOW: "", HIGH: f"import {LOW}"})) == []


def test_a_planted_import_of_a_neighbour_is_found() -> None:
    sources = {
        "spuproj.training.fit.train": "from spuproj.training.report import pages",
        "spuproj.training.report.pages": "",
    }
    assert upward_imports(imports_of(sources)) == ["spuproj.training.fit.train imports spuproj.training.report.pages"]


def test_a_planted_cycle_is_found() -> None:
    first, second = "spuproj.training.data.case", "spuproj.training.data.cache"
    sources = {first: f"from {second} import cached_case", second: f"def late():\n    from {first} import load_case"}
    assert set(cycle(imports_of(sources))) == {first, second}


def test_planted_sizes_are_found() -> None:
    few = {f"training/data/{number}.py": MOST_LINES for number in range(MOST_FILES)}
    assert too_large(few) == []
    assert too_large({**few, "training/data/more.json": 10**6}) == ["training/data has 13 files"]
    assert too_large({"csrc/cpu/long.cpp": MOST_LINES + 1}) == ["csrc/cpu/long.cpp has 401 lines"]
