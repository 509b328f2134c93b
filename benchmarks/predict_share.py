"""What projecting and reducing cost within a prediction."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch

from spuproj import Views
from spuproj.training.prediction import predict


def predict_share(models: Sequence[Path], folder: Path) -> float:
    """Percent of ``predict``'s time that goes into ``Views.project`` and ``Views.reduce``, first calls' plans and all.

    The whole is everything from loading the models to the last file, but not the imports. A GPU is waited for around
    each of the calls, which counts against them more than overlapping would.

    Args:
        models: as ``predict`` takes them.
        folder: BraTS case folder.
    """
    spent = []

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            start = _now()
            result = method(*arguments, **options)
            spent.append(_now() - start)
            return result

        return run

    replaced = {name: timed(getattr(Views, name)) for name in ("project", "reduce")}
    with TemporaryDirectory() as out, patch.multiple(Views, **replaced):
        start = _now()
        predict(models, folder, Path(out))
        return 100 * sum(spent) / (_now() - start)


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
