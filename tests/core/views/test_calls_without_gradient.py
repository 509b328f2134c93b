"""Calls of which no gradient is recorded take ops without one; wherever one is wanted, it comes."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.library import opcheck
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from helpers import VARIANTS, each_op, noise, parts, random_geometry, same_bits, source_shape, target_size
from spuproj import functional
from spuproj.ops.registration import NO_GRAD

SIZE, VIEW_SIZE = (6, 7), (5, 8)
OPS = torch.ops.spuproj
TABLE = random_geometry(0, SIZE, VIEW_SIZE, "gnomonic", "equidistant", views=2).table()


class Watch(TorchDispatchMode):
    """Notes the names of our ops that are called."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "spuproj":
            self.seen.append(func.name().removeprefix("spuproj::"))
        return func(*args, **(kwargs or {}))


def source(op, **options):
    return noise(*source_shape(op, 2, SIZE, VIEW_SIZE), **options)


def call(op, tensor, table=TABLE):
    return parts(getattr(functional, op)(tensor, table, target_size(op, SIZE, VIEW_SIZE)))


def seen(op, *given):
    with Watch() as watch:
        result = call(op, *given)
    return watch.seen, result


@each_op
def test_the_op_without_a_gradient_is_called_where_none_is_recorded(op):
    tensor, leaf, moving = source(op), source(op).requires_grad_(), TABLE.clone().requires_grad_()
    names, result = seen(op, tensor)
    assert names == [op + NO_GRAD]
    for given in ((leaf, TABLE), (tensor, moving)):
        names, recorded = seen(op, *given)
        assert names == [op]
        assert recorded[0].requires_grad
        assert same_bits(tuple(each.detach() for each in recorded), result)
        with torch.no_grad():
            names, unrecorded = seen(op, *given)
        assert names == [op + NO_GRAD]
        assert not unrecorded[0].requires_grad
        assert same_bits(unrecorded, result)
    with torch.inference_mode():
        assert seen(op, tensor)[0] == [op + NO_GRAD]


@each_op
def test_the_op_without_a_gradient_refuses_tensors_that_require_one(op):
    run, wanted = getattr(OPS, op + NO_GRAD), target_size(op, SIZE, VIEW_SIZE)
    for given in ((source(op).requires_grad_(), TABLE), (source(op), TABLE.clone().requires_grad_())):
        with pytest.raises(RuntimeError, match=f"spuproj::{op}{NO_GRAD} has no gradient; call spuproj::{op} where"):
            run(*given, wanted)
        with torch.no_grad():
            run(*given, wanted)


@pytest.mark.parametrize(("op", "options"), VARIANTS.values(), ids=VARIANTS)
def test_opcheck(op, options):
    opcheck(getattr(OPS, op + NO_GRAD).default, (source(op), TABLE, target_size(op, SIZE, VIEW_SIZE), *options))


def loss(op, tensor, table=TABLE):
    return sum(part.square().sum() for part in call(op, tensor, table)[:2])


def autograd_of_vmap(function, tensors):
    leaf = tensors.clone().requires_grad_()
    return torch.autograd.grad(torch.vmap(function)(leaf).sum(), leaf)[0]


def autograd_of_nested_vmap(function, tensors):
    leaf = tensors[None].clone().requires_grad_()
    return torch.autograd.grad(torch.vmap(torch.vmap(function))(leaf).sum(), leaf)[0][0]


def vmap_over_a_closure(function, tensors):
    leaf = tensors.clone().requires_grad_()
    return torch.autograd.grad(torch.vmap(lambda n: (n * function(leaf[0])).sum())(torch.ones(1)).sum(), leaf)[0]


def grad_of_vmap(function, tensors):
    return torch.func.grad(lambda x: torch.vmap(function)(x).sum())(tensors)


def vmap_of_grad(function, tensors):
    return torch.vmap(torch.func.grad(function))(tensors)


def jacobian_without_grad_mode(function, tensors):
    with torch.no_grad():
        return torch.stack([torch.func.jacrev(function)(each) for each in tensors])


@each_op
@pytest.mark.parametrize("way", [autograd_of_vmap, autograd_of_nested_vmap, vmap_over_a_closure])
def test_gradients_come_through_vmap(op, way):
    """A wrapper of vmap does not show that a gradient is wanted of what it wraps."""
    tensors = torch.stack([source(op, dtype=torch.float64, seed=seed) for seed in range(3)])
    leaf = tensors.clone().requires_grad_()
    used = leaf[:1] if way is vmap_over_a_closure else leaf
    (expected,) = torch.autograd.grad(sum(loss(op, each) for each in used), leaf)
    assert_close(way(lambda tensor: loss(op, tensor), tensors), expected)


@each_op
@pytest.mark.parametrize("way", [grad_of_vmap, vmap_of_grad, jacobian_without_grad_mode])
def test_transforms_that_differentiate_are_refused_and_lose_no_gradient(op, way):
    """functorch cannot differentiate ops of libraries, with a gradient or without."""
    tensors = torch.stack([source(op, dtype=torch.float64, seed=seed) for seed in range(3)])
    with pytest.raises(RuntimeError, match=r"autograd\.Function with functorch transforms"):
        way(lambda tensor: loss(op, tensor), tensors)


@each_op
def test_vmap_without_a_gradient_equals_a_loop(op):
    tensors = torch.stack([source(op, seed=seed) for seed in range(3)])
    run, wanted = getattr(OPS, op + NO_GRAD), target_size(op, SIZE, VIEW_SIZE)
    mapped = torch.vmap(lambda tensor: parts(run(tensor, TABLE, wanted)))(tensors)
    singly = [parts(run(tensor, TABLE, wanted)) for tensor in tensors]
    assert same_bits(mapped, tuple(map(torch.stack, zip(*singly, strict=True))))


@each_op
def test_autocast_takes_float32(op):
    tensor = source(op, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        results = call(op, tensor)
    assert same_bits(results, call(op, tensor.float()))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_trace_made_without_gradients_can_be_trained():
    traced = torch.jit.trace(lambda image: functional.project(image, TABLE, VIEW_SIZE), source("project"))
    leaf = source("project", seed=1).requires_grad_()
    traced(leaf).sum().backward()
    assert_close(leaf.grad, torch.autograd.grad(call("project", leaf)[0].sum(), leaf)[0])


def test_a_graph_of_any_tracer_has_the_op_with_its_gradient():
    program = torch.export.export(Projection(), (source("project"),))
    assert [node.target for node in program.graph.nodes if "spuproj" in str(node.target)] == [OPS.project.default]


class Projection(torch.nn.Module):
    table: torch.Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("table", TABLE)

    def forward(self, image):
        return functional.project(image, self.table)


@each_op
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.parametrize("at", ["source", "geometry", "weights"])
def test_a_tangent_of_forward_mode_is_refused_and_not_dropped(op, at):
    tensors = {"source": source(op), "geometry": TABLE.clone(), "weights": torch.ones(2, *SIZE)}
    if at == "weights" and op != "unproject_reduce":
        return

    def run(moving):
        given = {**tensors, at: moving}
        options = {"weights": given["weights"]} if op == "unproject_reduce" else {}
        wanted = target_size(op, SIZE, VIEW_SIZE)
        return parts(getattr(functional, op)(given["source"], given["geometry"], wanted, **options))[0]

    with pytest.raises(RuntimeError, match="forward-mode differentiation does not reach"):
        torch.func.jvp(run, (tensors[at],), (torch.ones_like(tensors[at]),))
    with forward_ad.dual_level(), pytest.raises(RuntimeError, match="forward-mode differentiation does not reach"):
        run(forward_ad.make_dual(tensors[at], torch.ones_like(tensors[at])))


def test_a_tangent_is_refused_in_compiled_code_too():
    def tangent(image):
        return torch.func.jvp(lambda x: x.sum() + functional.project(x, TABLE).sum(), (image,), (image,))[1]

    # The compiler reports it as an error of its own.
    with pytest.raises(RuntimeError, match=r"[Ee]xception"):
        torch.compile(tangent, backend="eager", fullgraph=True)(source("project"))
