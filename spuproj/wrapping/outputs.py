"""Finds the prediction in what a network returns: a tensor, dictionary, tuple, list or object with attributes."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from torch import Tensor

Key = str | int


def selected_output(result: Any, output: Key | None) -> Tensor:
    """The tensor at this key, index or attribute; the result itself if ``output`` is None.

    Raises TypeError, with what there is to choose from, for a result that is no tensor, or an ``output`` that it does
    not have or that is no tensor.
    """
    if output is None and isinstance(result, Tensor):
        return result
    try:
        found = _part(result, output)
    except (KeyError, IndexError, AttributeError, TypeError):
        found = None
    if isinstance(found, Tensor):
        return found
    if isinstance(result, Tensor):
        raise TypeError(f"output must be None, since the model returns a tensor, got {output!r}")
    choices = _choices(result)
    if not choices:
        raise TypeError(f"the model must return a tensor, or something that holds one, got {result!r:.200}")
    raise TypeError(
        f"output must be one of {', '.join(map(repr, choices))}, since the model returns a {type(result).__name__}, "
        f"got {output!r}"
    )


def _part(result: Any, output: Key | None) -> Any:
    if isinstance(result, Tensor) or output is None:
        return None
    if isinstance(result, Mapping) or isinstance(output, (int, np.integer)):
        return result[output]
    return getattr(result, output)


def _choices(result: Any) -> Sequence[Key]:
    """The keys, attributes or indices at which a result has tensors."""
    if isinstance(result, Mapping):
        return [key for key, value in result.items() if isinstance(value, Tensor)]
    if is_dataclass(result):
        return [field.name for field in fields(result) if isinstance(getattr(result, field.name), Tensor)]
    if isinstance(result, Sequence) and not isinstance(result, str):
        return [index for index, value in enumerate(result) if isinstance(value, Tensor)]
    return [name for name, value in getattr(result, "__dict__", {}).items() if isinstance(value, Tensor)]
