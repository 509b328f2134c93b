"""The records of all ops."""

import torch
from torch import Tensor

from spuproj.backends.base import Backend, Launch, Result
from spuproj.backends.taps import Sampling, sampling_of
from spuproj.ops.checks import (
    check_apart,
    check_backward,
    check_project,
    check_project_adjoint,
    check_project_out,
    check_reduce,
    check_source,
    count_dtype,
)
from spuproj.ops.gradients import reduce_backward, reduce_backward_backward, reduce_backward_setup, reduce_setup
from spuproj.ops.record import Call, Op


def _allocate_project(call: Call) -> list[Result]:
    batch, channels = call.image.shape[:2]
    shape = (batch, call.geometry.shape[-2], channels, *call.view_size)
    return [Result(shape, call.out_dtype or call.image.dtype, call.memory_format == torch.channels_last)]


def _view_sampling(call: Call, views: Tensor, slices: Tensor) -> Sampling:
    """The sampling of views from a slice."""
    return sampling_of(views, slices, call.interpolation, inverse=False, padding=call.padding)


def _slice_sampling(call: Call, slices: Tensor, views: Tensor) -> Sampling:
    """The sampling of a slice from views."""
    return sampling_of(slices, views, call.interpolation, inverse=True)


def _project_into_out(backend: Backend, call: Call) -> Launch | None:
    check_apart(call.out, call.image, call.geometry)
    sampling = _view_sampling(call, call.out, call.image)
    return backend.gather(call.image, call.geometry, sampling, call.out, call.fill)


def _allocate_moments(call: Call) -> list[Result]:
    shape, dtype = (call.stack.shape[0], call.stack.shape[2], *call.size), call.stack.dtype
    return [Result(shape, dtype), Result(shape, dtype), Result(shape, count_dtype(call))]


OPS = {
    "project": Op(
        "(Tensor image, Tensor geometry, SymInt[2] view_size, str interpolation='bilinear', str padding='constant',"
        " Scalar fill=0, ScalarType? out_dtype=None, MemoryFormat? memory_format=None) -> Tensor",
        check_project,
        _allocate_project,
        lambda backend, c, out: backend.gather(c.image, c.geometry, _view_sampling(c, out, c.image), out, c.fill),
        "project_adjoint",
    ),
    "project_out": Op(
        "(Tensor image, Tensor geometry, Tensor(a!) out, str interpolation='bilinear', str padding='constant',"
        " Scalar fill=0) -> ()",
        check_project_out,
        lambda c: [],
        _project_into_out,
    ),
    "project_adjoint": Op(
        "(Tensor stack, Tensor geometry, SymInt[2] size, str interpolation='bilinear', str padding='constant')"
        " -> Tensor",
        check_project_adjoint,
        lambda c: [Result((c.stack.shape[0], c.stack.shape[2], *c.size), c.stack.dtype)],
        lambda backend, c, out: backend.gather_adjoint(c.stack, c.geometry, _view_sampling(c, c.stack, out), out),
        "project",
    ),
    "unproject": Op(
        "(Tensor stack, Tensor geometry, SymInt[2] size, str interpolation='bilinear') -> Tensor",
        lambda c: check_source(c, "stack", "B, N, C, h, w", integral=True),
        lambda c: [Result((*c.stack.shape[:3], *c.size), c.stack.dtype)],
        lambda backend, c, out: backend.gather(c.stack, c.geometry, _slice_sampling(c, out, c.stack), out, 0),
        "unproject_adjoint",
    ),
    "unproject_adjoint": Op(
        "(Tensor slices, Tensor geometry, SymInt[2] view_size, str interpolation='bilinear') -> Tensor",
        lambda c: check_source(c, "slices", "B, N, C, H, W", integral=False),
        lambda c: [Result((*c.slices.shape[:3], *c.view_size), c.slices.dtype)],
        lambda backend, c, out: backend.gather_adjoint(c.slices, c.geometry, _slice_sampling(c, c.slices, out), out),
        "unproject",
    ),
    "unproject_reduce": Op(
        "(Tensor stack, Tensor geometry, SymInt[2] size, str interpolation='bilinear', Tensor? weights=None)"
        " -> (Tensor mean, Tensor variance, Tensor count)",
        check_reduce,
        _allocate_moments,
        lambda backend, c, *results: backend.reduce(
            c.stack, c.geometry, _slice_sampling(c, results[0], c.stack), c.weights, results
        ),
        (reduce_setup, reduce_backward),
    ),
    "unproject_reduce_backward": Op(
        "(Tensor grad_mean, Tensor grad_variance, Tensor stack, Tensor geometry, Tensor mean, Tensor count,"
        " str interpolation='bilinear', Tensor? weights=None) -> Tensor",
        check_backward,
        lambda c: [Result(c.stack.shape, c.stack.dtype)],
        lambda backend, c, out: backend.reduce_backward(
            c.stack,
            c.geometry,
            _slice_sampling(c, c.mean, c.stack),
            c.weights,
            (c.grad_mean, c.grad_variance, c.mean, c.count),
            out,
        ),
        (reduce_backward_setup, reduce_backward_backward),
    ),
}
"""Every op by name."""
