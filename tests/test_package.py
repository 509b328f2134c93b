"""What the installed package links, imports, documents and reports."""

import ast
import inspect
import re
import subprocess
import types
from pathlib import Path

import pytest

import spuproj
from helpers import ROOT, run_python
from spuproj import Views, _cpu, functional, geometry, reference

PROJECT = "import torch; from spuproj import Views; Views.rigid((2, 2)).project(torch.ones(1, 1, 2, 2))"
WITHOUT_COMPILED = "import sys; sys.modules['spuproj._cpu'] = None"


COMPILED = sorted(Path(_cpu.__file__).parent.glob("_c*.so"))


@pytest.mark.parametrize("module", COMPILED, ids=lambda path: path.name.split(".")[0])
def test_a_compiled_module_links_neither_torch_nor_openmp_nor_cuda(module):
    dynamic = subprocess.run(["readelf", "-d", module], capture_output=True, text=True, check=True).stdout
    needed = re.findall(r"\(NEEDED\).*\[(.+?)\]", dynamic)
    assert any(name.startswith("libc.so") for name in needed)
    assert [name for name in needed if re.match(r"lib(torch|c10|gomp|omp|iomp|cuda)", name)] == []


def test_the_module_under_test_is_among_the_compiled_ones():
    assert Path(_cpu.__file__) in COMPILED


def test_importing_the_package_imports_nothing_heavy():
    packages = ("monai", "pytorch_lightning", "nibabel", "nilearn", "matplotlib", "scipy")
    heavy = (*packages, "spuproj.training", "spuproj.backends.triton")
    run = run_python(f"import sys, spuproj; print([name for name in {heavy!r} if name in sys.modules])")
    assert run.stdout == "[]\n", run.stderr


def imported_names(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_package_never_imports_its_training_layer():
    sources = list((ROOT / "spuproj").rglob("*.py"))
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
    assert ROOT / "spuproj" / "ops.py" in sources
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
    for module in (spuproj, functional):
        for name in module.__all__:
            yield f"{module.__name__}.{name}", getattr(module, name)
    for module in (geometry, reference):
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


REPORT = "import runpy; runpy.run_module('spuproj', run_name='__main__')"


def lines_of(run):
    return dict(re.split(r"\s{2,}", line, maxsplit=1) for line in run.stdout.splitlines())


def last_error(run):
    return run.stderr.strip().splitlines()[-1]


def test_the_report_tells_versions_backend_simd_level_and_threads():
    run = run_python(REPORT, SPUPROJ_BACKEND="", SPUPROJ_SIMD="")
    lines = lines_of(run)
    assert {"spuproj", "python", "platform", "torch", "numpy"} <= set(lines), run.stderr
    assert lines["spuproj"] == spuproj.__version__
    assert lines["backend cpu"] == lines["backend torch"] == "available"
    assert lines["cpu tensors"] == "cpu (fastest for cpu tensors)"
    assert lines["simd"] == f"{_cpu.simd_levels()[-1]} (this processor has {', '.join(_cpu.simd_levels())})"
    assert int(lines["threads"]) >= 1


def test_the_variable_chooses_the_backend():
    cached = "from spuproj.backends import cpu; print(f'taps  {len(cpu.backend.prepared)}')"
    run = run_python("\n".join((REPORT, PROJECT, cached)), SPUPROJ_BACKEND="torch")
    lines = lines_of(run)
    assert lines["cpu tensors"] == "torch (SPUPROJ_BACKEND=torch)", run.stderr
    assert lines["taps"] == "0"


def test_an_unknown_backend_is_an_error_that_names_the_choices():
    run = run_python(f"{REPORT}\n{PROJECT}", SPUPROJ_BACKEND="nonsense")
    message = "SPUPROJ_BACKEND must be one of cpu, cuda, triton, torch, got 'nonsense'"
    assert lines_of(run)["cpu tensors"] == f"none: {message}"
    assert last_error(run) == f"RuntimeError: {message}"


def test_without_the_compiled_module_the_torch_backend_serves_and_the_report_says_why():
    run = run_python("\n".join((WITHOUT_COMPILED, PROJECT, REPORT)), SPUPROJ_BACKEND="")
    assert run.returncode == 0, run.stderr
    lines = lines_of(run)
    missing = "the compiled module spuproj._cpu does not import"
    assert lines["backend cpu"].startswith(missing)
    assert lines["cpu tensors"].startswith(f"torch (the cpu backend is missing: {missing}")
    assert lines["simd"] == "none"


def test_asking_for_the_missing_backend_is_an_error_that_says_what_is_missing():
    run = run_python(f"{WITHOUT_COMPILED}\n{PROJECT}", SPUPROJ_BACKEND="cpu")
    assert last_error(run).startswith(
        "RuntimeError: SPUPROJ_BACKEND asks for the 'cpu' backend, which is missing: the compiled module spuproj._cpu"
    )
