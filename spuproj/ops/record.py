"""The record that defines an op. Kernel, fake, autograd, vmap and autocast are registered from it."""

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

from spuproj.backends.base import Launch, Result

Call = Any
"""The arguments of one call, by name."""

SHARED_AXES = {"geometry": 2, "weights": 3}
"""Tensors that may have no batch axis, as all samples share them, with the number of axes that they then have."""


@dataclass(frozen=True, eq=False)
class Op:
    """Definition of an op.

    Attributes:
        schema: in the syntax of ``torch.library``, without the name. The first argument is a tensor, whose device
            determines the backend.
        check: validates the arguments. Raises ValueError or TypeError that names the argument.
        allocate: returns shapes, dtypes and layouts of the results of a valid call.
        run: calls the backend's kernel, which fills the results. Returns what the backend needs to repeat the call, or
            None where it cannot be repeated.
        adjoint: for a linear op, the name of its transpose; else ``(setup_context, backward)`` as for
            ``torch.library.register_autograd``; None for an op without a gradient.
    """

    schema: str
    check: Callable[[Call], None]
    allocate: Callable[[Call], Sequence[Result]]
    run: Callable[..., Launch | None]
    adjoint: str | tuple[Callable[..., None], Callable[..., Any]] | None = None

    @cached_property
    def arguments(self) -> dict[str, tuple[bool, Any]]:
        """For each argument by name: whether it is a tensor, and its default."""
        found = re.findall(r"(\w+)\S* (\w+)(?:=([^,)]+))?[,)]", self.schema.split(" -> ")[0])
        return {name: (kind == "Tensor", ast.literal_eval(given or "None")) for kind, name, given in found}

    @cached_property
    def geometry_at(self) -> int:
        """Position of the geometry among the arguments."""
        return list(self.arguments).index("geometry")

    @cached_property
    def tensors(self) -> dict[int, int]:
        """Positions of the tensor arguments; for each the number of its axes if the batch shares it, else 0."""
        each = enumerate(self.arguments.items())
        return {at: SHARED_AXES.get(name, 0) for at, (name, (is_tensor, _)) in each if is_tensor}

    def call(self, given: Sequence[Any]) -> Call:
        """The arguments by name, with defaults for those that are left out."""
        left_out = [default for _, default in list(self.arguments.values())[len(given) :]]
        return SimpleNamespace(**dict(zip(self.arguments, (*given, *left_out), strict=True)))
