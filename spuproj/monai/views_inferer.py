"""Mean and uncertainty over views as an inferer of MONAI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer, SimpleInferer, SliceInferer
from torch import Tensor, nn

from spuproj import Views
from spuproj.inputs import plain_tensor
from spuproj.wrapping import Prediction, wrap
from spuproj.wrapping.chunk import Chunk
from spuproj.wrapping.multi_view import Activation, ViewsOfSize
from spuproj.wrapping.outputs import Key


class ViewsInferer(Inferer):
    """Predicts every view of a slice, brings the predictions back and reduces them to mean and uncertainty.

    Calling it with inputs and a network gives a ``Prediction``. Inputs are slices ``[B, C, H, W]``, or with a
    ``slice_inferer`` also volumes ``[B, C, X, Y, Z]``; the maps have the same spatial axes. If the input is a
    ``MetaTensor``, the maps are too, with its affine and its applied operations, so that ``Invertd`` and ``SaveImaged``
    take them. What the network sees are views, for which the affine does not hold: plain tensors. The members have an
    axis that MONAI does not know, and are plain tensors too.

    Args:
        views: for slices of one size, or ``Views.factory``, or another function of the size (H, W).
        inferer: runs the network on the views ``[M, C, h, w]``; ``SimpleInferer`` if None. With a
            ``SlidingWindowInferer``, windows slide over each view.
        activation, output, chunk, members: see ``spuproj.wrap``.
        slice_inferer: how a volume is cut into slices, for example
            ``SliceInferer(roi_size=(-1, -1), spatial_dim=2, sw_batch_size=4)`` for four slices along z at a time. A
            slice along z is ``[C, X, Y]``, so that H is x and W is y. Views are of whole slices, so ``roi_size`` must
            be (-1, -1) or the slice's; windows within views are those of ``inferer``.

    Raises:
        ValueError: as ``spuproj.wrap`` does; when called, for a volume without a ``slice_inferer``, one that cuts
            slices into windows, or inputs of another number of axes.
        TypeError: for inferers of another type; when called, for inputs that are no tensor.

    Examples:
        >>> from monai.inferers import SlidingWindowInferer
        >>> windows = SlidingWindowInferer(roi_size=(32, 32), overlap=0.5)
        >>> inferer = ViewsInferer(Views.factory("spherical", grid=(2, 2)), windows)
        >>> inferer(torch.rand(1, 4, 64, 48), network=torch.nn.Conv2d(4, 1, 3, padding=1)).variance.shape
        torch.Size([1, 1, 64, 48])
    """

    def __init__(
        self,
        views: Views | ViewsOfSize,
        inferer: Inferer | None = None,
        activation: Activation = "sigmoid",
        output: Key | None = None,
        chunk: Chunk | None = None,
        members: bool = False,
        slice_inferer: SliceInferer | None = None,
    ) -> None:
        super().__init__()
        if not (inferer is None or isinstance(inferer, Inferer)):
            raise TypeError(f"inferer must be an inferer of MONAI, such as SlidingWindowInferer(...), got {inferer!r}")
        if not (slice_inferer is None or isinstance(slice_inferer, SliceInferer)):
            raise TypeError(f"slice_inferer must be a SliceInferer of MONAI, got {slice_inferer!r}")
        if isinstance(inferer, SliceInferer):
            raise TypeError("inferer must not be a SliceInferer, which goes to slice_inferer")
        inner = _Inferred(SimpleInferer() if inferer is None else inferer)
        self.multi_view = wrap(inner, views, activation, output, chunk, members)
        self.slice_inferer = slice_inferer

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Prediction:
        """The maps of slices or volumes; see the class.

        Args:
            inputs: ``[B, C, H, W]`` or ``[B, C, X, Y, Z]``, floating.
            network: takes ``[M, C, h, w]``.
            args, kwargs: passed to the network.
        """

        def look(slices: Tensor) -> Prediction:
            found: Prediction = self.multi_view(slices, network, *args, **kwargs)
            return found

        plain = plain_tensor(inputs, "inputs")
        if plain.dim() not in (4, 5):
            raise ValueError(
                f"inputs must have the axes [B, C, H, W] or [B, C, X, Y, Z], got the shape {tuple(plain.shape)}"
            )
        prediction = look(plain) if plain.dim() == 4 else self._of_volume(plain, look)
        return _with_metadata(prediction, inputs) if isinstance(inputs, MetaTensor) else prediction

    def _of_volume(self, volume: Tensor, look: Callable[[Tensor], Prediction]) -> Prediction:
        if self.slice_inferer is None:
            raise ValueError(
                f"inputs must be slices [B, C, H, W], got the shape {tuple(volume.shape)}; for volumes pass "
                "slice_inferer=SliceInferer(roi_size=(-1, -1), spatial_dim=2), which takes slices along the last axis"
            )
        sides = [side for axis, side in enumerate(volume.shape[2:]) if axis != self.slice_inferer.spatial_dim]

        def look_at(slices: Tensor) -> dict[str, Tensor]:
            if list(slices.shape[2:]) != sides:
                raise ValueError(
                    f"slice_inferer must take whole slices, here {sides}, with roi_size=(-1, -1), got windows of "
                    f"{list(slices.shape[2:])}; for windows within each view pass inferer=SlidingWindowInferer(...)"
                )
            maps = {name: part for name, part in look(slices.to(volume.dtype))._asdict().items() if part is not None}
            # SliceInferer stacks [B, K, H, W]: members are [B, N, K, H, W].
            return {name: part.flatten(1, 2) if name == "members" else part for name, part in maps.items()}

        # The inferer stores maps in the dtype of its input; those of half-precision volumes need more digits.
        wide = volume if volume.dtype == torch.float64 else volume.float()
        maps = self.slice_inferer(wide, look_at)
        assert isinstance(maps, dict)  # like what its network returns
        members = maps.pop("members", None)
        kept = None if members is None else members.unflatten(1, (-1, maps["mean"].shape[1]))
        return Prediction(**maps, members=kept)


class _Inferred(nn.Module):
    """A network that is given with its input, run by an inferer."""

    def __init__(self, inferer: Inferer) -> None:
        super().__init__()
        self.inferer = inferer

    def forward(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.inferer(inputs, network, *args, **kwargs)


def _with_metadata(prediction: Prediction, source: MetaTensor) -> Prediction:
    """The maps with the metadata of what they were predicted from."""
    *maps, members = prediction
    return Prediction._make([*(MetaTensor(part).copy_meta_from(source) for part in maps), members])
