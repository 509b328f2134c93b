"""What a prediction costs, and projecting and reducing within it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch

from spuproj import Views
from spuproj.training.workflows.predict import predict


@dataclass(frozen=True)
class Cost:
    """The time of one patient's prediction.

    Attributes:
        seconds: of all of it, from files to files.
        share: percent of it that goes into ``Views.project`` and ``Views.reduce``, first calls' plans and all.
    """

    seconds: float
    share: float


def predict_cost(models: Sequence[Path], folder: Path) -> Cost:
    """Times ``predict``, from loading the models to the last file, but not the imports.

    A GPU is waited for around each of the timed calls, which counts against them more than overlapping would.

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
        seconds = _now() - start
    return Cost(seconds, 100 * sum(spent) / seconds)


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
