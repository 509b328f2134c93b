"""The report of versions, backends and SIMD level, and the choice of a backend by SPUPROJ_BACKEND."""

import re

import spuproj
from processes.forked import run_forked
from spuproj.backends import cpu

PROJECT = "import torch; from spuproj import Views; Views.rigid((2, 2)).project(torch.ones(1, 1, 2, 2))"
WITHOUT_COMPILED = "import sys; sys.modules['spuproj._cpu'] = None"
REPORT = "from spuproj import info; print(info.text())"


def lines_of(run):
    return dict(re.split(r"\s{2,}", line, maxsplit=1) for line in run.stdout.splitlines())


def last_error(run):
    return run.stderr.strip().splitlines()[-1]


def test_the_report_tells_versions_backend_simd_level_and_threads():
    run = run_forked(REPORT, SPUPROJ_BACKEND="", SPUPROJ_SIMD="")
    lines = lines_of(run)
    assert {"spuproj", "python", "platform", "torch", "numpy"} <= set(lines), run.stderr
    assert lines["spuproj"] == spuproj.__version__
    assert lines["backend cpu"] == lines["backend torch"] == "available"
    assert lines["cpu tensors"] == "cpu (fastest for cpu tensors)"
    assert lines["simd"] == f"{cpu.simd_levels()[-1]} (this processor has {', '.join(cpu.simd_levels())})"
    assert int(lines["threads"]) >= 1


def test_the_variable_chooses_the_backend():
    cached = "from spuproj.backends import cpu; print(f'taps  {len(cpu.backend.prepared)}')"
    run = run_forked("\n".join((REPORT, PROJECT, cached)), SPUPROJ_BACKEND="torch")
    lines = lines_of(run)
    assert lines["cpu tensors"] == "torch (SPUPROJ_BACKEND=torch)", run.stderr
    assert lines["taps"] == "0"


def test_an_unknown_backend_is_an_error_that_names_the_choices():
    run = run_forked(f"{REPORT}\n{PROJECT}", SPUPROJ_BACKEND="nonsense")
    message = "SPUPROJ_BACKEND must be one of cpu, cuda, triton, torch, got 'nonsense'"
    assert lines_of(run)["cpu tensors"] == f"none: {message}"
    assert last_error(run) == f"RuntimeError: {message}"


def test_without_the_compiled_module_the_torch_backend_serves_and_the_report_says_why():
    run = run_forked("\n".join((WITHOUT_COMPILED, PROJECT, REPORT)), SPUPROJ_BACKEND="")
    assert run.returncode == 0, run.stderr
    lines = lines_of(run)
    missing = "the compiled module spuproj._cpu does not import"
    assert lines["backend cpu"].startswith(missing)
    assert lines["cpu tensors"].startswith(f"torch (the cpu backend is missing: {missing}")
    assert lines["simd"] == "none"


def test_asking_for_the_missing_backend_is_an_error_that_says_what_is_missing():
    run = run_forked(f"{WITHOUT_COMPILED}\n{PROJECT}", SPUPROJ_BACKEND="cpu")
    assert last_error(run).startswith(
        "RuntimeError: SPUPROJ_BACKEND asks for the 'cpu' backend, which is missing: the compiled module spuproj._cpu"
    )
