"""Methods of Views under dispatch modes, the profiler, torch.compile, export, vmap and functional_call."""

import pytest
import torch
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from small_views import IMAGE, STACK, VIEW_SIZE, four_rotations, four_views, per_sample, used
from spuproj.ops.registration import NO_GRAD


class Watch(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


CALLS = {
    "project": lambda views: views.project(IMAGE),
    "project_out": lambda views: views.project(IMAGE, out=torch.empty(2, 4, 3, *VIEW_SIZE)),
    "project_array": lambda views: views.project(IMAGE.numpy()),
    "project_slice": lambda views: views.project(IMAGE[0, 0], fill=3),
    "project_labels": lambda views: views.project(IMAGE > 0, interpolation="nearest"),
    "unproject": lambda views: views.unproject(STACK),
    "unproject_reduce": lambda views: views.reduce(STACK),
}
each_call = pytest.mark.parametrize("name", CALLS)


def op_of(name):
    return "project_out" if name == "project_out" else (name if name.startswith("unproject") else "project") + NO_GRAD


@each_call
def test_a_dispatch_mode_sees_every_call(name):
    views = four_views()
    for _ in range(3):
        with Watch() as watch:
            CALLS[name](views)
        assert [seen for seen in watch.seen if "spuproj" in seen] == [f"spuproj.{op_of(name)}.default"]


@each_call
def test_the_profiler_sees_every_call(name):
    views = four_views()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for _ in range(3):
            CALLS[name](views)
    counts = {event.key: event.count for event in profile.key_averages() if "spuproj" in event.key}
    assert counts == {f"spuproj::{op_of(name)}": 3}


def test_a_dispatch_mode_may_replace_results_of_later_calls_too():
    class Zeros(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            return torch.zeros_like(result) if "spuproj" in str(func) else result

    views = used(four_views())
    with Zeros():
        assert all((views.project(IMAGE) == 0).all() for _ in range(2))
    assert not (views.project(IMAGE) == 0).all()


@pytest.fixture
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("at", [(), (0,), (0, 0)], ids=["4d", "3d", "2d"])
def test_project_and_reduce_compile_whole_at_every_rank(at):
    views = four_views()

    @torch.compile(fullgraph=True, backend="aot_eager")
    def compiled(image):
        stack = views.project(image, fill=-2.5)
        return stack, *views.reduce(stack)

    image = IMAGE[at]
    stack = views.project(image, fill=-2.5)
    assert_close(compiled(image), (stack, *views.reduce(stack)))
    leaf, twin = image.clone().requires_grad_(), image.clone().requires_grad_()
    compiled(leaf)[1].square().sum().backward()
    views.reduce(views.project(twin, fill=-2.5))[0].square().sum().backward()
    assert_close(leaf.grad, twin.grad)


@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_views_see_a_changed_geometry():
    views = four_views()
    compiled = torch.compile(views.project, fullgraph=True, backend="aot_eager")
    compiled(IMAGE)
    views.geometry.copy_(four_rotations().geometry)
    assert torch.equal(compiled(IMAGE), four_rotations().project(IMAGE))


PARTS = {
    "slice": lambda views, _: views[1:],
    "number": lambda views, _: views[-1],
    "tensor_of_one": lambda views, _: views[torch.tensor(1)],
    "list": lambda views, _: views[[0, -2]],
    "pick": lambda views, index: views.pick(index),
    "pick_of_part": lambda views, index: views[1:].pick(index),
    "pick_list": lambda views, _: views.pick([3, -4]),
    "sum": lambda views, _: views + views[:2],
    "iterated": lambda views, _: sum(views),
}


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("make", [four_views, per_sample])
def test_parts_of_views_are_taken_within_compiled_code(part, make):
    views = used(make())

    def seen(image, index):
        chosen = part(views, index)
        return chosen.project(image), chosen.border_weights(3)

    compiled = torch.compile(seen, fullgraph=True, backend="aot_eager")
    for index in (torch.tensor([2, 0]), torch.tensor([-1, 1])):
        assert_close(compiled(IMAGE, index), seen(IMAGE, index), rtol=0, atol=0)


@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_code_refuses_an_index_out_of_range():
    views = four_views()
    compiled = torch.compile(lambda index: views.pick(index).project(IMAGE), fullgraph=True, backend="aot_eager")
    with pytest.raises(IndexError, match="out of bounds"):
        compiled(torch.tensor([0, 4]))


@pytest.mark.parametrize("make", [four_views, per_sample])
def test_a_pick_goes_through_vmap(make):
    views, indices = make(), torch.tensor([[3, 0], [-1, 2], [1, 1]])
    found = torch.vmap(lambda index: views.pick(index).project(IMAGE))(indices)
    assert torch.equal(found, torch.stack([views.pick(index).project(IMAGE) for index in indices]))
    with pytest.raises(ValueError, match=r"index must lie in \[-4, 3\]"):
        torch.vmap(lambda index: views.pick(index).project(IMAGE))(indices + 3)


@pytest.mark.parametrize("rank", [2, 4])
def test_views_are_exported(rank):
    image = IMAGE[(0,) * (4 - rank)]
    program = torch.export.export(four_views(), (image,))
    assert torch.equal(program.module()(image), four_views().project(image))
    assert list(program.state_dict) == ["geometry"]


def test_views_go_through_vmap():
    views = four_views()
    assert torch.equal(torch.vmap(views.project)(IMAGE), views.project(IMAGE))
    assert torch.equal(torch.vmap(torch.vmap(views.project))(IMAGE), views.project(IMAGE).movedim(1, 2))
    for mapped, wanted in zip(torch.vmap(views.reduce)(STACK), views.reduce(STACK), strict=True):
        assert torch.equal(mapped, wanted)


def test_functional_call_takes_another_geometry():
    views = used(four_views())
    flipped = torch.func.functional_call(views, {"geometry": views.geometry.flip(0)}, (IMAGE,))
    assert torch.equal(flipped, views.project(IMAGE).flip(1))
