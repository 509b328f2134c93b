"""The registered ops under PyTorch's transforms: opcheck, compile, export, vmap, func, autocast."""

import pytest
import torch
from torch import nn
from torch.library import opcheck
from torch.testing import assert_close

from helpers import VARIANTS, each_op, noise, parts, random_geometry, source_shape, target_size
from spuproj import Views, functional

SIZE, VIEW_SIZE = (6, 7), (5, 8)
OPS = torch.ops.spuproj


def shared_table(seed=0, views=2):
    return random_geometry(seed, SIZE, VIEW_SIZE, "gnomonic", "equidistant", views=views).table()


def table_per_sample(batch=2, views=2):
    return torch.stack([shared_table(seed, views) for seed in range(batch)])


each_sharing = pytest.mark.parametrize("table_of", [shared_table, table_per_sample])


def reduce_backward_inputs(table, dtype=torch.float32):
    views = noise(2, 2, 3, *VIEW_SIZE, dtype=dtype)
    mean, _, count = OPS.unproject_reduce(views, table, SIZE)
    return noise(*mean.shape, seed=1, dtype=dtype), noise(*mean.shape, seed=2, dtype=dtype), views, mean, count


# Every op with both, bilinear and nearest with both, constant and border with both.
@pytest.mark.parametrize(
    ("op", "options", "table_of"),
    [
        (op, options, (shared_table, table_per_sample)[(options[0] == "nearest") ^ (options[-1] == "border")])
        for op, options in VARIANTS.values()
    ],
    ids=VARIANTS,
)
def test_opcheck(op, options, table_of):
    tensor = noise(*source_shape(op, 2, SIZE, VIEW_SIZE)).requires_grad_()
    opcheck(getattr(OPS, op).default, (tensor, table_of(), target_size(op, SIZE, VIEW_SIZE), *options))


@each_sharing
def test_opcheck_of_the_backward_of_reduce(table_of):
    table = table_of()
    grad_mean, grad_variance, views, mean, count = reduce_backward_inputs(table)
    differentiable = [tensor.detach().requires_grad_() for tensor in (grad_mean, grad_variance, views, mean)]
    opcheck(OPS.unproject_reduce_backward.default, (*differentiable[:3], table, differentiable[3], count))


@pytest.mark.parametrize("op", ["project", "unproject"])
def test_opcheck_of_label_maps(op):
    labels = noise(*source_shape(op, 2, SIZE, VIEW_SIZE)).to(torch.int16)
    opcheck(getattr(OPS, op).default, (labels, shared_table(), target_size(op, SIZE, VIEW_SIZE), "nearest"))


class Consensus(nn.Module):
    """A network between projection and reduction, as it is trained."""

    def __init__(self):
        super().__init__()
        self.views = Views.spherical(SIZE, grid=(2, 2), magnification=0.8, view_size=VIEW_SIZE)
        self.network = nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, image):
        stack = self.views.project(image)
        probability = torch.sigmoid(self.network(stack.flatten(0, 1)))
        mean, variance, _ = self.views.reduce(probability.unflatten(0, stack.shape[:2]))
        return mean, variance


def result_and_gradients(call, module, image):
    image = image.clone().requires_grad_()
    outputs = call(image)
    loss = sum((n + 1) * output.square().sum() for n, output in enumerate(outputs))
    return outputs, torch.autograd.grad(loss, [image, *module.parameters()])


@pytest.fixture
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_forward_and_backward_equal_eager(dynamic):
    module = Consensus()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for batch in (2, 3):
        image = noise(batch, 3, *SIZE)
        expected = result_and_gradients(module, module, image)
        assert_close(result_and_gradients(compiled, module, image), expected)


@pytest.mark.usefixtures("fresh_compiler")
def test_one_dynamic_graph_serves_every_image_size():
    table = shared_table()
    graphs = []

    def count(graph, _):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(
        lambda image: functional.project(image, table), fullgraph=True, backend=count, dynamic=True
    )
    for height, width in ((6, 7), (9, 5), (12, 12)):
        image = noise(2, 3, height, width)
        assert torch.equal(compiled(image), functional.project(image, table))
    assert len(graphs) == 1


@pytest.mark.filterwarnings("ignore::UserWarning:torch")
@pytest.mark.usefixtures("fresh_compiler")
def test_inductor_compiles_a_module_that_holds_views():
    module = Consensus()
    image = noise(2, 3, *SIZE)
    expected = result_and_gradients(module, module, image)
    compiled = torch.compile(module, fullgraph=True)
    assert_close(result_and_gradients(compiled, module, image), expected, rtol=1e-4, atol=1e-5)


def test_export_keeps_the_views(tmp_path):
    module = Consensus()
    image = noise(2, 3, *SIZE)
    torch.export.save(torch.export.export(module, (image,)), tmp_path / "module.pt2")
    program = torch.export.load(tmp_path / "module.pt2").module()
    assert_close(program(image), module(image))


def unbatched(tensor, dim):
    return [tensor] * 3 if dim is None else tensor.unbind(dim)


@each_op
@pytest.mark.parametrize(("at", "table_at"), [(0, None), (2, None), (None, 0), (1, 0), (0, 1)])
@pytest.mark.parametrize("sharing", ["shared", "per_sample"])
def test_vmap_equals_a_loop(op, at, table_at, sharing):
    wanted = target_size(op, SIZE, VIEW_SIZE)
    tensor = noise(*source_shape(op, 2, SIZE, VIEW_SIZE))
    if at is not None:
        tensor = torch.stack([tensor, 2 * tensor, tensor + 1], dim=at)
    table = shared_table() if sharing == "shared" else table_per_sample()
    if table_at is not None:
        table = torch.stack([table, table.flip(-2), table[..., :1, :].expand_as(table)], dim=table_at)

    def run(tensor, table):
        return parts(getattr(OPS, op)(tensor, table, wanted))

    mapped = torch.vmap(run, in_dims=(at, table_at))(tensor, table)
    singly = [run(*pair) for pair in zip(unbatched(tensor, at), unbatched(table, table_at), strict=True)]
    assert_close(mapped, tuple(map(torch.stack, zip(*singly, strict=True))))


@pytest.mark.parametrize(
    "in_dims", [(0, 0, 0, None, 0, 0), (0, None, 0, None, 0, 0), (None, None, None, 0, None, None)]
)
def test_vmap_of_the_backward_of_reduce_equals_a_loop(in_dims):
    tables = torch.stack([shared_table(), shared_table().flip(0)])
    grad_mean, grad_variance, views, mean, count = reduce_backward_inputs(tables[0])
    inputs = (grad_mean, grad_variance, views, tables[0], mean, count)
    stacked = [
        value if dim is None else torch.stack([value, value.flip(0)])
        for value, dim in zip(inputs, in_dims, strict=True)
    ]
    if in_dims[3] == 0:
        stacked[3] = tables
    mapped = torch.vmap(OPS.unproject_reduce_backward, in_dims=in_dims)(*stacked)
    for n in range(2):
        one = [value if dim is None else value[n] for value, dim in zip(stacked, in_dims, strict=True)]
        assert_close(mapped[n], OPS.unproject_reduce_backward(*one))


@pytest.mark.parametrize("op", ["project", "unproject"])
def test_vmap_of_label_maps_keeps_their_dtype(op):
    labels = noise(3, *source_shape(op, 2, SIZE, VIEW_SIZE)).to(torch.int16)
    wanted = target_size(op, SIZE, VIEW_SIZE)
    mapped = torch.vmap(lambda tensor: getattr(OPS, op)(tensor, shared_table(), wanted, "nearest"))(labels)
    assert torch.equal(
        mapped, torch.stack([getattr(OPS, op)(one, shared_table(), wanted, "nearest") for one in labels])
    )


@each_op
def test_gradients_flow_through_vmap(op):
    wanted = target_size(op, SIZE, VIEW_SIZE)
    tensors = noise(3, *source_shape(op, 2, SIZE, VIEW_SIZE), dtype=torch.float64).requires_grad_()

    def loss(tensor):
        return sum(part.square().sum() for part in parts(getattr(functional, op)(tensor, shared_table(), wanted))[:2])

    (mapped,) = torch.autograd.grad(torch.vmap(loss)(tensors).sum(), tensors)
    (looped,) = torch.autograd.grad(sum(loss(tensor) for tensor in tensors), tensors)
    assert_close(mapped, looped)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@each_op
def test_autocast_takes_float32(op, dtype):
    tensor = noise(*source_shape(op, 2, SIZE, VIEW_SIZE), dtype=dtype).requires_grad_()
    run, wanted = getattr(OPS, op), target_size(op, SIZE, VIEW_SIZE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        results = parts(run(tensor, shared_table(), wanted))
    expected = parts(run(tensor.detach().float(), shared_table(), wanted))
    assert_close(results, expected, rtol=0, atol=0)
    results[0].sum().backward()
    assert tensor.grad.dtype == dtype


def test_autocast_keeps_float64_and_label_maps():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert functional.project(noise(1, 1, *SIZE, dtype=torch.float64), shared_table()).dtype == torch.float64
        labels = torch.ones(1, 1, *SIZE, dtype=torch.uint8)
        assert functional.project(labels, shared_table(), interpolation="nearest").dtype == torch.uint8


def test_a_network_trains_under_autocast():
    module = Consensus()
    image = noise(2, 3, *SIZE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (mean, variance), gradients = result_and_gradients(module, module, image)
    assert mean.dtype == variance.dtype == torch.float32
    _, expected = result_and_gradients(module, module, image)
    assert_close(gradients, expected, rtol=0.1, atol=0.1)
    assert all(gradient.count_nonzero() > 0 for gradient in gradients)
