"""The two adjoint pairs are transposes of each other, and each differentiates into its partner."""

import pytest
import torch
from hypothesis import given, settings
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from helpers import each_linear_variant, noise, random_geometry, source_shape, tables, target_size
from spuproj import functional

SIZE, VIEW_SIZE = (4, 5), (5, 4)
FORWARD = {
    "project-bilinear-constant": ("project", ("bilinear", "constant")),
    "project-bilinear-border": ("project", ("bilinear", "border")),
    "project-nearest-constant": ("project", ("nearest", "constant")),
    "project-nearest-border": ("project", ("nearest", "border")),
    "unproject-bilinear": ("unproject", ("bilinear",)),
    "unproject-nearest": ("unproject", ("nearest",)),
}
each_pair = pytest.mark.parametrize(("op", "options"), FORWARD.values(), ids=FORWARD)


def table_of(views=2, seed=4):
    return random_geometry(seed, SIZE, VIEW_SIZE, "gnomonic", "equidistant", views=views).table()


@each_pair
@settings(max_examples=20)
@given(table=tables((13, 17), (11, 15)))
def test_inner_products_are_equal(backend, op, options, table):
    size, view_size = (13, 17), (11, 15)
    x = noise(*source_shape(op, len(table), size, view_size), dtype=torch.float64)
    mapped = getattr(backend, op)(x, table, target_size(op, size, view_size), *options)
    y = noise(*mapped.shape, seed=1, dtype=torch.float64)
    back = getattr(backend, f"{op}_adjoint")(y, table, x.shape[-2:], *options)
    scale = mapped.norm() * y.norm() + x.norm() * back.norm()
    assert abs((mapped * y).sum() - (x * back).sum()) <= 1e-12 * scale


@each_pair
def test_adjoint_is_the_transpose_of_the_matrix_of_the_forward_op(backend, op, options):
    table = table_of()
    source = (1, *SIZE) if op == "project" else (2, 1, *VIEW_SIZE)
    target = (2, 1, *VIEW_SIZE) if op == "project" else (2, 1, *SIZE)

    def matrix(name, shape, wanted):
        unit_vectors = torch.eye(torch.Size(shape).numel(), dtype=torch.float64).unflatten(1, shape)
        return getattr(backend, name)(unit_vectors, table, wanted, *options).flatten(1).T

    forward, transposed = matrix(op, source, target[-2:]), matrix(f"{op}_adjoint", target, source[-2:])
    assert forward.count_nonzero() > 0
    assert_close(transposed, forward.T, rtol=0, atol=1e-15)


@each_linear_variant
def test_linear_ops_pass_first_and_second_order_gradient_checks(op, options):
    table = table_of()
    tensor = noise(*source_shape(op, 2, SIZE, VIEW_SIZE, channels=1), dtype=torch.float64).requires_grad_()

    def run(tensor):
        return getattr(torch.ops.spuproj, op)(tensor, table, target_size(op, SIZE, VIEW_SIZE), *options)

    assert gradcheck(run, tensor)
    assert gradgradcheck(run, tensor)


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_reduce_passes_first_and_second_order_gradient_checks(interpolation):
    table = table_of(views=3)
    views = noise(1, 3, 2, *VIEW_SIZE, dtype=torch.float64).requires_grad_()

    def run(views):
        return functional.unproject_reduce(views, table, SIZE, interpolation=interpolation)[:2]

    assert gradcheck(run, views)
    assert gradgradcheck(run, views)


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_backward_of_reduce_passes_first_and_second_order_gradient_checks(interpolation):
    table = table_of(views=3)
    views = noise(1, 3, 1, *VIEW_SIZE, dtype=torch.float64)
    mean, _, count = functional.unproject_reduce(views, table, SIZE, interpolation=interpolation)
    grad_mean, grad_variance = (noise(*mean.shape, seed=seed, dtype=torch.float64) for seed in (1, 2))
    inputs = tuple(tensor.requires_grad_() for tensor in (grad_mean, grad_variance, views, mean))

    def run(grad_mean, grad_variance, views, mean):
        return torch.ops.spuproj.unproject_reduce_backward(
            grad_mean, grad_variance, views, table, mean, count, interpolation
        )

    assert gradcheck(run, inputs)
    assert gradgradcheck(run, inputs)


@each_linear_variant
def test_gradient_is_the_partner_applied_to_the_gradient(op, options):
    partner = op.removesuffix("_adjoint") if op.endswith("_adjoint") else f"{op}_adjoint"
    table = table_of()
    tensor = noise(*source_shape(op, 2, SIZE, VIEW_SIZE)).requires_grad_()
    result = getattr(torch.ops.spuproj, op)(tensor, table, target_size(op, SIZE, VIEW_SIZE), *options)
    grad = noise(*result.shape, seed=1)
    result.backward(grad)
    expected = getattr(torch.ops.spuproj, partner)(grad, table, tensor.shape[-2:], *options)
    assert torch.equal(tensor.grad, expected)
