"""Mean and uncertainty from any network: predict every view, bring the predictions back, reduce them to maps."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.jit import is_tracing  # type: ignore[attr-defined]

from spuproj.checks import choice, extremes, flag
from spuproj.geometry.by_size import Recent, is_function_of_size
from spuproj.geometry.module import ExactModule
from spuproj.inputs import plain_tensor
from spuproj.learnable import LearnableViews
from spuproj.wrapping.chunk import Chunk, checked_chunk, images_per_pass
from spuproj.wrapping.outputs import Key, selected_output
from spuproj.wrapping.reduction import AnyViews, blending_weights, reduce_views

ACTIVATIONS = ("sigmoid", "softmax")

# Values beyond [0, 1] by no more than this are rounding.
_TOLERANCE = 1e-3

Activation = str | Callable[[Tensor], Tensor] | None
ViewsOfSize = Callable[[tuple[int, int]], AnyViews]


class Prediction(NamedTuple):
    """Maps of a batch for K channels or classes: float32, or float64 where the model computes in it.

    Without a batch axis where the input had none.

    Attributes:
        mean: ``[B, K, H, W]`` in [0, 1], the weighted mean probability over views; 0 where no view shows the pixel.
        variance: ``[B, K, H, W]`` in [0, 1/4], the weighted population variance over views; NaN where the
            weights of the views that show the pixel sum to less than 2 (``count``).
        entropy: of the mean, in nats. ``[B, K, H, W]`` from 0 to ln 2, each channel against its complement; for
            softmax ``[B, 1, H, W]`` from 0 to ln K, over the classes.
        mutual_information: of the shape of ``entropy``, in nats: the entropy of the mean minus the mean entropy of the
            views, which is the part that is disagreement between views; NaN where the variance is.
        count: ``[B, K, H, W]``, the sum of the weights of the views that show the pixel, the largest of which is 1; at
            most N.
        members: ``[B, N, K, H, W]``, each view's probability on the slice, NaN where the view does not show the pixel;
            None unless requested.
    """

    mean: Tensor
    variance: Tensor
    entropy: Tensor
    mutual_information: Tensor
    count: Tensor  # type: ignore[assignment]
    members: Tensor | None = None


class _Look(ExactModule):
    """A copy of views with their blending weights, which are computed once."""

    weights: Tensor

    def __init__(self, views: AnyViews) -> None:
        super().__init__()
        # The caller may move or change the views. Tensors made in inference mode could not be trained through later.
        with torch.inference_mode(False):
            self.views = copy.deepcopy(views)
            self.register_buffer("weights", blending_weights(self.views), persistent=False)
        self.register_load_state_dict_post_hook(_Look._weigh_again)  # type: ignore[no-untyped-call]

    def _weigh_again(self, _: object) -> None:
        """Computes the weights of the views that a state dict has just brought."""
        with torch.inference_mode(False):
            self.weights = blending_weights(self.views)


def _checked_views(views: object) -> AnyViews:
    if not isinstance(views, AnyViews):
        raise TypeError(
            "views must be Views, or a function of the size that returns Views, such as Views.factory(...), got "
            f"{views!r}"
        )
    if views.geometry.requires_grad:
        raise ValueError(
            "views must have no gradient, since they are copied; to learn their geometry pass the LearnableViews"
        )
    return views


def _own_look(views_of_size: ViewsOfSize, size: tuple[int, int], device: torch.device) -> _Look:
    """A look at slices of this size."""
    return _moved(_Look(_checked_views(views_of_size(size))), device)


def _moved(look: _Look, device: torch.device) -> _Look:
    """The look on a device; on the meta device, which keeps no numbers, a copy of it."""
    with torch.inference_mode(False):
        return (copy.deepcopy(look) if device.type == "meta" else look).to(device)


class MultiView(nn.Module):
    """A network that looks at every slice through all views; made by ``wrap``, which describes the arguments."""

    def __init__(
        self,
        model: nn.Module,
        views: AnyViews | LearnableViews | ViewsOfSize,
        activation: Activation = "sigmoid",
        output: Key | None = None,
        chunk: Chunk | None = None,
        members: bool = False,
    ) -> None:
        super().__init__()
        if not callable(model):
            raise TypeError(f"model must be a network or another function of views [M, C, h, w], got {model!r:.200}")
        if isinstance(activation, str):
            choice(activation, ACTIVATIONS, "activation")
        elif activation is not None and (isinstance(activation, type) or not callable(activation)):
            # A class can be called too, but would make an object of the logits.
            raise TypeError(
                f"activation must be {' or '.join(ACTIVATIONS)}, a function of tensors, or None, got {activation!r}"
            )
        self.model, self.activation, self.output = model, activation, output
        self.members = flag(members, "members")
        self.chunk = checked_chunk(chunk)
        self._views_of_size = views if is_function_of_size(views) else None
        self.learned = views if isinstance(views, LearnableViews) else None
        is_fixed = self._views_of_size is None and self.learned is None
        self.look = _Look(_checked_views(views)) if is_fixed else None
        self._recent = Recent[_Look]()

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Prediction:
        """The maps of slices ``[B, C, H, W]`` or ``[C, H, W]``; see ``wrap``."""
        x = plain_tensor(x, "x")
        if x.dim() not in (3, 4):
            raise ValueError(f"x must have the axes [B, C, H, W] or [C, H, W], got the shape {tuple(x.shape)}")
        batch = x if x.dim() == 4 else x.unsqueeze(0)
        views, weights = self._look_at(batch)
        stack = views.project(batch)
        probability = self._predicted(stack.flatten(0, 1), args, kwargs).unflatten(0, stack.shape[:2])
        maps = self._maps(views, weights, probability)
        if x.dim() == 3:
            maps = Prediction._make(None if part is None else part.squeeze(0) for part in maps)
        if _is_exporting() or is_tracing():
            # A file that holds a class of this package could not be loaded without it.
            return tuple(part for part in maps if part is not None)  # type: ignore[return-value]
        return maps

    def _look_at(self, x: Tensor) -> tuple[AnyViews, Tensor]:
        """Views and their blending weights, for the size and on the device of ``x``."""
        if self.learned is not None:
            views = self.learned.with_gradient()
            return views, blending_weights(views)
        look, size, device = self.look, (x.shape[-2], x.shape[-1]), x.device
        if look is None:
            look = self._recent.get((size, device), lambda: self._new_look(size, device))
        elif look.weights.device != device:
            look = _moved(look, device)
        return look.views, look.weights

    def _new_look(self, size: tuple[int, int], device: torch.device) -> _Look:
        if _is_exporting():
            raise RuntimeError("views must exist before an export: call the module once with a slice of this size")
        assert self._views_of_size is not None
        # Views are made outside compiled code.
        make = torch.compiler.disable(_own_look) if torch.compiler.is_compiling() else _own_look
        return make(self._views_of_size, size, device)

    def _predicted(self, inputs: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """Probabilities ``[M, K, h, w]`` of views ``[M, C, h, w]``, in one pass or several."""
        if self.chunk is None:
            return self._one_pass(inputs, args, kwargs)
        parts = inputs.split(images_per_pass(self.chunk, inputs))
        return torch.cat([self._one_pass(part, args, kwargs) for part in parts])

    def _one_pass(self, inputs: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        found = selected_output(self.model(inputs, *args, **kwargs), self.output)
        return self._probability(_maps_of_views(found, "the model", inputs))

    def _probability(self, found: Tensor) -> Tensor:
        if self.activation == "sigmoid":
            return torch.sigmoid(found)
        if self.activation == "softmax":
            if found.shape[1] < 2:
                raise ValueError(
                    "the model must return at least two classes for activation='softmax', got one: pass 'sigmoid'"
                )
            return torch.softmax(found, dim=1)
        if callable(self.activation):
            found = _maps_of_views(self.activation(found), "the activation", found)
        return _checked_probability(found)

    def _maps(self, views: AnyViews, weights: Tensor, probability: Tensor) -> Prediction:
        """The maps from the probabilities in every view, ``[B, N, K, h, w]``."""
        maps = reduce_views(views, probability, weights, classes=self.activation == "softmax")
        kept = torch.where((weights == 0).unsqueeze(-3), math.nan, maps.members) if self.members else None
        return Prediction(maps.mean, maps.variance, maps.entropy, maps.mutual_information, maps.count, kept)


def _is_exporting() -> bool:
    """Whether ``torch.export`` is at work."""
    if not torch.compiler.is_compiling():
        return False
    # Imported here, as it imports torch's compiler, which takes longer than torch itself.
    from spuproj.wrapping.exporting import is_exporting

    return is_exporting()  # type: ignore[no-any-return]


_REMEDIES = {
    3: "add an axis of channels, with unsqueeze(1)",
    4: "bring its output to that size within the model, for example by torch.nn.functional.interpolate",
    5: "choose one of its maps, such as the first with [:, 0]",
}
"""What to do about a tensor that is no map, by its number of axes."""


def _maps_of_views(found: Any, giver: str, inputs: Tensor) -> Tensor:
    """What a model or an activation returns of views, float32 or float64. Raises ValueError or TypeError for others."""
    if not isinstance(found, Tensor):
        raise TypeError(f"{giver} must return a tensor, got {type(found).__name__}")
    maps = plain_tensor(found, giver)
    if maps.dim() != 4 or maps.shape[0] != inputs.shape[0] or maps.shape[-2:] != inputs.shape[-2:]:
        remedy = _REMEDIES.get(maps.dim(), _REMEDIES[4])
        raise ValueError(
            f"{giver} must return [M, K, h, w] of the size of the views, here {inputs.shape[0]} views of "
            f"{tuple(inputs.shape[-2:])}, got the shape {tuple(maps.shape)}; {remedy}"
        )
    if not maps.is_floating_point():
        raise TypeError(
            f"{giver} must return logits or probabilities of a floating-point dtype, got {maps.dtype}; a map of "
            "labels has no uncertainty: return what it was made of, before argmax or a threshold"
        )
    # Probabilities near 0 and 1 need more digits than half precision has.
    return maps if maps.dtype == torch.float64 else maps.float()


def _checked_probability(values: Tensor) -> Tensor:
    """The values without rounding beyond [0, 1]. Raises ValueError for values that are no probabilities."""
    low, high = extremes(values) or (0, 1)
    if low < -_TOLERANCE or high > 1 + _TOLERANCE:
        raise ValueError(
            f"probabilities must lie in [0, 1], got values from {low:g} to {high:g}; if the model returns logits, pass "
            "activation='sigmoid', or 'softmax' for classes"
        )
    return values.clamp(0, 1)


def wrap(
    model: nn.Module,
    views: AnyViews | LearnableViews | ViewsOfSize,
    activation: Activation = "sigmoid",
    output: Key | None = None,
    chunk: Chunk | None = None,
    members: bool = False,
) -> MultiView:
    """A module that gives the mean and the uncertainty of a 2-D segmentation network over views of its input.

    For slices ``[B, C, H, W]`` (or ``[C, H, W]``) it returns a ``Prediction``. Every view of every slice is passed to
    the model, and what it finds is brought back by the view's exact inverse. Mean and variance weigh each view by
    ``blending_weights``, so that the maps have no lines where a view ends. View pixels outside the slice are 0. Further
    arguments of a call are passed to the model.

    What ``torch.export``, ``torch.onnx.export`` and ``torch.jit.trace`` make of it returns the maps as a plain tuple.

    Gradients reach the model and the input. The model stays in the mode that it is in: call ``eval()`` for predictions
    (batch normalisation in training mode would mix the views, and depend on ``chunk``), or leave dropout on for more
    variance. It may run in half precision or under autocast; probabilities and maps are float32.

    Args:
        model: takes ``[M, C, h, w]``, and returns ``[M, K, h, w]`` of the same (h, w), with K channels or classes.
        views: for slices of one size (``views.portable()`` if the whole is exported to ONNX), or a function of the
            size (H, W), such as ``Views.factory``, whose views are kept for the last few sizes. They are copied, and
            the copy follows the device of the input. ``LearnableViews`` are not copied, but become part of the module:
            gradients reach their parameters, and every call computes their geometry anew.
        activation: what turns the model's output into probabilities: ``"sigmoid"``; ``"softmax"`` over the K classes;
            a function of ``[M, K, h, w]``; or None if they are probabilities already. Only with ``"softmax"``
            entropies are over the classes.
        output: where the prediction is in what the model returns: a key of a dictionary, an index of a tuple or list,
            or the name of an attribute; None if the model returns a tensor.
        chunk: how many views the model takes in one pass, counted over the batch; or the memory of these views, such
            as ``"64 MiB"`` (the model's own memory is a multiple of it). All at once if None. In evaluation mode the
            result does not depend on it, except for rounding.
        members: whether to return each view's probability too, which takes N times the memory of a map.

    Raises:
        ValueError: for an unknown activation, a chunk that is no positive number or amount of memory, or views that
            require a gradient. When called: for slices of another size than the views, a model whose output has another
            size than its input, softmax over one class, or probabilities outside [0, 1] (not checked in compiled code).
        TypeError: for a model, views, an activation or ``members`` of another type. When called: for a function that
            returns other than views, and for a model that returns labels, no tensor and no ``output``, or an ``output``
            that it does not have.

    Examples:
        >>> network = torch.nn.Conv2d(4, 1, 3, padding=1)
        >>> wrapped = wrap(network, Views.factory("spherical", grid=(3, 3)))
        >>> prediction = wrapped(torch.rand(2, 4, 64, 48))
        >>> prediction.mean.shape, prediction.variance.shape
        (torch.Size([2, 1, 64, 48]), torch.Size([2, 1, 64, 48]))
    """
    return MultiView(model, views, activation, output, chunk, members)
