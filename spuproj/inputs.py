"""Converts user input to plain tensors: tensor subclasses, NumPy arrays, missing batch or channel axes."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spuproj.checks import whole_float

Restore = Callable[[Tensor], Any]


def plain_tensor(value: Any, argument: str) -> Tensor:
    """Converts a Tensor subclass, such as MONAI's MetaTensor, to a plain tensor on the same memory and graph.

    Raises TypeError if the value is not a tensor, or not a dense one.
    """
    kind = type(value)
    if kind is Tensor or kind is nn.Parameter:
        tensor: Tensor = value
    elif isinstance(value, Tensor):
        # Subclasses that take part in dispatch (fake, traced or distributed tensors) are handled by torch itself.
        tensor = value if kind.__torch_dispatch__ is not Tensor.__torch_dispatch__ else value.as_subclass(Tensor)
    else:
        raise TypeError(f"{argument} must be a torch tensor, got {kind.__name__}; {_remedy(value, argument)}")
    require_dense(tensor, argument)
    return tensor


def require_dense(tensor: Tensor, argument: str) -> None:
    """Raises TypeError for a sparse tensor, and others whose elements do not lie in memory with strides."""
    if tensor.layout != torch.strided:
        raise TypeError(f"{argument} must be a dense tensor, got {tensor.layout}; pass {argument}.to_dense()")


def opened(value: Any, argument: str, rank: int, size: tuple[int, int]) -> tuple[Tensor, Restore]:
    """Converts user input to a plain tensor of full rank, with a function that converts results back.

    Args:
        value: a tensor, or a NumPy array. An array that torch cannot share (read-only, negative strides, foreign byte
            order) is copied.
        argument: its name, for error messages.
        rank: 4 for ``[B, C, H, W]``, 5 for ``[B, N, C, h, w]``. The value may lack B, or B and C; results then lack
            them too.
        size: required (height, width) of the last two axes.

    Raises:
        TypeError: for another type, a masked array, or an array of a dtype that torch does not have.
        ValueError: for another number of axes or another size.
    """
    if type(value) is Tensor and value.dim() == rank and value.shape[-2:] == size:
        return value, _as_it_is
    if isinstance(value, np.ndarray):
        tensor = array_tensor(value, argument)
    elif isinstance(value, Tensor):
        tensor = plain_tensor(value, argument)
    else:
        kind = type(value).__name__
        raise TypeError(f"{argument} must be a torch tensor or a NumPy array, got {kind}; {_remedy(value, argument)}")
    check_size(tensor, size, rank, argument)
    missing, in_kind = rank - tensor.dim(), _to_numpy if isinstance(value, np.ndarray) else _as_it_is
    added = (0, -3)[:missing]
    return full_rank(tensor, missing), lambda result: in_kind(result.squeeze(added) if added else result)


def _as_it_is(result: Tensor) -> Tensor:
    return result


def plain_number(value: Any, argument: str) -> float:
    """Converts a number, or an array or tensor of one element, to a Python number. Raises TypeError otherwise."""
    if isinstance(value, (int, float)):
        return whole_float(value) if isinstance(value, int) and not -(2**63) <= value < 2**63 else value
    one = isinstance(value, (np.ndarray, np.generic, Tensor)) and math.prod(value.shape) == 1
    item = value.item() if one else value
    if not isinstance(item, (int, float)):
        raise TypeError(f"{argument} must be a number, got {value!r}")
    return item


def whole_numbers(value: Any, argument: str) -> Tensor:
    """Converts an integer, list, array or tensor to an int64 tensor; keeps bool masks. Raises TypeError otherwise."""
    if isinstance(value, Tensor):
        numbers = plain_tensor(value, argument)
    elif torch.compiler.is_compiling():
        # torch.compile does not support the NumPy functions below.
        numbers = torch.as_tensor(value)
    else:
        try:
            array = np.asarray([] if isinstance(value, (list, tuple)) and not value else value)
        except ValueError:  # Lists of different lengths.
            raise TypeError(f"{argument} must be whole numbers or a mask, got {value!r}") from None
        array = _signed(array) if array.dtype.kind in "iu" or array.size == 0 else array
        numbers = torch.from_numpy(np.array(array)) if array.dtype.kind in "ib" else torch.empty(0, device="cpu")
    if numbers.is_floating_point() or numbers.is_complex() or (numbers.dtype == torch.bool and numbers.dim() == 0):
        raise TypeError(f"{argument} must be whole numbers or a mask, got {value!r}")
    if numbers.dtype == torch.uint64:
        numbers = torch.from_numpy(_signed(numbers.cpu().numpy())).to(numbers.device)
    return numbers if numbers.dtype == torch.bool else numbers.to(torch.int64)


def _signed(whole: NDArray[Any]) -> NDArray[np.int64]:
    """Whole numbers as int64; the largest of it stands for those beyond, which no index reaches either."""
    return (np.minimum(whole, np.uint64(2**63 - 1)) if whole.dtype == np.uint64 else whole).astype(np.int64)


def _remedy(value: Any, argument: str) -> str:
    if argument in ("geometry", "table"):
        return "pass views.geometry, or the table() of a Geometry"
    if isinstance(value, np.ndarray) and argument == "out":
        return "pass torch.from_numpy(out), which shares its memory"
    if isinstance(value, np.ndarray):
        return f"pass torch.from_numpy({argument}), or use the methods of Views, which take arrays"
    if isinstance(value, (list, tuple)):
        return f"stack it first, with torch.stack({argument}) or torch.as_tensor({argument})"
    return f"convert it first, with numpy.asarray({argument}, dtype='float32'), channels before rows and columns"


def fitted(number: float, dtype: torch.dtype) -> float:
    """A number, or infinity of its sign if a floating dtype cannot hold it, as in a conversion of tensors."""
    beyond = dtype.is_floating_point and abs(number) > torch.finfo(dtype).max
    return math.copysign(math.inf, number) if beyond else number


def array_tensor(array: NDArray[Any], argument: str) -> Tensor:
    """A tensor that shares the array's memory where possible. Raises TypeError for a dtype that torch lacks."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{argument} must not be a masked array; fill it first, with {argument}.filled(0)")
    native = np.require(array, dtype=array.dtype.newbyteorder("="), requirements=["W"])
    if any(stride < 0 for stride in native.strides):
        native = native.copy()
    try:
        return torch.from_numpy(native.view(np.ndarray))
    except TypeError:
        raise TypeError(f"{argument} must be of a dtype that torch has, got {array.dtype}") from None


def _to_numpy(result: Tensor) -> NDArray[Any]:
    if result.dtype == torch.bfloat16:
        raise TypeError("out_dtype must be one that NumPy has where an array is given, got torch.bfloat16")
    # An array has no gradient, even if the geometry that made it does.
    array: NDArray[Any] = result.detach().numpy()
    return array


_AXES = {
    4: {2: "[H, W]", 3: "[C, H, W]", 4: "[B, C, H, W]"},
    5: {3: "[N, h, w]", 4: "[N, C, h, w]", 5: "[B, N, C, h, w]"},
}
"""Accepted axes, by the full rank and by the number of axes given."""


def check_size(tensor: Tensor, size: tuple[int, int], rank: int, argument: str) -> None:
    """Raises ValueError for a number of axes or a size that does not fit."""
    shape, allowed = tuple(tensor.shape), _AXES[rank]
    if len(shape) in allowed and shape[-2:] == size:
        return
    if len(shape) >= 3 and shape[-3:-1] == size:
        raise ValueError(
            f"{argument} must end in (height, width), {size}, got the shape {shape}, which looks like a volume with "
            f"its slices (or channels) last; bring that axis to the front, with {argument}.movedim(-1, 0), or "
            f"numpy.moveaxis({argument}, -1, 0) for an array"
        )
    if len(shape) not in allowed:
        raise ValueError(f"{argument} must have the axes {' or '.join(allowed.values())}, got the shape {shape}")
    raise ValueError(f"{argument} must end in the pixel size of these views, {size}, got {shape[-2:]}")


def full_rank(tensor: Tensor, missing: int) -> Tensor:
    """Adds the missing axes with length one: B, or B and C."""
    if missing == 2:
        tensor = tensor.unsqueeze(-3)
    return tensor.unsqueeze(0) if missing else tensor


def opened_out(out: Any, rank: int) -> Tensor:
    """``out`` as a plain tensor of full rank, for an image of ``rank`` axes."""
    target = plain_tensor(out, "out")
    if target.dim() != rank + 1:
        raise ValueError(f"out must have one axis more than image, {rank + 1}, got the shape {tuple(target.shape)}")
    return full_rank(target, 4 - rank)
