"""Subclasses of Tensor, such as MONAI's MetaTensor: results are plain tensors, and gradients flow."""

import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from helpers import parts, same_bits
from small_views import FUNCTIONS, IMAGE, METHODS, SIZE, VIEW_SIZE, each_function, each_method, four_views
from spuproj import Geometry, Views, functional

VIEWS = four_views()


class Tagged(torch.Tensor):
    """A subclass that hands its tag on, as MetaTensor does its affine."""

    tag: str

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        result = super().__torch_function__(func, types, args, kwargs or {})
        if isinstance(result, cls):
            result.tag = next((a.tag for a in args if isinstance(a, cls) and hasattr(a, "tag")), None)
        return result


class Untouchable(torch.Tensor):
    """A subclass that no function may be called on."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        raise AssertionError(f"{func} was called on the subclass")


class Plain(torch.Tensor):
    """A subclass with the default behaviour."""


class Dispatching(torch.Tensor):
    """A subclass that computes ops itself, as distributed and traced tensors do."""

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):  # type: ignore[override]
        assert func is torch.ops.spuproj.project.default
        return torch.tensor(7.0)


SUBCLASSES = {
    "metatensor": lambda tensor: MetaTensor(tensor, affine=torch.diag(torch.tensor([3.0, 1, 1, 1]))),
    "tagged": lambda tensor: tensor.as_subclass(Tagged),
    "untouchable": lambda tensor: tensor.as_subclass(Untouchable),
    "plain": lambda tensor: tensor.as_subclass(Plain),
    "parameter": nn.Parameter,
    "frozen_parameter": lambda tensor: nn.Parameter(tensor, requires_grad=False),
    "buffer": nn.Buffer,
    "parameter_of_metatensor": lambda tensor: nn.Parameter(MetaTensor(tensor)),
}
each_subclass = pytest.mark.parametrize("wrap", SUBCLASSES.values(), ids=SUBCLASSES)


@each_method
@each_subclass
def test_a_subclass_gives_what_its_tensor_gives_as_a_plain_tensor(method, wrap):
    call = getattr(VIEWS, method)
    for _ in range(2):
        results = parts(call(wrap(METHODS[method].clone())))
        assert [type(result) for result in results] == [torch.Tensor] * len(results)
        assert same_bits(tuple(result.detach() for result in results), parts(call(METHODS[method])))


@each_function
@each_subclass
def test_the_functions_take_subclasses_as_well(function, wrap):
    tensor, size = FUNCTIONS[function]
    call = getattr(functional, function)
    results = parts(call(wrap(tensor.clone()), VIEWS.geometry, size))
    assert [type(result) for result in results] == [torch.Tensor] * len(results)
    assert same_bits(tuple(result.detach() for result in results), parts(call(tensor, VIEWS.geometry, size)))


@each_method
@pytest.mark.parametrize("name", ["metatensor", "tagged", "plain"])
def test_gradients_reach_the_subclass_and_what_it_was_made_of(method, name):
    def loss(tensor):
        return sum(part.square().sum() for part in parts(getattr(VIEWS, method)(tensor))[:2])

    base = METHODS[method].clone().requires_grad_()
    (wanted,) = torch.autograd.grad(loss(base), base)
    (through,) = torch.autograd.grad(loss(SUBCLASSES[name](base) * 1), base)
    leaf = SUBCLASSES[name](METHODS[method].clone()).requires_grad_()
    loss(leaf).backward()
    assert wanted.abs().sum() > 0
    assert torch.equal(through, wanted)
    assert torch.equal(leaf.grad.as_subclass(torch.Tensor), wanted)


def test_an_out_of_a_subclass_is_written_to_and_returned():
    wanted = VIEWS.project(IMAGE)
    for wrap in (MetaTensor, SUBCLASSES["tagged"], SUBCLASSES["untouchable"]):
        out = wrap(torch.full_like(wanted, 7.0))
        assert VIEWS.project(IMAGE, out=out) is out
        assert torch.equal(out.as_subclass(torch.Tensor), wanted)


def test_a_subclass_that_takes_part_in_dispatch_is_passed_on():
    assert VIEWS.project(IMAGE.as_subclass(Dispatching)).item() == 7.0


@pytest.mark.parametrize(
    "make",
    [
        lambda wrap: Views.spherical(SIZE, wrap(torch.tensor([[3.0, 4.0], [5.0, 6.0]]))),
        lambda wrap: Views.spherical(SIZE, wrap(torch.tensor([[3.0, 4.0]])), pose="turned", radius=50),
        lambda wrap: Views.zoom(SIZE, wrap(torch.tensor([[3.0, 4.0], [5.0, 6.0]]))),
        lambda wrap: Views.from_table(wrap(VIEWS.geometry), SIZE, VIEW_SIZE),
        lambda wrap: Views(Geometry.from_table(wrap(VIEWS.geometry)), SIZE, VIEW_SIZE),
        lambda wrap: VIEWS[wrap(torch.tensor([0, 1]))],
        lambda wrap: VIEWS.pick(wrap(torch.tensor([0, 1]))),
    ],
    ids=["spherical", "turned", "zoom", "from_table", "geometry", "index", "pick"],
)
@pytest.mark.parametrize("name", ["metatensor", "tagged"])
def test_views_made_from_subclasses_give_plain_tensors(make, name):
    """Metadata of centres, such as an affine, does not hold for results."""
    views = make(SUBCLASSES[name])
    assert type(views.geometry) is torch.Tensor
    assert type(views.project(IMAGE)) is torch.Tensor
    assert type(views.magnification()) is torch.Tensor


def test_a_table_of_a_subclass_gives_plain_tensors():
    table = SUBCLASSES["metatensor"](VIEWS.geometry)
    for function, (tensor, size) in FUNCTIONS.items():
        for result in parts(getattr(functional, function)(tensor, table, size)):
            assert type(result) is torch.Tensor
