"""The weights of a network as a file (safetensors), which tells whether it is damaged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

_ABOUT = "spuproj"
"""The entry of the file's header that holds what is known of the weights, as JSON."""


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """The SHA-256 of names, types, shapes and values."""
    together = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        together.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        together.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return together.hexdigest()


def weights_file(network: nn.Module, about: Mapping[str, str]) -> bytes:
    """The content of a file with a network's weights; its header tells ``about`` and the weights' SHA-256."""
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    # Of several entries safetensors draws the order, and the file would have another hash each time.
    return save(weights, metadata={_ABOUT: json.dumps({**about, "weights": weights_digest(weights)})})


def load_weights(network: nn.Module, content: bytes) -> None:
    """Gives a network, whose tensors may have no memory yet, the weights of a file.

    Raises:
        ValueError: for weights of another network, weights that are not finite, or a damaged file. Other errors of
            safetensors may mean that, too.
    """
    weights = load(content)
    known = _header(content).get("weights")
    if known is not None and known != weights_digest(weights):
        raise ValueError("weights must have the SHA-256 that the file tells, but have another: it is damaged")
    _require_fitting(network, weights)
    broken = [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise ValueError(f"weights must be finite, but {broken[0]} holds NaN or Inf")
    network.load_state_dict(weights, assign=True)


def _header(content: bytes) -> dict[str, Any]:
    """What the file tells of its weights; nothing where another program, or an early version, wrote it."""
    # A safetensors file begins with the length of its header, in eight bytes, and the header in JSON.
    end = 8 + int.from_bytes(content[:8], "little")
    told = json.loads(content[8:end]).get("__metadata__", {}).get(_ABOUT)
    try:
        found = json.loads(told)
    except (TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _require_fitting(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Raises ValueError for weights that are not those of the network."""
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in [*wanted, *(name for name in found if name not in wanted)]:
        if found.get(name) != wanted.get(name):
            raise ValueError(
                f"weights must be those of the network that the configuration describes, with {name} of shape "
                f"{wanted.get(name, 'none')}, got {found.get(name, 'none')}"
            )
