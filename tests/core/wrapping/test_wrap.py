"""``wrap``: maps against a loop over views, gradients, chunks, activations, sizes, precision, and what is refused."""

import copy
import io
import math
import pickle
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn
from torch.testing import assert_close

from helpers import noise, refused
from spuproj import LearnableViews, Prediction, Views, wrap
from spuproj.wrapping import blending_weights

SIZE, VIEW_SIZE = (20, 26), (18, 22)
X = noise(2, 2, *SIZE)
# Some pixels are shown by no view, by one and by several.
ZOOM = Views.zoom(SIZE, centers=[(5, 5), (6, 12), (9, 11), (11, 16)], factor=1.3, view_size=VIEW_SIZE)


def network(classes=3, inputs=2, dropout=0.0):
    torch.manual_seed(0)
    last = nn.Conv2d(6, classes, 1)
    model = nn.Sequential(nn.Conv2d(inputs, 6, 3, padding=1), nn.Tanh(), nn.Dropout(dropout), last)
    with torch.no_grad():
        last.weight.mul_(6)
    return model.eval()


def assert_same_maps(first, second, atol=1e-6):
    for one, other in zip(first, second, strict=True):
        if one is not None or other is not None:
            assert_close(one, other, rtol=0, atol=atol, equal_nan=True)


def maps_of_a_loop(model, views, x, activation):
    """The maps in float64 NumPy, view by view."""
    stacked, entropies = [], []
    for n in range(len(views)):
        probability = activation(model(views[n].project(x)[:, 0]))
        shown = views[n].unproject(probability[:, None])[:, 0].detach().double().numpy()
        with np.errstate(invalid="ignore"):
            own = stats.entropy(shown if activation is softmax else [shown, 1 - shown], axis=int(activation is softmax))
        stacked.append(shown)
        entropies.append(np.nan_to_num(own[:, None] if activation is softmax else own))
    weights = blending_weights(views).double().numpy()[:, None, None]
    count = weights.sum(axis=0)
    members, total = np.array(stacked), np.maximum(count, 1e-12)
    mean = (weights * members).sum(axis=0) / total
    variance = np.where(count >= 2, (weights * (members - mean) ** 2).sum(axis=0) / total, np.nan)
    pairs = mean if activation is softmax else np.stack([mean, 1 - mean])
    with np.errstate(invalid="ignore"):
        whole = stats.entropy(pairs, axis=1 if activation is softmax else 0)
    whole = np.nan_to_num(whole[:, None] if activation is softmax else whole)
    shared = np.where(count >= 2, whole - (weights * np.array(entropies)).sum(axis=0) / total, np.nan)
    shown = np.where(weights > 0, members, np.nan).swapaxes(0, 1)
    maps = (mean, variance, whole, shared.clip(0), np.broadcast_to(count, mean.shape), shown)
    return [torch.tensor(part, dtype=torch.float32) for part in maps]


def softmax(logits):
    return logits.softmax(dim=1)


@pytest.mark.parametrize(("name", "activation"), [("sigmoid", torch.sigmoid), ("softmax", softmax)])
@pytest.mark.parametrize(
    "views", [ZOOM, Views.spherical(SIZE, grid=(2, 2), view_size=VIEW_SIZE)], ids=["zoom", "sphere"]
)
def test_the_maps_are_those_of_a_loop_over_views(name, activation, views):
    found = wrap(network(), views, name, members=True)(X)
    channels = {"sigmoid": 3, "softmax": 1}[name]
    shapes = [(2, n, *SIZE) for n in (3, 3, channels, channels, 3)]
    assert [tuple(part.shape) for part in found] == [*shapes, (2, 4, 3, *SIZE)]
    count = found.count
    assert (count >= 2).any()
    assert (count < 2).any() == (views is ZOOM)
    assert_same_maps(found, maps_of_a_loop(network(), views, X, activation), atol=1e-5)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_views_that_agree_have_no_mutual_information(activation):
    """Interpolation of a sharp edge is uncertain, but it is no disagreement."""
    views, edge = Views.spherical(SIZE, grid=(2, 2))[[1, 1]], torch.zeros(1, 2, *SIZE)
    edge[..., SIZE[1] // 2 :] = 1

    class Sharp(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 24 * x - 12

    found = wrap(Sharp(), views, activation)(edge)
    assert found.entropy.max() > 0.5
    both = torch.isfinite(found.variance[:, :1])
    assert both.sum() > 100
    assert found.variance[:, :1][both].max() < 1e-9
    assert found.mutual_information[:, :1][both].max() < 1e-5


def test_a_pixel_that_no_view_shows_is_zero_and_has_no_variance():
    found = wrap(network(), ZOOM, members=True)(X)
    unseen = found.count[0, 0] == 0
    assert unseen.any()
    assert found.mean[..., unseen].count_nonzero() == found.entropy[..., unseen].count_nonzero() == 0
    for part in (found.variance, found.mutual_information, found.members):
        assert part[..., unseen].isnan().all()


@settings(max_examples=8, deadline=None)
@given(
    st.one_of(st.integers(1, 12), st.integers(1, 10**5).map(lambda n: f"{n / 2**10:.3f} KiB")),
    st.integers(1, 3),
    st.sampled_from(["sigmoid", "softmax"]),
)
def test_chunks_do_not_change_the_maps_and_bound_what_the_model_takes(chunk, batch, activation):
    taken = []
    model = network()
    model.register_forward_pre_hook(lambda _, arguments: taken.append(arguments[0]))
    x = noise(batch, 2, *SIZE)
    found = wrap(model, ZOOM, activation, chunk=chunk)(x)
    assert_same_maps(found, wrap(network(), ZOOM, activation)(x))
    size = taken[0][0].numel() * taken[0].element_size()
    most = chunk if isinstance(chunk, int) else max(1, int(float(chunk.split()[0]) * 2**10 / size))
    assert len(taken) == -(-4 * batch // most)
    assert max(map(len, taken)) <= most


@pytest.mark.parametrize("chunk", [0, -1, True, 1.5, "many", "3", "0 MiB", "5 MB"])
def test_a_chunk_that_is_no_amount_is_refused(chunk):
    message = f"chunk must be a positive whole number, or memory such as '64 MiB', got {chunk!r}"
    refused(ValueError, message, lambda: wrap(network(), ZOOM, chunk=chunk))


def test_a_function_turns_the_output_into_probabilities_and_none_leaves_it():
    wanted = wrap(network(), ZOOM)(X)
    assert_same_maps(wrap(network(), ZOOM, torch.sigmoid)(X), wanted)
    assert_same_maps(wrap(nn.Sequential(network(), nn.Sigmoid()), ZOOM, None)(X), wanted)


@pytest.mark.parametrize("activation", [None, lambda logits: 2 * logits])
def test_logits_in_place_of_probabilities_are_refused(activation):
    message = "probabilities must lie in [0, 1], got values from -"
    refused(ValueError, message, lambda: wrap(network(), ZOOM, activation)(X))
    refused(ValueError, "pass activation='sigmoid'", lambda: wrap(network(), ZOOM, activation)(X))


def test_rounding_beyond_one_is_no_error_and_gives_finite_entropies():
    found = wrap(nn.Sequential(nn.Conv2d(2, 1, 1), nn.Threshold(1e9, 1 + 1e-5)), ZOOM, None)(X)
    assert found.mean.max() == 1
    assert found.entropy.abs().max() < 1e-6


def test_an_unknown_activation_and_views_that_are_none_are_refused():
    message = "activation must be one of sigmoid, softmax, got 'relu'"
    refused(ValueError, message, lambda: wrap(network(), ZOOM, "relu"))
    learned, message = LearnableViews(SIZE, grid=(2, 2)), "views must be Views, or a function of the size"
    wrapped: Any = partial(wrap, network())
    for views in ("views", None, network(), Views):
        refused(TypeError, message, partial(wrapped, views))
    for wrong in (None, learned):
        refused(TypeError, message, partial(wrapped(lambda size, wrong=wrong: wrong), X))
    assert wrap(network(), learned.views())(X).mean.shape[-2:] == SIZE


class Returning(nn.Module):
    """The network's logits within another result."""

    def __init__(self, form):
        super().__init__()
        self.network, self.form = network(), form

    def forward(self, x):
        return self.form(self.network(x))


Pair = namedtuple("Pair", ["aux", "logits"])


@dataclass
class Output:
    logits: torch.Tensor
    loss: float = 0.0


@pytest.mark.parametrize(
    ("form", "output", "choices"),
    [
        (lambda t: OrderedDict(out=t, aux=t + 1), "out", "'out', 'aux'"),
        (lambda t: {0: t + 1, 1: t}, 1, "0, 1"),
        (lambda t: (t, None, t + 1), 0, "0, 2"),
        (lambda t: [t + 1, t], -1, "0, 1"),
        (lambda t: Pair(t + 1, t), "logits", "0, 1"),
        (Output, "logits", "'logits'"),
        (lambda t: SimpleNamespace(loss=0.0, logits=t), "logits", "'logits'"),
    ],
    ids=["dict", "integer key", "tuple", "list", "named tuple", "dataclass", "object"],
)
def test_the_prediction_is_found_in_what_the_model_returns(form, output, choices):
    assert_same_maps(wrap(Returning(form), ZOOM, output=output)(X), wrap(network(), ZOOM)(X))
    for wrong in (None, "nothing", 7):
        message = f"output must be one of {choices}, since the model returns a"
        refused(TypeError, message, partial(wrap(Returning(form), ZOOM, output=wrong), X))


def test_an_output_of_a_model_that_returns_a_tensor_is_refused():
    message = "output must be None, since the model returns a tensor, got 0"
    refused(TypeError, message, lambda: wrap(network(), ZOOM, output=0)(X))


@pytest.mark.parametrize("form", [lambda t: t[..., ::2, ::2], lambda t: t[:1], lambda t: t[:, 0]])
def test_a_model_whose_output_has_another_size_is_refused(form):
    message = "the model must return [M, K, h, w] of the size of the views, here 8 views of (18, 22), got the shape ("
    refused(ValueError, message, lambda: wrap(Returning(form), ZOOM)(X))


@pytest.mark.parametrize("saturated", [False, True])
def test_gradients_of_all_maps_reach_the_model_and_the_input_and_are_finite(saturated):
    model, x = network(), X.clone().requires_grad_()
    if saturated:
        with torch.no_grad():
            model[-1].weight.mul_(1e4)
    found = wrap(model, ZOOM, chunk=3)(x)
    torch.cat([torch.nan_to_num(part).flatten() for part in found[:4]]).sum().backward()
    for tensor in (x, *model.parameters()):
        assert torch.isfinite(tensor.grad).all()
        assert saturated or tensor.grad.count_nonzero() > 0


def test_the_gradient_of_the_input_is_right():
    model, x = network(1).double(), noise(1, 2, *SIZE, dtype=torch.float64).requires_grad_()
    wrapped, direction = wrap(model, ZOOM, "sigmoid"), noise(1, 2, *SIZE, seed=3, dtype=torch.float64)

    def total(values):
        found = wrapped(values)
        return torch.nan_to_num(found.variance).sum() + found.mean.square().sum() + found.entropy.sum()

    (slope,) = torch.autograd.grad(total(x), x)
    with torch.no_grad():
        step = 1e-6 * direction
        assert_close((slope * direction).sum(), (total(x + step) - total(x - step)) / 2e-6, rtol=1e-6, atol=1e-6)


def test_a_slice_without_a_batch_axis():
    found, wanted = wrap(network(), ZOOM, members=True)(X[0]), wrap(network(), ZOOM, members=True)(X[:1])
    assert_same_maps(found, [part[0] for part in wanted], atol=0)
    assert isinstance(found, Prediction)
    assert wrap(network(), ZOOM)(X[0]).members is None
    refused(ValueError, "x must have the axes [B, C, H, W] or [C, H, W], got the shape (20, 26)",
            lambda: wrap(network(), ZOOM)(X[0, 0]))  # fmt: skip


def test_slices_of_another_size_than_the_views_are_refused():
    refused(ValueError, "must end in the pixel size of these views, (20, 26), got (20, 20)",
            lambda: wrap(network(), ZOOM)(X[..., :20]))  # fmt: skip


def test_each_sample_may_have_views_of_its_own():
    centers = [[(5.0, 5.0), (9.0, 9.0), (10.0, 16.0)], [(12.0, 20.0), (7.0, 9.0), (10.0, 5.0)]]
    views = Views.zoom(SIZE, centers, factor=1.2)
    found = wrap(network(), views, members=True)(X)
    for n in range(2):
        alone = wrap(network(), Views.zoom(SIZE, centers[n], factor=1.2), members=True)(X[n : n + 1])
        assert_same_maps([part[n : n + 1] for part in found], alone, atol=1e-5)


def test_views_are_made_for_each_size_and_kept():
    asked = []

    def made(size):
        asked.append(size)
        return Views.rigid(size, degrees=[0, 20])

    wrapped = wrap(network(), made)
    for size in (SIZE, (16, 16), SIZE, (16, 16)):
        found = wrapped(noise(1, 2, *size))
        assert_same_maps(found, wrap(network(), Views.rigid(size, degrees=[0, 20]))(noise(1, 2, *size)), atol=0)
    assert asked == [SIZE, (16, 16)]


def test_the_factory_keeps_the_views_of_the_last_sizes():
    make = Views.factory("rigid", degrees=[0, 20])
    first = make((12, 12))
    assert make([12, 12]) is first
    for height in range(13, 40):
        make((height, 12))
    assert make((12, 12)) is not first
    assert torch.equal(make((12, 12)).geometry, first.geometry)


@pytest.mark.parametrize(
    ("kind", "options", "views"),
    [
        ("spherical", {"grid": (2, 3), "radius": 9.0}, Views.spherical(SIZE, grid=(2, 3), radius=9.0)),
        (
            "zoom",
            {"grid": (2, 2)},
            Views.zoom(SIZE, centers=[(4.75, 6.25), (4.75, 18.75), (14.25, 6.25), (14.25, 18.75)]),
        ),
        ("rigid", {"flips": ["none", "both"]}, Views.rigid(SIZE, flips=["none", "both"])),
    ],
)
def test_the_factory_makes_the_views_of_the_constructor(kind, options, views):
    made = Views.factory(kind, **options)(SIZE)
    assert (made.size, made.view_size) == (views.size, views.view_size)
    assert_close(made.geometry, views.geometry)


def test_a_factory_says_what_it_does_not_know():
    refused(ValueError, "kind must be one of spherical, zoom, rigid, got 'flat'", lambda: Views.factory("flat"))
    refused(TypeError, "got an unexpected keyword argument 'gird'", lambda: Views.factory("spherical", gird=(3, 3)))
    refused(ValueError, "centers or grid must be given", lambda: Views.factory("zoom")(SIZE))


@pytest.mark.parametrize("views", [ZOOM, Views.factory("spherical", grid=(2, 2))], ids=["views", "factory"])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda wrapped: pickle.loads(pickle.dumps(wrapped))])
def test_a_wrapped_model_can_be_copied_and_pickled(views, copied):
    wrapped = wrap(network(), views, "softmax")
    wanted = wrapped(X)
    assert_same_maps(copied(wrapped)(X), wanted, atol=0)


def test_a_state_dict_brings_its_views_and_their_weights():
    other = Views.zoom(SIZE, centers=[(4, 4), (5, 7), (12, 11), (6, 16)], factor=1.1, view_size=VIEW_SIZE)
    wrapped, wanted = wrap(network(), copy.deepcopy(ZOOM)), wrap(network(), other)
    stream = io.BytesIO()
    torch.save(wanted.state_dict(), stream)
    stream.seek(0)
    wrapped.load_state_dict(torch.load(stream, weights_only=True))
    assert_same_maps(wrapped(X), wanted(X), atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_a_model_of_another_precision_gives_maps_of_at_least_float32(dtype):
    found = wrap(network().to(dtype), ZOOM, "softmax")(X.to(dtype))
    wanted = torch.float64 if dtype == torch.float64 else torch.float32
    assert {part.dtype for part in found[:4]} == {wanted}
    assert_close(found.mean.float(), wrap(network(), ZOOM, "softmax")(X).mean, rtol=0, atol=0.05)


def test_under_autocast_the_maps_stay_float32():
    with torch.autocast("cpu", torch.bfloat16):
        found = wrap(network(), ZOOM)(X)
    assert {part.dtype for part in found[:5]} == {torch.float32}
    assert_close(found.mean, wrap(network(), ZOOM)(X).mean, rtol=0, atol=0.05)


def test_dropout_stays_on_in_training_mode_and_the_mode_is_left_alone():
    wrapped = wrap(network(dropout=0.5).train(), ZOOM)
    assert not torch.equal(wrapped(X).mean, wrapped(X).mean)
    assert wrapped.model.training
    wrapped.eval()
    assert torch.equal(wrapped(X).mean, wrapped(X).mean)


def test_an_empty_batch_gives_empty_maps():
    found = wrap(network(), ZOOM, chunk=2)(X[:0])
    assert [tuple(part.shape) for part in found[:5]] == [(0, 3, *SIZE)] * 5


@pytest.mark.parametrize(("strict", "activation"), [(False, "softmax"), (True, torch.sigmoid)])
def test_it_exports(strict, activation):
    wrapped = wrap(network(), ZOOM, activation, chunk=3, members=True)
    exported = torch.export.export(wrapped, (X,), strict=strict).module()
    assert_same_maps(Prediction(*exported(2 * X)), wrapped(2 * X))


def test_a_factory_exports_once_its_views_exist():
    wrapped = wrap(network(), Views.factory("spherical", grid=(2, 2)))
    refused(RuntimeError, "call the module once with a slice of this size",
            lambda: torch.export.export(wrapped, (X,), strict=False))  # fmt: skip
    wanted = wrapped(X)
    assert_same_maps(Prediction(*torch.export.export(wrapped, (X,), strict=False).module()(X)), wanted)


FACTORY = Views.factory("spherical", grid=(2, 2))


@pytest.mark.parametrize(("views", "fullgraph"), [(ZOOM, True), (FACTORY, True), (FACTORY, False)])
def test_it_compiles(views, fullgraph):
    torch.compiler.reset()
    wrapped = wrap(network(), views, "softmax", chunk=5)
    # Views of a factory are made outside the graph.
    wanted = wrapped(X) if fullgraph else None
    found = torch.compile(wrapped, backend="aot_eager", fullgraph=fullgraph)(X)
    assert_same_maps(found, wrapped(X) if wanted is None else wanted)


def test_nan_logits_stay_nan_in_the_maps():
    found = wrap(Returning(lambda t: t * math.nan), ZOOM)(X)
    shown = found.count > 0
    assert found.mean[shown].isnan().all()
