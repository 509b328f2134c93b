"""A geometry that is changed in place between two calls: the second call uses the new numbers."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from helpers import parts, ref, same_bits
from small_views import (
    FUNCTIONS,
    IMAGE,
    SIZE,
    STACK,
    VIEW_SIZE,
    assert_projects_as_the_reference,
    each_function,
    four_rotations,
    four_views,
    used,
)
from spuproj import functional

CHANGES = {
    "copy_": lambda views, table: views.geometry.copy_(table),
    "numpy": lambda views, table: np.copyto(views.geometry.numpy(), table.numpy()),
    "data": lambda views, table: views.geometry.data.copy_(table),
    "data_replaced": lambda views, table: setattr(views.geometry, "data", table.clone()),
    "set_": lambda views, table: views.geometry.set_(table.clone()),
    "rows": lambda views, table: [views.geometry[n].copy_(table[n]) for n in range(4)],
    "elements": lambda views, table: views.geometry.put_(torch.arange(table.numel()), table),
    "replaced": lambda views, table: setattr(views, "geometry", table.clone()),
    "loaded": lambda views, table: views.load_state_dict({"geometry": table}),
    "assigned": lambda views, table: views.load_state_dict({"geometry": table.clone()}, assign=True),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_table_changed_between_two_calls_gives_the_new_views(change):
    views, others = used(four_views()), four_rotations()
    assert not torch.equal(views.project(IMAGE), others.project(IMAGE))
    change(views, others.geometry)
    for _ in range(2):
        assert_projects_as_the_reference(views)
        assert torch.equal(views.project(IMAGE), others.project(IMAGE))
        assert torch.equal(views.unproject(STACK), others.unproject(STACK))
        assert all(torch.equal(*pair) for pair in zip(views.reduce(STACK), others.reduce(STACK), strict=True))
    change(views, four_views().geometry)
    assert_projects_as_the_reference(views)


def test_a_table_changed_in_one_element_is_seen():
    views = used(four_views())
    with torch.no_grad():
        views.geometry[3, 0] += 0.25
    assert_projects_as_the_reference(views)
    with torch.inference_mode():
        views = used(four_views())
        views.geometry[0, 1] -= 0.25
        assert_projects_as_the_reference(views)


def test_one_memory_under_two_tables_changes_both():
    table = four_views().geometry.clone()
    alias = table[:2]
    functional.project(IMAGE, table, VIEW_SIZE), functional.project(IMAGE, alias, VIEW_SIZE)
    table[0, 0] += 1
    for one in (table, alias):
        wanted = ref("project", IMAGE, one, VIEW_SIZE)
        assert_close(functional.project(IMAGE, one, VIEW_SIZE).double(), wanted, rtol=0, atol=1e-5)


def spread(table):
    return torch.stack([table, table + 1], dim=-1)[..., 0]


LAYOUTS = {
    "transposed": lambda table: table.t().contiguous().t(),
    "every_other": spread,
    "with_an_offset": lambda table: torch.cat([table, table])[4:],
    "one_row_expanded": lambda table: table[:1].expand(4, -1),
    "expanded_to_a_batch": lambda table: table.expand(2, -1, -1),
    "columns_of_a_larger_one": lambda table: torch.cat([table, table], dim=1)[:, :19],
}


@pytest.mark.parametrize("arrange", LAYOUTS.values(), ids=LAYOUTS)
def test_a_table_of_any_strides_is_read_and_watched(arrange):
    table = arrange(four_views().geometry.clone())
    results = {}
    for turn in ("first", "second", "changed"):
        if turn == "changed":
            # Through one element, so that expanded tables can be written to.
            table[(0,) * (table.dim() - 1)][:1].add_(1.5)
        dense = table.contiguous().clone()
        assert torch.equal(functional.project(IMAGE, table, VIEW_SIZE), functional.project(IMAGE, dense, VIEW_SIZE))
        assert torch.equal(functional.unproject(STACK, table, SIZE), functional.unproject(STACK, dense, SIZE))
        for pair in zip(
            functional.unproject_reduce(STACK, table, SIZE),
            functional.unproject_reduce(STACK, dense, SIZE),
            strict=True,
        ):
            assert torch.equal(*pair)
        results[turn] = functional.project(IMAGE, table, VIEW_SIZE)
    assert torch.equal(results["first"], results["second"])
    assert not torch.equal(results["first"], results["changed"])


def test_a_backward_pass_finds_out_that_its_table_has_changed():
    views = four_views()
    stack = views.project(IMAGE.clone().requires_grad_())
    views.load_state_dict(four_rotations().state_dict())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        stack.sum().backward()


@each_function
def test_a_code_that_goes_wrong_between_two_calls_is_refused_at_the_second(function):
    tensor, size = FUNCTIONS[function]
    table, call = four_views().geometry.clone(), getattr(functional, function)
    wanted = parts(call(tensor, table, size))
    table[2, 6] = 7
    for _ in range(2):
        with pytest.raises(ValueError, match="lift must"):
            call(tensor, table, size)
    table[2, 6] = 0
    assert same_bits(parts(call(tensor, table, size)), wanted)
