import pytest
import torch
from helpers import BACKENDS
from hypothesis import settings

settings.register_profile("spuproj", deadline=None, max_examples=40, print_blob=True)
settings.load_profile("spuproj")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=list(BACKENDS))
def backend(request):
    return BACKENDS[request.param]


@pytest.fixture
def keep_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
