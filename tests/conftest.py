import gc
import os
from collections.abc import Iterator
from importlib.util import find_spec

import torch

# Triton reads this variable when it is imported, possibly by another package, so it is set here.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

import pytest
from hypothesis import settings

from backends_under_test import BACKENDS, OpsOn

_TRAINING = ("monai", "nibabel", "nilearn", "pydantic", "pytorch_lightning", "SimpleITK")
_NEEDS = {
    "benchmarks/test_contenders.py": ("cv2", "kornia", "monai"),
    "benchmarks/test_real.py": _TRAINING,
    "benchmarks/test_training.py": _TRAINING,
    "cli": _TRAINING,
    "core/inputs/test_numpy_arrays.py": ("nibabel",),
    "core/inputs/test_tensor_subclasses.py": ("monai",),
    "core/monai": _TRAINING,
    "core/portable/test_exports.py": ("onnx", "onnxruntime", "onnxscript"),
    "core/views/test_round_trip.py": ("nilearn",),
    "fuzz_readers": (*_TRAINING, "pydicom", "highdicom", "huggingface_hub"),
    "nnunet": (*_TRAINING, "nnunetv2"),
    "security": (*_TRAINING, "pydicom", "highdicom", "huggingface_hub"),
    "test_examples.py": (*_TRAINING, "onnxruntime"),
    "training": _TRAINING,
}
"""Test files and folders that need packages beyond torch and its usual company, which a GPU machine may lack."""

_LACKING = {path: [name for name in names if find_spec(name) is None] for path, names in _NEEDS.items()}
collect_ignore = [path for path, names in _LACKING.items() if names]


def pytest_report_header() -> list[str]:
    return [f"not run: tests/{path}, which needs {', '.join(names)}" for path, names in _LACKING.items() if names]


def pytest_collection_finish() -> None:
    """What was imported and collected stays: the garbage collector need not go through a million objects each time."""
    gc.collect()
    gc.freeze()


# Each xdist worker has one core; more torch threads would compete for it.
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)

settings.register_profile("spuproj", deadline=None, max_examples=40, print_blob=True)
settings.load_profile("spuproj")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=list(BACKENDS), scope="session")
def backend(request: pytest.FixtureRequest) -> OpsOn:
    return BACKENDS[request.param]


@pytest.fixture
def keep_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
