"""The base of modules that keep their dtype, and the module of a geometry table and the sizes that belong to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from spuproj.checks import positive
from spuproj.geometry.border import border_weights
from spuproj.geometry.saved import completed_table, saved_sizes

Module = TypeVar("Module", bound=nn.Module)


class ExactModule(nn.Module):
    """A module whose own parameters and buffers keep their dtype: ``half()`` and the like are meant for activations."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ExactModule:
        exact = dict(self.named_buffers(recurse=False))
        exact |= {name: parameter.data for name, parameter in self.named_parameters(recurse=False)}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, values in exact.items():
            moved = getattr(self, name)
            if moved.dtype == values.dtype:
                continue
            if isinstance(moved, nn.Parameter):
                moved.data = values.to(moved.device)
            else:
                setattr(self, name, values.to(moved.device))
        return self


class GeometryModule(ExactModule):
    """A geometry table ``[N, 19]`` or ``[B, N, 19]`` as a buffer that stays float64, with the sizes in its state.

    Args:
        table: known to be valid.
        size: (H, W) of the slice, in pixels.
        view_size: (h, w) of a view, in pixels.
    """

    geometry: Tensor

    def __init__(self, table: Tensor, size: tuple[int, int], view_size: tuple[int, int]) -> None:
        super().__init__()
        self.size, self.view_size = size, view_size
        # A tensor made in inference mode could not be trained through later; compiled code cannot ask, and has none.
        if not torch.compiler.is_compiling() and table.is_inference():
            with torch.inference_mode(False):
                table = table.clone()
        self.register_buffer("geometry", table)
        if not torch.compiler.is_compiling():
            # Compiled code cannot make a module that has a hook.
            self.register_load_state_dict_pre_hook(GeometryModule._complete_state)  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        """N, the number of views (of each sample)."""
        return self.geometry.shape[-2]

    def extra_repr(self) -> str:
        return f"{len(self)} views, size={self.size}, view_size={self.view_size}"

    def moved_to(self: Module, device: torch.device) -> Module:
        """Moves the module to a device without waiting for it."""
        return self.to(device, non_blocking=device.type == "cuda")

    def border_weights(self, width: float) -> Tensor:
        """Weights for ``reduce`` that fall smoothly to zero where a view's raster or the slice ends.

        Without them a map shows a line wherever a view ends. Equations: ``docs/geometry.md``.

        Args:
            width: of the border, in view pixels: the distance over which a weight rises from 0 to 1; positive.

        Returns:
            ``[..., N, H, W]`` float32 on the geometry's device; zero where the view does not show the pixel.

        Raises:
            ValueError: for a width that is not positive and finite.

        Examples:
            >>> from spuproj import Views
            >>> views = Views.zoom((64, 48), centers=[(20, 16), (44, 32)])
            >>> views.border_weights(width=8).shape
            torch.Size([2, 64, 48])
        """
        return border_weights(self.geometry.detach(), self.size, self.view_size, positive(width, "width"))

    def get_extra_state(self) -> Tensor:
        """The sizes (H, W, h, w), which the state dict contains in addition to the geometry."""
        return torch.tensor([*self.size, *self.view_size], device="cpu")

    def set_extra_state(self, state: Tensor | dict[str, Sequence[int]]) -> None:
        """Restores the sizes from a state dict; those on the meta device are left alone, since it has no numbers."""
        if not (isinstance(state, Tensor) and state.is_meta):
            self.size, self.view_size = saved_sizes(state)

    def _complete_state(self, state: dict[str, Any], prefix: str, *_: Any) -> None:
        """Adds the sizes and the spacing columns, which state dicts of older versions lack."""
        state.setdefault(f"{prefix}_extra_state", self.get_extra_state())
        if isinstance(table := state.get(f"{prefix}geometry"), Tensor):
            state[f"{prefix}geometry"] = completed_table(table)
