"""Which backend is chosen for which tensors, and the messages if one is missing."""

import re

import pytest
import torch

from backends_under_test import GPU
from processes.forked import run_forked
from spuproj import backends, info
from spuproj.backends import cuda


@pytest.fixture
def machine(monkeypatch):
    """A machine that has, or lacks, a GPU, the compiled CUDA module, and Triton."""

    def make(*, gpu=True, compiled=True, triton=True, problem=None):
        monkeypatch.delenv("SPUPROJ_BACKEND", raising=False)
        monkeypatch.setattr(cuda, "MISSING", None if compiled else "the module is not there")
        monkeypatch.setattr(cuda, "problem", lambda index: problem)
        monkeypatch.setattr(backends, "find_spec", lambda name: object() if triton else None)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)

    return make


@pytest.mark.parametrize(
    ("has", "expected"),
    [
        ({}, ("cuda", "fastest for cuda tensors")),
        ({"compiled": False}, ("triton", "the cuda backend is missing: the module is not there")),
        ({"problem": "the driver is too old"}, ("triton", "the cuda backend is missing: the driver is too old")),
        (
            {"compiled": False, "triton": False},
            (
                "torch",
                "the cuda backend is missing: the module is not there; the triton backend is missing: "
                "the package triton is not installed; pip install triton",
            ),
        ),
    ],
    ids=["compiled", "triton", "kernels that cannot run", "neither"],
)
def test_gpu_tensors_go_to_the_fastest_backend_that_is_there(machine, has, expected):
    machine(**has)
    assert backends.choose("cuda") == expected


def test_the_report_says_why_kernels_cannot_run(machine):
    machine(problem="no kernel image is available for execution on the device")
    lines = info.report()
    assert lines["backend cuda"] == "no kernel image is available for execution on the device"
    assert lines["cuda tensors"] == f"triton (the cuda backend is missing: {lines['backend cuda']})"


def test_the_kernels_built_for_the_cpu_have_no_problem():
    assert pytest.importorskip("spuproj._cuda_host").problem() == ""


def test_other_devices_go_to_torch(machine):
    machine()
    assert backends.choose("mps") == ("torch", "no kernels for mps")


@pytest.mark.parametrize("name", ["cuda", "triton", "torch"])
def test_the_variable_overrules_for_the_devices_that_a_backend_serves(machine, monkeypatch, name):
    machine()
    monkeypatch.setenv("SPUPROJ_BACKEND", name)
    assert backends.choose("cuda") == (name, f"SPUPROJ_BACKEND={name}")
    if name != "torch":
        message = f"SPUPROJ_BACKEND asks for the {name!r} backend, which does not serve cpu tensors"
        with pytest.raises(RuntimeError, match=re.escape(message)):
            backends.choose("cpu")


def test_asking_for_a_gpu_backend_without_a_gpu_is_an_error_that_says_so(machine, monkeypatch):
    machine(gpu=False)
    monkeypatch.setenv("SPUPROJ_BACKEND", "triton")
    message = "SPUPROJ_BACKEND asks for the 'triton' backend, which is missing: torch sees no GPU"
    with pytest.raises(RuntimeError, match=message):
        backends.choose("cuda")


def test_a_build_without_cuda_says_how_to_get_it():
    without = "import sys; sys.modules['spuproj._cuda'] = None; from spuproj import backends; "
    run = run_forked(without + "print(backends.missing('cuda'))")
    assert run.stdout.startswith("the compiled module spuproj._cuda does not import"), run.stderr
    assert "build spuproj from source where nvcc is found" in run.stdout


def test_the_cuda_module_imports_without_a_gpu_and_fails_by_name_when_it_is_called():
    if GPU:
        pytest.skip("there is a GPU")
    module = pytest.importorskip("spuproj._cuda")
    planes, taps = (0, 0, 0, 0, 1), module.Taps(0, 0, 0, 1, 1, 1, 1, 0)
    with pytest.raises(RuntimeError, match=r"^the CUDA kernel gather could not be started on cuda:-?\d+: "):
        module.gather(0, 0, 0, (1, 1, 1), taps, planes, planes, 0.0)
