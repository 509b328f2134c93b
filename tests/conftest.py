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

# The training layer needs more packages, which a machine for GPU tests may lack.
_NEEDS = {
    "core/monai": ("monai", "nibabel", "nilearn"),
    "cli": ("monai", "nibabel", "nilearn"),
    "training": ("monai", "nibabel", "nilearn"),
    "benchmarks/test_training.py": ("monai", "nibabel", "nilearn"),
}
collect_ignore = [name for name, packages in _NEEDS.items() if not all(map(find_spec, packages))]


def pytest_report_header() -> str | None:
    return f"left out, since their packages are not installed: {', '.join(collect_ignore)}" if collect_ignore else None


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
