"""Strides, offsets and sizes of the tensors that the ops take make no difference to what they return."""

import pytest
import torch
from torch.testing import assert_close

from helpers import each_op, each_variant, noise, parts, random_geometry, ref, same_bits, source_shape, target_size
from spuproj import Views

SIZE, VIEW_SIZE = (6, 7), (5, 8)
TABLE = random_geometry(0, SIZE, VIEW_SIZE, "gnomonic", "equidistant", views=3).table()


def expanded(axis):
    return lambda tensor: tensor.narrow(axis, 0, 1).expand_as(tensor)


LAYOUTS = {
    "every_second_column": lambda t: torch.stack([t, t + 1], dim=-1).flatten(-2)[..., ::2],
    "every_second_row": lambda t: torch.stack([t, t + 1], dim=-2).flatten(-3, -2)[..., ::2, :],
    "cropped": lambda t: torch.nn.functional.pad(t, (1, 2, 2, 1))[..., 2:-1, 1:-2],
    "transposed": lambda t: t.mT.contiguous().mT,
    "channels_last": lambda t: t.movedim(-3, -1).contiguous().movedim(-1, -3),
    "batch_last": lambda t: t.movedim(0, -1).contiguous().movedim(-1, 0),
    "batch_and_channels_swapped": lambda t: t.transpose(0, -3).contiguous().transpose(0, -3),
    "slice_of_channels": lambda t: torch.cat([t, t + 1, t], dim=-3).narrow(-3, t.shape[-3], t.shape[-3]),
    "slice_of_axis_1": lambda t: torch.cat([t + 1, t], dim=1)[:, t.shape[1] :],
    "storage_offset": lambda t: torch.cat([t.new_zeros(7), t.flatten()])[7:].view_as(t),
    "flipped": lambda t: t.flip(-1, -2),
    "expanded_batch": expanded(0),
    "expanded_axis_1": expanded(1),
    "expanded_channels": expanded(-3),
    "expanded_rows": expanded(-2),
    "expanded_columns": expanded(-1),
    "one_number": lambda t: t.flatten()[:1].expand(t.numel()).as_strided(t.shape, [0] * t.dim()),
}
each_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def dense(tensor):
    return tensor.clone(memory_format=torch.contiguous_format)


@each_op
@each_layout
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_strides_make_no_difference(backend, op, layout, interpolation):
    tensor = layout(noise(*source_shape(op, 3, SIZE, VIEW_SIZE)))
    options = (interpolation, "constant") if op.startswith("project") else (interpolation,)
    run, wanted = getattr(backend, op), target_size(op, SIZE, VIEW_SIZE)
    assert same_bits(parts(run(tensor, TABLE, wanted, *options)), parts(run(dense(tensor), TABLE, wanted, *options)))


@each_layout
def test_strides_make_no_difference_to_the_backward_of_reduce(backend, layout):
    views = layout(noise(2, 3, 3, *VIEW_SIZE))
    mean, variance, count = (
        layout(dense(part)) for part in backend.unproject_reduce(dense(views), TABLE, SIZE, "bilinear")
    )
    grads = layout(noise(*mean.shape, seed=1)), layout(variance)
    # Expanded layouts repeat one pixel's count, perhaps 0, for pixels that views show: do not divide by it.
    count = count.clamp(min=1)
    expected = backend.unproject_reduce_backward(
        *map(dense, grads), dense(views), TABLE, dense(mean), dense(count), "bilinear"
    )
    assert torch.equal(backend.unproject_reduce_backward(*grads, views, TABLE, mean, count, "bilinear"), expected)


@each_op
@each_layout
def test_strides_of_gradients_make_no_difference(op, layout):
    tensor = noise(*source_shape(op, 3, SIZE, VIEW_SIZE)).requires_grad_()
    result = parts(getattr(torch.ops.spuproj, op)(tensor, TABLE, target_size(op, SIZE, VIEW_SIZE)))[:2]
    grads = [layout(noise(*part.shape, seed=seed)) for seed, part in enumerate(result)]
    first, second = (
        torch.autograd.grad(result, tensor, chosen, retain_graph=True) for chosen in (grads, list(map(dense, grads)))
    )
    assert same_bits(first, second)


@each_op
def test_gradients_through_sum_cat_and_slices(op):
    tensor = noise(*source_shape(op, 3, SIZE, VIEW_SIZE), dtype=torch.float64).requires_grad_()
    run, wanted = getattr(torch.ops.spuproj, op), target_size(op, SIZE, VIEW_SIZE)

    def gradient(loss):
        return torch.autograd.grad(loss(parts(run(tensor, TABLE, wanted))[0]), tensor)[0]

    whole = gradient(lambda out: out.sum())
    assert_close(gradient(lambda out: (out * torch.ones_like(out)).sum()), whole)
    assert_close(gradient(lambda out: torch.cat([out, out], dim=-3).sum() / 2), whole)
    assert_close(gradient(lambda out: sum(out[..., c, :, :].sum() for c in range(3))), whole)
    assert_close(gradient(lambda out: out.movedim(-3, -1).flatten().sum()), whole)


@each_variant
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "expanded_axis_1"])
def test_results_are_contiguous_and_inputs_are_left_alone(backend, op, options, layout):
    tensor = noise(*source_shape(op, 3, SIZE, VIEW_SIZE))
    tensor = LAYOUTS.get(layout, dense)(tensor)
    before, table = tensor.clone(), TABLE.clone()
    for part in parts(getattr(backend, op)(tensor, table, target_size(op, SIZE, VIEW_SIZE), *options)):
        assert part.is_contiguous()
        assert part.untyped_storage().data_ptr() != tensor.untyped_storage().data_ptr()
    assert torch.equal(tensor, before)
    assert torch.equal(table, TABLE)


def test_the_backward_of_reduce_leaves_its_inputs_alone(backend):
    views = noise(2, 3, 3, *VIEW_SIZE)
    mean, variance, count = backend.unproject_reduce(views, TABLE, SIZE, "bilinear")
    inputs = (mean + 1, variance + 1, views, TABLE.clone(), mean, count)
    before = [tensor.clone() for tensor in inputs]
    assert backend.unproject_reduce_backward(*inputs, "bilinear").is_contiguous()
    assert same_bits(inputs, tuple(before))


@each_op
@pytest.mark.parametrize(("batch", "channels"), [(0, 3), (2, 0), (0, 0)])
def test_empty_batches_and_no_channels_give_empty_results_and_gradients(backend, op, batch, channels):
    shape = source_shape(op, 3, SIZE, VIEW_SIZE, batch, channels)
    options = ("bilinear", "constant") if op.startswith("project") else ("bilinear",)
    wanted = target_size(op, SIZE, VIEW_SIZE)
    full = source_shape(op, 3, SIZE, VIEW_SIZE)
    expected = [list(part.shape) for part in parts(getattr(backend, op)(noise(*full), TABLE, wanted, *options))]
    for part, shape_of_full in zip(
        parts(getattr(backend, op)(torch.empty(shape), TABLE, wanted, *options)), expected, strict=True
    ):
        assert list(part.shape) == [batch, *shape_of_full[1:-3], channels, *shape_of_full[-2:]]
    leaf = torch.empty(shape, requires_grad=True)
    parts(getattr(torch.ops.spuproj, op)(leaf, TABLE, wanted))[0].sum().backward()
    assert leaf.grad.shape == shape


@each_op
@pytest.mark.parametrize("empty", [(0, 7), (6, 0), (0, 0)])
def test_a_source_without_pixels_gives_zeros(backend, op, empty):
    size, view_size = (SIZE, empty) if op.startswith("unproject") else (empty, VIEW_SIZE)
    if op.endswith("adjoint"):
        size, view_size = (empty, VIEW_SIZE) if op.startswith("unproject") else (SIZE, empty)
    options = ("bilinear", "constant") if op.startswith("project") else ("bilinear",)
    tensor = torch.empty(source_shape(op, 3, size, view_size))
    wanted = target_size(op, size, view_size)
    assert tensor.numel() == 0
    for part in parts(getattr(backend, op)(tensor, TABLE, wanted, *options)):
        assert tuple(part.shape[-2:]) == wanted
        assert part.count_nonzero() == 0


@each_variant
@pytest.mark.parametrize(
    ("size", "view_size"), [((1, 1), (1, 1)), ((1, 1), (4, 3)), ((1, 6), (3, 1)), ((5, 1), (1, 1))]
)
def test_views_of_one_pixel_or_one_row(backend, op, options, size, view_size):
    views = Views.zoom(size, centers=[((size[0] - 1) / 2, (size[1] - 1) / 2)], factor=0.7, view_size=view_size)
    tensor = noise(*source_shape(op, 1, size, view_size, batch=1, channels=1), dtype=torch.float64)
    wanted = target_size(op, size, view_size)
    result = parts(getattr(backend, op)(tensor, views.geometry, wanted, *options))
    expected = parts(ref(op, tensor, views.geometry, wanted, *options))
    for ours, theirs in zip(result, expected, strict=True):
        assert_close(ours.double(), theirs, rtol=0, atol=1e-12)
