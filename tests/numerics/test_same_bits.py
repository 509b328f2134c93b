"""Results and gradients have the same bits for all numbers of threads, parts of a batch and layouts in memory."""

import pytest
import torch

from helpers import LINEAR, READS, noise, parts, random_geometry, same_bits, source_shape, target_size

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
LABELS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)
SIZE, VIEW_SIZE = (20, 23), (22, 19)
each_dtype = pytest.mark.parametrize(
    "dtype",
    # float32 and bfloat16 stand for the others in continuous integration: arithmetic in float64 is the same code.
    [
        dtype if dtype in (torch.float32, torch.bfloat16) else pytest.param(dtype, marks=pytest.mark.slow)
        for dtype in DTYPES
    ],
    ids=str,
)
each_op = pytest.mark.parametrize("op", READS)


def case(op, dtype, size=SIZE, view_size=VIEW_SIZE, batch=5, views=2, channels=5):
    """A tensor for the op, a geometry for each sample, and the gradients that flow back into the results."""
    tables = [random_geometry(n, size, view_size, "gnomonic", "equidistant", views).table() for n in range(batch)]
    shape = source_shape(op, views, size, view_size, batch, channels)
    wanted = target_size(op, size, view_size)
    result = (batch, channels) if op in ("project_adjoint", "unproject_reduce") else (batch, views, channels)
    pulls = [noise(*result, *wanted, seed=seed, dtype=dtype) for seed in ((1,) if op in LINEAR else (1, 2))]
    return noise(*shape, dtype=dtype), torch.stack(tables), pulls


def outcome(op, tensor, table, pulls):
    """The results of an op, and the gradients with respect to what it reads and to the geometry."""
    source, geometry = tensor.detach().requires_grad_(), table.detach().requires_grad_()
    results = parts(getattr(torch.ops.spuproj, op)(source, geometry, tuple(pulls[0].shape[-2:])))
    torch.autograd.backward(results[: len(pulls)], pulls)
    return *results, source.grad, geometry.grad


@each_dtype
@each_op
@pytest.mark.usefixtures("keep_threads")
def test_threads_make_no_difference(op, dtype):
    """The images are so large that torch, too, would share out the sums that lead to the geometry's gradient."""
    given = case(op, dtype, (190, 180), (185, 181), 1, 1, 6)
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found.append(outcome(op, *given))
    assert same_bits(*found)


@pytest.mark.usefixtures("keep_threads")
def test_threads_make_no_difference_to_an_image_of_one_row():
    given = case("project", torch.float64, (3, 40000), (1, 40000), 1, 1, 1)
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found.append(outcome("project", *given))
    assert found[0][-1].abs().max() > 0
    assert same_bits(*found)


@each_dtype
@each_op
def test_a_batch_in_parts_gives_the_same(op, dtype):
    tensor, tables, pulls = case(op, dtype)
    together = outcome(op, tensor, tables, pulls)
    cuts = [slice(0, 2), slice(2, 3), slice(3, 5)]
    apart = [outcome(op, tensor[cut], tables[cut], [pull[cut] for pull in pulls]) for cut in cuts]
    assert same_bits(together, tuple(map(torch.cat, zip(*apart, strict=True))))


@each_dtype
@each_op
def test_channels_one_by_one_give_the_same(op, dtype):
    """21 channels: kernels of 16, 4 and 1 planes. Only the geometry's gradient is a sum over channels."""
    tensor, tables, pulls = case(op, dtype, batch=1, channels=21)
    together = outcome(op, tensor, tables[0], pulls)[:-1]
    apart = [
        outcome(op, tensor.narrow(-3, c, 1), tables[0], [pull.narrow(-3, c, 1) for pull in pulls])[:-1]
        for c in range(21)
    ]
    assert same_bits(together, tuple(torch.cat(each, -3) for each in zip(*apart, strict=True)))


LAYOUTS = {
    "channels_last": lambda t: t.movedim(-3, -1).contiguous().movedim(-1, -3),
    "batch_last": lambda t: t.movedim(0, -1).contiguous().movedim(-1, 0),
    "transposed": lambda t: t.mT.contiguous().mT,
    "cropped": lambda t: torch.nn.functional.pad(t, (1, 2, 2, 1))[..., 2:-1, 1:-2],
    "offset": lambda t: torch.cat([t.new_zeros(3), t.flatten()])[3:].view_as(t),
}


@each_dtype
@each_op
def test_layouts_of_the_tensor_the_geometry_and_the_gradients_make_no_difference(op, dtype):
    tensor, tables, pulls = case(op, dtype, batch=2)
    expected = outcome(op, tensor, tables, pulls)
    for name, layout in LAYOUTS.items():
        table = torch.stack([tables, tables + 1], -1)[..., 0]
        assert same_bits(outcome(op, layout(tensor), table, [layout(pull) for pull in pulls]), expected), name


@pytest.mark.parametrize("dtype", LABELS, ids=str)
@pytest.mark.parametrize("op", ["project", "unproject"])
@pytest.mark.usefixtures("keep_threads")
def test_label_maps_are_the_same_for_all_threads_parts_and_layouts(op, dtype):
    tensor, tables, pulls = case(op, torch.float64, (190, 180), (185, 181), 3, 2, 3)
    labels, wanted = (tensor * 3).to(dtype), tuple(pulls[0].shape[-2:])

    def run(labels, tables):
        return getattr(torch.ops.spuproj, op)(labels, tables, wanted, "nearest")

    torch.set_num_threads(1)
    expected = run(labels, tables)
    torch.set_num_threads(3)
    assert torch.equal(run(labels, tables), expected)
    assert torch.equal(torch.cat([run(labels[n : n + 1], tables[n : n + 1]) for n in range(3)]), expected)
    assert all(torch.equal(run(layout(labels), tables), expected) for layout in LAYOUTS.values())
