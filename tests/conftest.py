import os

import torch

# Triton reads it when it is imported, which other packages may do first.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

from helpers import BACKENDS  # noqa: E402

# Each xdist worker has one core: more torch threads than that would fight over it.
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)

settings.register_profile("spuproj", deadline=None, max_examples=40, print_blob=True)
settings.load_profile("spuproj")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=list(BACKENDS), scope="session")
def backend(request):
    return BACKENDS[request.param]


@pytest.fixture
def keep_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
