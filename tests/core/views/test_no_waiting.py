"""Making and adding views on a GPU does not wait for it: shown without one, by tensors without values."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from spuproj import Views
from spuproj.geometry import Geometry

TABLE = Views.spherical((16, 12), grid=(2, 2)).geometry


USES = {
    "from parameters": lambda views: Views(Geometry.from_table(views.geometry), views.size),
    "from a table": lambda views: Views.from_table(views.geometry, views.size),
    "added": lambda views: views + views,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_nothing_waits_for_the_device(use):
    # Reading a value, which waits on a GPU, raises an error for tensors without values.
    with FakeTensorMode(allow_non_fake_inputs=True):
        there = Views.from_table(torch.empty(TABLE.shape, dtype=torch.float64, device="cuda"), (16, 12))
        assert use(there).geometry.device.type == "cuda"
