"""The training layer: data, networks, training, prediction, evaluation and reports, on top of ``spuproj``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES = {
    "cases_in": "data.readers.registry",
    "case_in": "data.readers.registry",
    "load_case": "data.case",
    "check_data": "data.check",
    "folds": "data.splits",
    "targets_of": "data.splits",
    "fixed_split": "data.splits",
    "write_cohort": "phantom.cohort",
    "Method": "models.method",
    "load_method": "models.method",
    "load_run": "models.run",
    "predict_case": "inference.case_prediction",
    "CasePrediction": "inference.case_prediction",
    "measure": "evaluation.metrics",
    "train": "fit.train",
    "Hardware": "runtime.execution",
    "InputError": "runtime.errors",
    "predict": "workflows.predict",
    "predict_cohort": "workflows.predict",
    "evaluate": "workflows.evaluate",
    "study": "workflows.study",
    "project_slice": "workflows.project",
    "run_demo": "workflows.demo",
}
"""For each public name the module that it is defined in."""
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """Imports a public name when it is used: the networks' and images' libraries take seconds."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("spuproj"):
            raise
        raise ImportError(f'{__name__} needs the training extra ({error}): pip install "spuproj[training]"') from error


def __dir__() -> list[str]:
    return [*globals(), *__all__]
