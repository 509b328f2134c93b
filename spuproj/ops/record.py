"""What there is to know of an op: the record from which its registration follows."""

from __future__ import annotations

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


@dataclass(frozen=True, eq=False)
class Op:
    """What is to be known of an op.

    Attributes:
        schema: without the name. The first argument is a tensor, whose device serves the call.
        check: raises ValueError or TypeError, naming the argument, for what no backend could serve.
        allocate: the results of a call that has passed the check.
        run: calls the backend's kernel, which writes into the results.
        adjoint: of a linear op, the name of its transpose; else ``(setup_context, backward)`` as
            ``torch.library.register_autograd`` takes them. None has no gradient.
    """

    schema: str
    check: Callable[[Call], None]
    allocate: Callable[[Call], Sequence[Result]]
    run: Callable[..., Launch | None]
    adjoint: str | tuple[Callable[..., None], Callable[..., Any]] | None = None

    @cached_property
    def arguments(self) -> dict[str, tuple[bool, Any]]:
        """Names of the arguments, whether each is a tensor, and its default."""
        found = re.findall(r"(\w+)\S* (\w+)(?:=([^,)]+))?[,)]", self.schema.split(" -> ")[0])
        return {name: (kind == "Tensor", ast.literal_eval(given or "None")) for kind, name, given in found}

    @cached_property
    def geometry_at(self) -> int:
        """Position of the geometry among the arguments."""
        return list(self.arguments).index("geometry")

    @cached_property
    def tensors(self) -> tuple[int, ...]:
        """Positions of the other tensors."""
        is_tensor = [tensor for tensor, _ in self.arguments.values()]
        return tuple(at for at, tensor in enumerate(is_tensor) if tensor and at != self.geometry_at)

    def call(self, given: Sequence[Any]) -> Call:
        """Arguments by name; those that are left out have their defaults."""
        left_out = [default for _, default in list(self.arguments.values())[len(given) :]]
        return SimpleNamespace(**dict(zip(self.arguments, (*given, *left_out), strict=True)))
