"""The options out_dtype, memory_format and out of project."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from helpers import noise, ref, tables
from spuproj import Views, functional
from spuproj.ops.checks import check_apart

SIZE, VIEW_SIZE = (17, 21), (15, 37)
FLOATING = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def channels_last(stack):
    return stack.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels", [1, 3, 4, 16, 20])
@pytest.mark.parametrize("out_dtype", FLOATING)
@settings(max_examples=8)
@given(
    batch=st.integers(1, 2),
    table=st.one_of(tables(SIZE, VIEW_SIZE), st.just(Views.rigid(SIZE, view_size=VIEW_SIZE).geometry)),
    memory_format=st.sampled_from([None, torch.contiguous_format, torch.channels_last]),
)
def test_every_dtype_and_format_holds_the_same_views(backend, channels, out_dtype, batch, table, memory_format):
    image = noise(batch, channels, *SIZE)
    stack = backend.project(image, table, VIEW_SIZE, "bilinear", "constant", 0, out_dtype, memory_format)
    plain = backend.project(image, table, VIEW_SIZE, "bilinear", "constant")
    assert stack.dtype == out_dtype
    assert torch.equal(stack, plain.to(out_dtype))
    assert channels_last(stack) if memory_format == torch.channels_last else stack.is_contiguous()


@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("out_dtype", FLOATING)
def test_a_result_is_rounded_once_from_the_arithmetic(backend, dtype, out_dtype):
    views = Views.spherical(SIZE, grid=(2, 2), view_size=VIEW_SIZE)
    image = noise(1, 2, *SIZE, dtype=dtype)
    stack = backend.project(image, views.geometry, VIEW_SIZE, "bilinear", "constant", 0, out_dtype, None)
    wanted = ref("project", image, views.geometry, VIEW_SIZE, "bilinear", "constant")
    tolerance = max(TOLERANCE[out_dtype], 1e-12 if dtype == torch.float64 else 1e-5)
    assert_close(stack.double(), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.int16, torch.uint8, torch.bool, torch.float32])
def test_labels_go_through_channels_last_and_out_as_well(backend, dtype):
    views = Views.spherical(SIZE, grid=(2, 2))
    labels = (noise(2, 3, *SIZE) * 3).to(dtype)
    plain = backend.project(labels, views.geometry, SIZE, "nearest", "constant")
    last = backend.project(labels, views.geometry, SIZE, "nearest", "constant", 0, None, torch.channels_last)
    out = torch.empty_like(plain)
    backend.project_out(labels, views.geometry, out, "nearest", "constant")
    assert channels_last(last)
    assert torch.equal(last, plain)
    assert torch.equal(out, plain)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("out_dtype", FLOATING)
def test_out_is_written_whole_and_returned(out_dtype, memory_format):
    views = Views.spherical(SIZE, grid=(2, 2), view_size=VIEW_SIZE)
    for seed in (0, 1):
        image = noise(2, 4, *SIZE, seed=seed)
        wanted = views.project(image, out_dtype=out_dtype, memory_format=memory_format)
        out = torch.full_like(wanted, float("nan"))
        for _ in range(2):
            assert views.project(image, out=out) is out
            assert torch.equal(out, wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@settings(max_examples=20)
@given(batch=st.integers(1, 3), channels=st.sampled_from([1, 2, 3, 4, 5, 9, 16, 17]), columns=st.integers(2, 90))
def test_nothing_beyond_out_is_touched(dtype, batch, channels, columns):
    """Kernels write whole vectors, some lanes without a plane; no write may reach neighbouring memory."""
    views = Views.spherical(SIZE, grid=(2, 2), view_size=(15, columns))
    image = noise(batch, channels, *SIZE, dtype=dtype)
    larger = torch.full((batch + 2, len(views), channels, 15, columns), 7.0, dtype=dtype)
    views.project(image, out=larger[1:-1])
    assert torch.equal(larger[1:-1], views.project(image))
    assert (larger[[0, -1]] == 7.0).all()


PARTS = {
    "whole": lambda n, c, h, w: torch.empty(2, n, c, h, w),
    "channels_last": lambda n, c, h, w: torch.empty(2, n, h, w, c).movedim(-1, -3),
    "first_views": lambda n, c, h, w: torch.empty(2, 2 * n, c, h, w)[:, :n],
    "every_other_view": lambda n, c, h, w: torch.empty(2, 2 * n, c, h, w)[:, ::2],
    "first_channels": lambda n, c, h, w: torch.empty(2, n, 2 * c, h, w)[:, :, :c],
    "crop": lambda n, c, h, w: torch.empty(2, n, c, h + 3, w + 2)[..., :h, :w],
    "crop_of_some_views": lambda n, c, h, w: torch.empty(2, 2 * n, c, h + 3, w + 2)[:, :n, :, :h, :w],
    "transposed": lambda n, c, h, w: torch.empty(2, n, c, w, h).mT,
    "transposed_views": lambda n, c, h, w: torch.empty(2, 2 * n, c, w, h)[:, :n].mT,
    "views_before_samples": lambda n, c, h, w: torch.empty(n, 2, c, h, w).transpose(0, 1),
    "expanded_samples": lambda n, c, h, w: torch.empty(1, n, c, h, w).expand(2, -1, -1, -1, -1),
    "expanded_views": lambda n, c, h, w: torch.empty(2, 1, c, h, w).expand(-1, n, -1, -1, -1),
}


@pytest.mark.parametrize("make", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("view_size", [(7, 9), (7, 1), (1, 9), (1, 1)], ids=str)
def test_an_out_of_any_strides_is_written_right_or_refused(make, channels, view_size):
    views = Views.rigid(SIZE, degrees=[0, 30, 60, 90], view_size=view_size)
    image, out = noise(2, channels, *SIZE), make(len(views), channels, *view_size)
    last = out.movedim(-3, -1)
    out.fill_(7.0)
    if out.is_contiguous() or last.is_contiguous():
        views.project(image, out=out)
        assert torch.equal(out, views.project(image))
    else:
        with pytest.raises(ValueError, match="out must be contiguous, or channels_last view by view"):
            views.project(image, out=out)
        assert (out == 7.0).all()


def test_writing_into_out_is_seen_by_autograd():
    """Overwriting an out that a backward pass has saved must raise."""
    views = Views.spherical(SIZE, grid=(2, 2))
    image, weight = noise(1, 2, *SIZE), torch.ones((), requires_grad=True)
    out = torch.empty(1, 4, 2, *SIZE)
    for _ in range(2):
        loss = (views.project(image, out=out) * weight).sum()
        views.project(2 * image, out=out)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
    with torch.inference_mode():
        assert torch.equal(views.project(image, out=torch.empty_like(out)), views.project(image))


def test_out_takes_part_in_compiled_functions():
    views = Views.spherical(SIZE, grid=(2, 2))
    image, out = noise(1, 2, *SIZE), torch.empty(1, 4, 2, *SIZE)

    @torch.compile(fullgraph=True, backend="aot_eager")
    def run(image, out):
        return views.project(image, out=out) + 1

    assert torch.equal(run(image, out), views.project(image) + 1)
    assert torch.equal(out, views.project(image))


@pytest.mark.parametrize("memory_format", [None, torch.channels_last])
@pytest.mark.parametrize("out_dtype", [torch.bfloat16, torch.float64])
def test_the_gradient_has_the_images_dtype(out_dtype, memory_format):
    views = Views.spherical(SIZE, grid=(2, 2))
    image = noise(1, 3, *SIZE).requires_grad_()
    stack = views.project(image, out_dtype=out_dtype, memory_format=memory_format)
    weights = noise(*stack.shape, seed=1).to(out_dtype)
    (gradient,) = torch.autograd.grad((stack * weights).sum(), image)
    wide = torch.promote_types(out_dtype, torch.float32)
    wanted = functional.project_adjoint(weights.to(wide), views.geometry, SIZE).float()
    assert gradient.dtype == torch.float32
    assert torch.equal(gradient, wanted)


def test_the_gradient_of_a_wider_result_is_rounded_once():
    """A scaled loss reaches numbers that float16 does not have, where the sum over views has a place in it."""
    views = Views.spherical(SIZE, grid=(2, 2))
    image = noise(1, 1, *SIZE).half().requires_grad_()
    stack = views.project(image, out_dtype=torch.float32)
    pulls = torch.empty_like(stack)
    pulls[:, 0], pulls[:, 1:] = 9e4, -3e4
    (gradient,) = torch.autograd.grad(stack, image, pulls)
    wanted = functional.project_adjoint(pulls, views.geometry, SIZE)
    inside = wanted.abs() < 6e4
    assert 0.1 < inside.float().mean() < 1
    assert torch.equal(gradient, wanted.half())
    assert torch.isfinite(gradient[inside]).all()


def test_every_op_passes_opcheck_with_options():
    views = Views.spherical(SIZE, grid=(2, 2))
    image = noise(1, 3, *SIZE).requires_grad_()
    options = (SIZE, "bilinear", "constant", 0, torch.bfloat16, torch.channels_last)
    torch.library.opcheck(torch.ops.spuproj.project.default, (image, views.geometry, *options))
    out = torch.empty(1, 4, 3, *SIZE)
    torch.library.opcheck(torch.ops.spuproj.project_out.default, (image.detach(), views.geometry, out))


BAD = [
    (dict(out_dtype=torch.int16), TypeError, "out_dtype must be one of float32, float64, float16, bfloat16"),
    (dict(memory_format=torch.channels_last_3d), ValueError, "memory_format must be one of torch.contiguous_format"),
    (dict(out=torch.empty(1, 4, 3, 9, 9)), ValueError, r"out must end in view_size, \(17, 21\), got \(9, 9\)"),
    (dict(out=torch.empty(1, 3, 3, *SIZE)), ValueError, r"out must have batch, views and channels \(1, 4, 3\)"),
    (dict(out=torch.empty(4, 3, *SIZE)), ValueError, "out must have one axis more than image, 5, got the shape"),
    (dict(out=torch.empty(1, 4, 3, *SIZE, dtype=torch.int32)), TypeError, "out's dtype must be one of float32"),
    (
        dict(out=torch.empty(1, 4, 3, *SIZE[::-1]).mT),
        ValueError,
        "out must be contiguous, or channels_last view by view",
    ),
    (
        dict(out=torch.empty(1, 4, 3, *SIZE, device="meta")),
        ValueError,
        "out must be on the device of image, cpu, got meta",
    ),
    (
        dict(out=torch.empty(1, 4, 3, *SIZE), out_dtype=torch.float32),
        ValueError,
        "out_dtype and memory_format must be None",
    ),
    (dict(out=torch.empty(1, 4, 3, *SIZE, requires_grad=True)), ValueError, "out must be None where gradients"),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD)
def test_bad_options_are_named(options, error, message):
    views = Views.spherical(SIZE, grid=(2, 2))
    with pytest.raises(error, match=message):
        views.project(noise(1, 3, *SIZE), **options)


def test_label_maps_keep_their_dtype():
    views = Views.spherical(SIZE, grid=(2, 2))
    labels = torch.zeros(1, 1, *SIZE, dtype=torch.uint8)
    with pytest.raises(TypeError, match=r"out_dtype must be one of uint8 for a torch.uint8 image, got torch.float32"):
        views.project(labels, interpolation="nearest", out_dtype=torch.float32)


def test_a_result_must_not_overwrite_what_is_read():
    views = Views.rigid(SIZE)
    memory = noise(2, 1, *SIZE)
    half = SIZE[0] * SIZE[1] // 2
    beside = torch.from_numpy(memory.numpy().reshape(-1)[half : 3 * half + 1]).view(1, 1, 1, *SIZE)
    wanted = views.project(memory[:1].clone())
    for _ in range(2):
        for out in (memory[:1].unsqueeze(1), beside):
            with pytest.raises(ValueError, match="out must not share its memory with image"):
                views.project(memory[:1], out=out)
            with pytest.raises(ValueError, match="out must not share its memory with image"):
                torch.ops.spuproj.project_out(memory[:1], views.geometry, out)
        assert torch.equal(views.project(memory[:1], out=memory[1:].unsqueeze(1)), wanted)


def test_a_result_must_not_overwrite_its_geometry():
    memory = torch.cat([Views.rigid((4, 4)).geometry, torch.zeros(2, 19, dtype=torch.float64)])
    image, table, apart = noise(1, 1, 4, 4).double(), memory[:1], memory.view(-1)[19:][:16].view(1, 1, 1, 4, 4)
    across = memory.view(-1)[18:][:16].view(1, 1, 1, 4, 4)
    for _ in range(2):
        with pytest.raises(ValueError, match="out must not share its memory with geometry"):
            torch.ops.spuproj.project_out(image, table, across)
        assert torch.equal(functional.project(image, table, out=apart)[0], image)


def test_a_result_that_is_written_over_counts_as_changed():
    views, image = Views.rigid(SIZE), noise(1, 1, *SIZE)
    out, factor = torch.zeros(1, 1, 1, *SIZE), torch.ones(1, requires_grad=True)
    product = factor * out
    torch.ops.spuproj.project_out(image, views.geometry, out)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory_format": -1}, "memory_format must be a torch.memory_format or None, got -1"),
        ({"memory_format": 2}, "memory_format must be a torch.memory_format or None, got 2"),
        ({"out_dtype": 6}, "out_dtype must be a torch.dtype or None, got 6"),
        ({"out_dtype": "float32"}, "out_dtype must be a torch.dtype or None, got 'float32'"),
        ({"interpolation": None}, "interpolation must be a name, got None"),
        ({"padding": 3}, "padding must be a name, got 3"),
    ],
)
def test_options_of_another_type_are_refused(options, message):
    with pytest.raises(TypeError, match=message):
        Views.rigid(SIZE).project(noise(1, 1, *SIZE), **options)


def test_an_image_that_requires_grad_needs_a_new_result():
    views = Views.rigid(SIZE)
    image, out = noise(1, 1, *SIZE).requires_grad_(), torch.empty(1, 1, 1, *SIZE)
    with pytest.raises(ValueError, match="out must be None where gradients are recorded"):
        views.project(image, out=out)
    with torch.no_grad():
        assert_close(views.project(image, out=out)[:, 0], image.detach())


def test_a_result_in_steps_of_two_elements_may_end_right_before_the_image():
    memory, last = torch.zeros(300), 2 * 99
    out = memory.as_strided((1, 1, 1, 10, 10), (1, 1, 1, 20, 2))
    check_apart(out, memory[last + 1 :], torch.zeros(1, 19))
    with pytest.raises(ValueError, match="out must not share its memory with image"):
        check_apart(out, memory[last:], torch.zeros(1, 19))
