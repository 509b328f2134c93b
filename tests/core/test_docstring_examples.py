"""The examples in docstrings give the shown results."""

import doctest
from importlib import import_module

import pytest
import torch

from spuproj import Views

WITH_EXAMPLES = {
    "spuproj.views": {"Views.spherical", "Views.project", "Views.reduce"},
    "spuproj.functional": {"project"},
    "spuproj.uncertainty": {"entropy", "qu_brats"},
    "spuproj.monai.rand_view": {"RandViewd"},
    "spuproj.monai.views_inferer": {"ViewsInferer"},
}
"""The functions that users call first, by module: each has an example."""


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_run_and_are_there(module):
    examples = [test for test in doctest.DocTestFinder().find(import_module(module)) if test.examples]
    assert WITH_EXAMPLES[module] <= {test.name.removeprefix(f"{module}.") for test in examples}
    for example in examples:
        example.globs |= {"torch": torch, "Views": Views}
        assert doctest.DocTestRunner().run(example).failed == 0, example.name
