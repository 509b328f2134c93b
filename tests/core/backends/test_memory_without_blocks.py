"""Results of a torch without the C exchange interface of DLPack: ordinary tensors, and the same messages."""

from processes.forked import run_forked

START = """
import torch
vars(torch.Tensor).get("__dlpack_c_exchange_api__") and delattr(torch.Tensor, "__dlpack_c_exchange_api__")
from spuproj import Views
from spuproj.backends import memory
views, image = Views.spherical((256, 256), grid=(1, 2)), torch.arange(2.0 * 256 * 256).view(1, 2, 256, 256)
"""


def test_results_are_ordinary_tensors():
    run = run_forked(
        START
        + "first, second = views.project(image), views.project(image)\n"
        + "print(memory.AVAILABLE, memory.kept(), torch.equal(first, second), first.untyped_storage().resizable())"
    )
    assert run.stdout.split() == ["False", "0", "True", "True"], run.stderr


def test_a_variable_that_is_no_size_is_refused_by_name_with_and_without_the_interface():
    for start in ("", START):
        code = "import torch; from spuproj import Views\n" + start
        code += "Views.rigid((1024, 1024)).project(torch.ones(1, 1, 1024, 1024))"
        run = run_forked(code, SPUPROJ_CACHE_LIMIT="lots")
        assert "SPUPROJ_CACHE_LIMIT must be a number of MiB, finite and not negative, got 'lots'" in run.stderr
