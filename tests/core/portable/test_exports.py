"""What portable views make possible: ONNX through onnxruntime, TorchScript, and programs that load without spuproj."""

import onnxruntime
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from helpers import noise
from processes.forked import run_forked
from spuproj import Prediction, Views, wrap

SIZE = (20, 26)
X = noise(2, 2, *SIZE)
VIEWS = Views.zoom(SIZE, centers=[(5, 5), (6, 12), (9, 11), (11, 16)], factor=1.3, view_size=(18, 22))

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]


def wrapped(views, **options):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1))
    return wrap(network, views, **options).eval()


def through_onnxruntime(module, x, path, **options):
    torch.onnx.export(module, (X,), path, dynamo=True, verbose=False, **options)
    session = onnxruntime.InferenceSession(path)
    results = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    return [torch.from_numpy(result) for result in results]


def assert_agree(found, wanted, atol):
    tensors = ([part for part in parts if part is not None] for parts in (found, wanted))
    for one, other in zip(*tensors, strict=True):
        assert_close(one, other, rtol=0, atol=atol, equal_nan=True)


@pytest.mark.parametrize(
    "options", [{"activation": "softmax", "members": True}, {"chunk": 3}], ids=["classes", "chunks"]
)
def test_onnxruntime_gives_the_maps_of_a_wrapped_network(options, tmp_path):
    with torch.no_grad():
        found = through_onnxruntime(wrapped(VIEWS.portable(), **options), 2 * X, tmp_path / "maps.onnx")
        assert_agree(found, wrapped(VIEWS.portable(), **options)(2 * X), atol=1e-6)
        assert_agree(found, wrapped(VIEWS, **options)(2 * X), atol=1e-5)


class ThereAndBack(nn.Module):
    def __init__(self):
        super().__init__()
        self.views = VIEWS.portable()

    def forward(self, image):
        stack = self.views.project(image)
        return stack, self.views.unproject(stack), *self.views.reduce(stack)


def test_onnxruntime_gives_what_views_give(tmp_path):
    image = noise(2, 2, *SIZE, seed=5).sigmoid()
    stack = VIEWS.project(image)
    wanted = stack, VIEWS.unproject(stack), *VIEWS.reduce(stack)
    assert_agree(through_onnxruntime(ThereAndBack().eval(), image, tmp_path / "views.onnx"), wanted, atol=1e-5)


@pytest.mark.parametrize("members", [False, True])
def test_a_wrapped_network_is_traced_to_torchscript(members):
    model = wrapped(VIEWS.portable(), members=members)
    with torch.no_grad():
        traced = torch.jit.trace(model, X)
    assert_agree(Prediction(*traced(2 * X)), model(2 * X), atol=1e-6)


def test_an_exported_program_of_portable_views_loads_without_spuproj(tmp_path):
    model = wrapped(VIEWS.portable())
    torch.export.save(torch.export.export(model, (X,)), tmp_path / "maps.pt2")
    torch.save([X, model(X).mean.detach()], tmp_path / "wanted.pt")
    code = """
import sys, torch
x, mean = torch.load("wanted.pt")
found = torch.export.load("maps.pt2").module()(x)
assert "spuproj" not in sys.modules
torch.testing.assert_close(found[0], mean)
"""
    run = run_forked(code, folder=tmp_path)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("views", [VIEWS, VIEWS.portable()], ids=["kernels", "portable"])
def test_an_exported_program_takes_batches_of_any_size_and_can_be_saved(views, tmp_path):
    model = wrapped(views, activation="softmax")
    exported = torch.export.export(model, (X,), dynamic_shapes={"x": {0: torch.export.Dim("batch", min=1, max=64)}})
    torch.export.save(exported, tmp_path / "maps.pt2")
    x = noise(5, 2, *SIZE)
    found = torch.export.load(tmp_path / "maps.pt2").module()(x)
    assert_agree(Prediction(*found), model(x), atol=1e-6)
