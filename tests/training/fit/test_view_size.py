"""The size of the views that a network is trained on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spuproj.training.fit.train import network_size
from spuproj.training.models.method import load_method


# 44 times 1.1 is 48.4, which counts as 48.
@pytest.mark.parametrize(("given", "oversampling", "side"), [(30, 1, 32), (30, 1.5, 48), (30, 0.5, 16), (44, 1.1, 48)])
def test_views_are_of_the_methods_oversampling_and_what_the_network_divides(given, oversampling, side):
    assert network_size((given, 26), replace(load_method("spu"), oversampling=oversampling))[0] == side
