"""The installed package: what it links and imports, and that public members have docstrings."""

import ast
import inspect
import re
import subprocess
import types
from importlib.util import find_spec
from pathlib import Path

import pytest

import spuproj
from helpers import ROOT
from processes.forked import run_forked
from spuproj import Views, functional, geometry, reference, uncertainty

MODULE_UNDER_TEST = Path(find_spec("spuproj._cpu").origin)
COMPILED = sorted(MODULE_UNDER_TEST.parent.glob("_c*.so"))


@pytest.mark.parametrize("module", COMPILED, ids=lambda path: path.name.split(".")[0])
def test_a_compiled_module_links_neither_torch_nor_openmp_nor_cuda(module):
    dynamic = subprocess.run(["readelf", "-d", module], capture_output=True, text=True, check=True).stdout
    needed = re.findall(r"\(NEEDED\).*\[(.+?)\]", dynamic)
    assert any(name.startswith("libc.so") for name in needed)
    assert [name for name in needed if re.match(r"lib(torch|c10|gomp|omp|iomp|cuda)", name)] == []


def test_the_module_under_test_is_among_the_compiled_ones():
    assert MODULE_UNDER_TEST in COMPILED


def test_importing_the_package_imports_nothing_heavy():
    packages = ("monai", "pytorch_lightning", "nibabel", "nilearn", "matplotlib", "scipy", "torch._dynamo")
    heavy = (*packages, "spuproj.training", "spuproj.backends.triton")
    run = run_forked(f"import sys, spuproj; print([name for name in {heavy!r} if name in sys.modules])")
    assert run.stdout == "[]\n", run.stderr


def imported_names(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_core_never_imports_its_training_layer():
    """Only what brings spuproj to another library may; ``import spuproj`` does not import it."""
    adapters = {"metrics.py", "monai", "nnunet"}
    sources = [path for path in (ROOT / "spuproj").rglob("*.py") if not adapters.intersection(path.parts)]
    assert ROOT / "spuproj" / "views.py" in sources
    for path in sources:
        assert [name for name in imported_names(path) if re.search(r"\btraining\b", name)] == [], path


def names_private_to_torch(path):
    """Attributes and imports of torch that begin with an underscore, and strings that name such modules."""
    text = path.read_text()
    yield from re.findall(r"\btorch(?:\.\w+)*\._\w+", text)
    yield from (name for name in imported_names(path) if re.match(r"torch\b.*\._", name))
    yield from re.findall(r"\b(?:forward_ad|functorch|autograd)\._\w+|\._version\b|\._cdata\b", text)


def test_the_package_uses_no_name_that_is_private_to_torch():
    sources = list((ROOT / "spuproj").rglob("*.py"))
    assert ROOT / "spuproj" / "ops" / "run.py" in sources
    assert {path.name: names for path in sources if (names := list(names_private_to_torch(path)))} == {}


def test_a_name_that_is_private_to_torch_is_found(tmp_path):
    (tmp_path / "bad.py").write_text("import torch\nfrom torch._C import x\ntorch._C._y()\nt._version\n")
    assert list(names_private_to_torch(tmp_path / "bad.py")) == ["torch._C", "torch._C._y", "torch._C.x", "._version"]


def test_the_kernels_know_neither_python_nor_torch():
    files = [*(ROOT / "csrc").rglob("*.[ch]*pp"), *(ROOT / "csrc").rglob("*.cu")]
    sources = [path for path in files if path.parent.name != "bindings"]
    assert {ROOT / "csrc" / "cpu" / "kernels" / "level.cpp", ROOT / "csrc" / "cuda" / "gather.cu"} <= set(sources)
    for path in sources:
        included = re.findall(r'#\s*include\s*[<"](.+?)[>"]', path.read_text())
        assert [name for name in included if re.match(r"(torch|ATen|c10|pybind11|Python\.h)", name)] == [], path


def public_members():
    for module in (spuproj, functional, geometry):
        for name in module.__all__:
            yield f"{module.__name__}.{name}", getattr(module, name)
    for module in (reference, uncertainty):
        for name, member in vars(module).items():
            if inspect.isfunction(member) and member.__module__ == module.__name__ and not name.startswith("_"):
                yield f"{module.__name__}.{name}", member
    for name in vars(Views):
        if not name.startswith("_") and callable(getattr(Views, name)):
            yield f"Views.{name}", getattr(Views, name)


PUBLIC = {name: member for name, member in public_members() if isinstance(member, types.ModuleType) or callable(member)}


def test_the_public_members_are_found():
    assert {"spuproj.Views", "spuproj.functional.project", "spuproj.geometry.to_view", "Views.reduce"} <= set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_member_has_a_docstring(name):
    assert inspect.getdoc(PUBLIC[name])
