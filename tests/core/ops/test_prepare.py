"""views.prepare computes ahead what later calls read; names are checked; on the CPU it does nothing."""

import pytest
import torch

from backends_under_test import host_twin
from helpers import noise
from small_views import four_views
from spuproj.ops import prepare as ahead
from spuproj.ops import registration


@pytest.fixture
def backend(monkeypatch):
    """The GPU backend with its kernels on the CPU, which records for which samplings it computes taps."""
    twin, made = host_twin(), []
    make = twin.kernels.taps
    monkeypatch.setattr(twin.kernels, "taps", lambda *given: made.append(given[1]) or make(*given))
    for module in (ahead, registration):
        monkeypatch.setattr(module, "backend_for", lambda device: twin)
    return twin, made


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("padding", ["constant", "border"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_later_calls_compute_no_taps(backend, interpolation, padding, dtype):
    views = four_views()
    views.prepare(interpolation=interpolation, padding=padding, dtype=dtype, backward=True)
    assert len(backend[1]) == 2
    image = noise(2, 3, *views.size).to(dtype).requires_grad_()
    stack = views.project(image, interpolation=interpolation, padding=padding)
    mean, variance, _ = views.reduce(stack, interpolation=interpolation)
    (mean.sum() + variance.sum()).backward()
    views.unproject(stack, interpolation=interpolation)
    assert len(backend[1]) == 2


def test_names_are_checked():
    with pytest.raises(ValueError, match="interpolation must be one of bilinear, nearest, got 'cubic'"):
        four_views().prepare(interpolation="cubic")
    with pytest.raises(ValueError, match="padding must be one of constant, border, got 'zeros'"):
        four_views().prepare(padding="zeros")


def test_on_the_cpu_it_gives_the_views_as_they_are():
    views = four_views()
    assert views.prepare(backward=True) is views
