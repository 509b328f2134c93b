"""Evaluation of written predictions against the ground truth, case by case."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from spuproj.training.data.case import Case, load_case, load_slices
from spuproj.training.data.readers.case_files import CaseFiles
from spuproj.training.data.readers.registry import cases_in
from spuproj.training.evaluation.metrics import Maps, measure
from spuproj.training.evaluation.plots import box_plots, filtering_curves, reliability_diagram
from spuproj.training.evaluation.results import CaseResult, EvaluationOptions
from spuproj.training.evaluation.tables import (
    console_table,
    latex,
    per_case_csv,
    summaries_of,
    summary_csv,
    summary_values,
)
from spuproj.training.runtime.files import InputError, atomic_write, refuse_overwrite, write_json
from spuproj.training.runtime.progress import progress_bar, show
from spuproj.uncertainty import to_percent

OUTPUTS = ("table.csv", "table.json", "table.tex", "per_case.csv", "score_curves.png", "boxes.png", "reliability.png")

_MAPS = {"entropy-1": "entropy", "mutual-1": "mi"}


def evaluate(
    methods: Mapping[str, Path],
    data: Path,
    out: Path,
    *,
    labels: str | None = None,
    scaling: str = "variance-1",
    empty: str = "brats",
    force: bool = False,
) -> list[Path]:
    """Measures predictions; prints the table, and writes it with the measures of each patient and three plots.

    Args:
        methods: for each method's name the folder that ``spuproj predict`` wrote.
        data: cases with labels, as ``cases_in`` takes them; those that every method has predicted are evaluated.
        out: folder for the files named in ``OUTPUTS``.
        labels: name of the label scheme, where it is not the one that the files tell.
        scaling: from the maps to [0, 100], see ``spuproj.uncertainty.SCALINGS``; ``entropy-1`` takes the entropy maps,
            ``mutual-1`` those of mutual information, all others the variance maps.
        empty: convention for empty masks, see ``spuproj.training.evaluation.metrics.EMPTY``.
        force: write over existing files.

    Returns:
        The files written.

    Raises:
        InputError: where no case is predicted by all methods, a map is missing or of another shape, or files exist.
        ValueError: for an unknown scaling or convention.
    """
    refuse_overwrite([out / name for name in OUTPUTS], force)
    options = EvaluationOptions(scaling, empty)
    cases = [files for files in cases_in(data, labels) if files.label is not None]
    common = [files for files in cases if all(_targets(folder, files.name) for folder in methods.values())]
    if not common:
        raise InputError(
            f"{data} must hold labelled cases that every method has predicted, but none of its {len(cases)} labelled "
            f"cases has maps in {', '.join(map(str, methods.values()))}"
        )
    with progress_bar("Evaluating", len(common) * len(methods)) as advance:
        rows = [row for files in common for row in _case_rows(files, methods, options, advance)]
    summaries = summaries_of(rows)
    show(console_table(rows, summaries, options))
    contents = {
        "table.csv": summary_csv(summaries).encode(),
        "table.tex": latex(rows, summaries, options).encode(),
        "per_case.csv": per_case_csv(rows).encode(),
        "score_curves.png": filtering_curves(rows, options),
        "boxes.png": box_plots(rows),
        "reliability.png": reliability_diagram(rows),
    }
    for name, content in contents.items():
        with atomic_write(out / name) as temporary:
            temporary.write_bytes(content)
    write_json(out / "table.json", summary_values(rows, summaries, options))
    return [out / name for name in OUTPUTS]


def _targets(folder: Path, case: str) -> list[str]:
    """The targets with a segmentation of the case in a folder."""
    prefix, suffix = f"{case}_", "_seg.nii.gz"
    return sorted(path.name[len(prefix) : -len(suffix)] for path in folder.glob(f"{prefix}*{suffix}"))


def _case_rows(
    files: CaseFiles, methods: Mapping[str, Path], options: EvaluationOptions, on_method: Callable[[str], None]
) -> list[CaseResult]:
    case = load_case(files, with_labels=True)
    rows = []
    for method, folder in methods.items():
        for target in _targets(folder, case.name):
            metrics, curves = measure(_maps(case, target, folder, options), options.empty)
            rows.append(CaseResult(method, target, case.name, metrics, curves))
        on_method(f"{case.name} {method}")
    return rows


def _maps(case: Case, target: str, folder: Path, options: EvaluationOptions) -> Maps:
    kinds = ("seg", "prob", _MAPS.get(options.scaling, "var"))
    paths = [folder / f"{case.name}_{target}_{kind}.nii.gz" for kind in kinds]
    volumes = [load_slices(path) for path in paths]
    for path, volume in zip(paths, volumes, strict=True):
        if volume.shape != case.brain.shape:
            raise InputError(f"{path} must have the slices of {case.name}, {case.brain.shape}, got {volume.shape}")
    segmentation, probability, uncertainty = volumes
    try:
        percent = to_percent(uncertainty, options.scaling)
    except ValueError as error:
        raise InputError(f"{paths[2]} cannot be scaled: {error}") from None
    x, y, z = case.spacing
    return Maps(case.target(target), segmentation > 0, probability.astype(float), percent, case.brain, (z, y, x))


def methods_named(entries: Sequence[str]) -> dict[str, Path]:
    """Parses entries ``NAME=FOLDER``. Raises InputError for other text, a repeated name or a missing folder."""
    methods: dict[str, Path] = {}
    for entry in entries:
        name, separator, folder = entry.partition("=")
        if not (name and separator and folder):
            raise InputError(f"predictions must be given as NAME=FOLDER, got {entry!r}")
        if name in methods:
            raise InputError(f"predictions must have names of their own, got {name!r} twice")
        methods[name] = Path(folder)
        if not methods[name].is_dir():
            raise InputError(f"{folder} must be a folder of predictions, but there is no such folder")
    return methods
