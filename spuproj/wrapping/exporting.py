"""Whether ``torch.export`` is at work. Importing this module imports torch's compiler, so only traced code does."""

from __future__ import annotations

import torch


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def is_exporting() -> bool:
    """Whether ``torch.export`` is at work. In compiled code torch up to 2.10 would always say so."""
    return torch.compiler.is_exporting()
