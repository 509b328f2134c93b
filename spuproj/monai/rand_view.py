"""A random view of the slice as augmentation, in MONAI's pipelines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor, get_track_meta
from monai.transforms import InvertibleTransform, MapTransform, RandomizableTransform
from monai.utils import TraceKeys, TransformBackends, convert_to_tensor, ensure_tuple_rep
from torch import Tensor

from spuproj import Views
from spuproj.checks import choice, number_of
from spuproj.geometry.by_size import Recent, is_function_of_size
from spuproj.inputs import plain_number

MODES = ("bilinear", "nearest")


class RandViewd(RandomizableTransform, MapTransform, InvertibleTransform):
    """Shows a random one of several views of a slice, the same for all keys: a dictionary transform of MONAI.

    ``Invertd`` and ``Compose.inverse`` map what is on the view back onto the slice, exactly where each pixel came from;
    what the view does not show is 0 there.

    An affine cannot describe a view, so a ``MetaTensor`` keeps that of the slice while it is a view, and has the right
    one again after inversion. Transforms that use the affine (``Spacingd``, ``Orientationd``) go before this one.

    MONAI's arrays are (x, y, z): the slice of a volume ``[C, X, Y, Z]`` along z is ``[C, X, Y]``, so that H is x and W
    is y. ``Orientationd(keys, axcodes="PLS")`` before this transform gives the usual rows and columns: H from the front
    to the back, W from the right to the left.

    Args:
        keys: of the data, channel first: slices ``[C, H, W]``, or volumes, see ``spatial_dim``.
        views: of which one is drawn, all equally probable; or ``Views.factory``, or another function of the (height,
            width) of a slice; not a lambda where worker processes are started by "spawn".
        prob: probability that a sample is shown through a view. Samples that are not keep their size: below 1,
            ``view_size`` should be the slice's.
        mode: ``"bilinear"`` for images, ``"nearest"`` for labels, which keeps their values; one for all keys, or one
            each. ``LoadImaged`` makes labels float32, and ``"bilinear"`` would mix them.
        fill: value where the view shows what is outside of the slice; one for all keys, or one each.
        spatial_dim: for volumes, the spatial axis, 0, 1 or 2, along which the slices lie, as in ``SliceInferer``; all
            slices are shown through the same view. None for slices.
        allow_missing_keys: whether keys may be missing in the data.

    Raises:
        ValueError: for views that differ from sample to sample, another mode or spatial axis, a probability outside
            [0, 1], or another number of modes or fills than of keys; when called, for data of another number of axes or
            a slice that is not of the views' size.
        TypeError: for views of another type; when called, for integers with ``"bilinear"``.

    Examples:
        >>> views = Views.rigid((32, 32), degrees=[-10, 0, 10])
        >>> shown = RandViewd(["image", "label"], views, prob=1.0, mode=["bilinear", "nearest"])
        >>> shown({"image": torch.rand(1, 32, 32), "label": torch.ones(1, 32, 32, dtype=torch.uint8)})["label"].dtype
        torch.uint8
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 (as in MONAI)

    def __init__(
        self,
        keys: KeysCollection,
        views: Views | Callable[[tuple[int, int]], Views],
        prob: float = 0.1,
        mode: str | Sequence[str] = "bilinear",
        fill: float | Sequence[float] = 0.0,
        spatial_dim: int | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        if not 0 <= number_of(prob, "prob") <= 1:
            raise ValueError(f"prob must lie in [0, 1], got {prob}")
        RandomizableTransform.__init__(self, prob)
        if isinstance(spatial_dim, bool) or spatial_dim not in (None, 0, 1, 2):
            raise ValueError(f"spatial_dim must be 0, 1, 2 or None, got {spatial_dim}")
        if not (isinstance(views, Views) or is_function_of_size(views)):
            raise TypeError(
                f"views must be Views, or a function of the size that returns Views, such as Views.factory(...), got "
                f"{views!r}"
            )
        if isinstance(views, Views) and views.geometry.dim() != 2:
            raise ValueError(f"views must be the same for all samples, got a batch of {len(views.geometry)}")
        self.views = views
        self.mode = [choice(str(each), MODES, "mode") for each in self._for_each_key(mode, "mode")]
        self.fill = [plain_number(each, "fill") for each in self._for_each_key(fill, "fill")]
        self.spatial_dim = spatial_dim
        self.index = 0
        self._recent = Recent[list[Views]]()

    def _for_each_key(self, value: Any, argument: str) -> tuple[Any, ...]:
        """One value for each key. Raises ValueError for another number of values."""
        try:
            return ensure_tuple_rep(value, len(self.keys))
        except ValueError:
            raise ValueError(f"{argument} must be one for all keys or one for each, {self.keys}, got {value}") from None

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandViewd:
        """Makes what is drawn reproducible; see ``monai.transforms.Randomizable``."""
        super().set_random_state(seed, state)
        return self

    def randomize(self, data: int) -> None:
        """Draws whether the next sample is shown through a view, and which of ``data`` views."""
        super().randomize(None)
        if self._do_transform:
            self.index = int(self.R.randint(data))

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Returns the data with each key's slices seen through the view that is drawn."""
        d = dict(data)
        first = self.first_key(d)
        if first == ():  # MONAI's way to say that no key is there
            return d
        self.randomize(len(self._views_of(d[first].shape[1:])))
        for key, mode, fill in self.key_iterator(d, self.mode, self.fill):
            image = convert_to_tensor(d[key], track_meta=get_track_meta())
            d[key] = self._shown(image, mode, fill) if self._do_transform else image
            extra = {"view": self.index, "mode": mode}
            self.push_transform(d[key], orig_size=tuple(image.shape[1:]), extra_info=extra)  # type: ignore[no-untyped-call]
        return d

    def inverse(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Maps what is on a view back onto the slice."""
        d = dict(data)
        for key in self.key_iterator(d):
            applied = self.pop_transform(d[key])
            if applied[TraceKeys.DO_TRANSFORM]:
                d[key] = self._mapped_back(d[key], applied[TraceKeys.ORIG_SIZE], **applied[TraceKeys.EXTRA_INFO])
        return d

    def _views_of(self, shape: Sequence[int]) -> list[Views]:
        """The views for data of a spatial shape, each one alone and kept: what a view needs is prepared once."""
        wanted = 2 if self.spatial_dim is None else 3
        if len(shape) != wanted:
            remedy = (
                "give spatial_dim=2 to see every slice of a volume [C, X, Y, Z] along z through the same view"
                if self.spatial_dim is None
                else "leave spatial_dim out for slices [C, H, W]"
            )
            raise ValueError(f"data must be channel first with {wanted} spatial axes, got {tuple(shape)}; {remedy}")
        height, width = (int(side) for axis, side in enumerate(shape) if axis != self.spatial_dim)

        def single_views() -> list[Views]:
            return list(self.views if isinstance(self.views, Views) else self.views((height, width)))

        return self._recent.get((height, width), single_views)

    def _shown(self, image: Tensor, mode: str, fill: float) -> Tensor:
        view = self._views_of(image.shape[1:])[self.index].to(image.device)
        return self._each_slice(image, lambda slices: view.project(slices, interpolation=mode, fill=fill)[:, 0])

    def _mapped_back(self, shown: Tensor, shape: Sequence[int], view: int, mode: str) -> Tensor:
        seen = self._views_of(shape)[int(view)].to(shown.device)
        return self._each_slice(shown, lambda slices: seen.unproject(slices[:, None], interpolation=mode)[:, 0])

    def _each_slice(self, data: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Applies a function of slices ``[B, C, H, W]`` to ``[C, H, W]``, or to a volume's slices; keeps metadata."""
        plain = data.as_subclass(Tensor)
        if self.spatial_dim is None:
            result = function(plain[None])[0]
        else:
            axis = self.spatial_dim + 1
            result = function(plain.movedim(axis, 0)).movedim(0, axis)
        return MetaTensor(result).copy_meta_from(data) if isinstance(data, MetaTensor) else result
