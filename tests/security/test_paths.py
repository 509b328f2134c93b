"""Every place where a name that is not written in the code is joined to a path.

A name from outside could lead out of a folder. ``inside`` in ``training/runtime/files.py`` joins it, and refuses that.
The other places are listed here, with the reason why they do not need it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from helpers import ROOT

READ = "is read, not written: a data set may name files anywhere"
OWN = "the name comes from the code"
SAME = "the name of a path that is already there"
COUNTED = "the name is made from a number"
TEMPORARY = "a temporary folder"
FILE = "the name of an image file in a folder"
LABELS = "every part is made of letters and digits, see _label"

ALLOWED = {
    "training/data/cache.py": {"folder / f'{files.name}_{kind}'": "names of cases are plain, see CaseFiles"},
    "training/data/readers/dataset_json.py": {"root / expected(like, kind)": READ, "root / path": "is compared"},
    "training/data/readers/grouping.py": dict.fromkeys(
        ("root / label", "root / mask", "root / match.path", "root / path"), READ
    ),
    "training/data/readers/guidance.py": {
        "path.with_name(name)": "is only told, as what may have been meant",
        "source / described[0]": "is only told, as an example",
        "source / path": READ,
    },
    "training/data/readers/listing.py": {"folder / prefix": READ},
    "training/data/readers/manifest.py": {
        "path.absolute().parent / text": READ,
        "file.parent / file.name.replace('\\\\', '/')": READ,
    },
    "training/data/readers/registry.py": {"root / path": READ},
    "training/workflows/make_models.py": dict.fromkeys(("out / target", "run / name", "folder / name"), OWN),
    "training/models/method.py": {
        "CONFIGS / f'{name}.json'": "is read, and only where it is there",
        "Path(name)": "is read: the user's own file",
    },
    "training/export/bids.py": {
        "folder / name": LABELS,
        "folder / f'{name}.json'": LABELS,
        "folder / f'{name}.nii.gz'": LABELS,
        "out / _subject(summary)[0]": LABELS,
    },
    "training/export/hub.py": {"Path(folder)": TEMPORARY},
    "spuproj_cli/export.py": {"Path(folder)": TEMPORARY},
    "training/fit/resume.py": {"Path(path)": OWN, "run / name": OWN, "run / older": OWN},
    "training/models/run.py": {"directory / name": OWN},
    "training/phantom/cohort.py": {
        "directory / f'Phantom_{number:03d}'": COUNTED,
        "new / f'{folder.name}_{name}.nii.gz'": OWN,
    },
    "training/runtime/files.py": {
        "Path(name)": "this is inside() itself",
        **dict.fromkeys(("folder / path.name", "path.with_name(f'{path.name[:60]}.replaced')"), SAME),
        **dict.fromkeys(
            ("folder / name", "out / name"), "is inside() itself, or names that require_replaceable checked"
        ),
        "folder / last": "is checked by inside()",
    },
    "spuproj/nnunet/export.py": {"Path(folder, f'{number}.nii')": COUNTED},
    "spuproj/nnunet/loading.py": {"Path(results)": READ},
    "spuproj/nnunet/prediction.py": {
        "Path(file)": READ,
        "Path(out)": "the user's own folder",
        "Path(source)": READ,
        "out / VARIANCE / f'{case}_var.nii.gz'": FILE,
    },
    "training/workflows/demo.py": {"out / 'models' / target": OWN, "out / part": OWN},
    "training/workflows/evaluate.py": {"out / name": OWN, "Path(folder)": "is read: the user's own folder"},
    "training/workflows/study.py": {"out / name": OWN},
    "training/workflows/prediction_files.py": {
        "out / name": "is compared and told, not written",
        "Path(os.path.realpath(path.parent), path.name)": SAME,
    },
}
"""By file the joins of names that are no constants, and why they are safe."""


def joins_in(source: str) -> list[str]:
    """The joins of names that are no constants to paths, as text."""
    tree = ast.parse(source)
    paths = _names_of_paths(tree)
    return sorted({ast.unparse(node) for node in ast.walk(tree) if _joins_unknown(node, paths)})


def _names_of_paths(tree: ast.AST) -> set[str]:
    """Variables, arguments and attributes that hold a path somewhere in the file."""
    names = {"path", "folder", "out", "directory", "source", "root"}
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation is not None and "Path" in ast.unparse(node.annotation):
            names.add(node.arg)
        if isinstance(node, ast.AnnAssign) and "Path" in ast.unparse(node.annotation):
            names.add(ast.unparse(node.target))
    for _ in range(3):
        for node in ast.walk(tree):
            names |= set(_assigned_paths(node, names))
    return names


def _assigned_paths(node: ast.AST, names: set[str]) -> Iterator[str]:
    targets = node.targets if isinstance(node, ast.Assign) else []
    targets += [node.target] if isinstance(node, ast.For | ast.comprehension) else []
    value = node.value if isinstance(node, ast.Assign) else getattr(node, "iter", None)
    if value is not None and _is_path(value, names):
        yield from (each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name))
    for item in node.items if isinstance(node, ast.With) else []:
        if isinstance(item.optional_vars, ast.Name) and "atomic_write" in ast.unparse(item.context_expr):
            yield item.optional_vars.id


def _is_path(node: ast.expr, names: set[str]) -> bool:
    """Whether an expression is a path, as far as its text tells."""
    if isinstance(node, ast.Name):
        return node.id in names
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Div) and (_is_path(node.left, names) or _is_text(node.right))
    if isinstance(node, ast.Attribute):
        return node.attr in names | {"parent", "parents"}
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        makes = ("Path", "inside", ".absolute", ".resolve", ".with_name", ".joinpath", ".glob", ".rglob", ".iterdir")
        return called.endswith(makes) or (called == "sorted" and _is_path(node.args[0], names))
    return False


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _joins_unknown(node: ast.AST, paths: set[str]) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        joined = isinstance(node.right, ast.JoinedStr) or _is_path(node.left, paths)
        return joined and not _is_known(node.right)
    if not isinstance(node, ast.Call):
        return False
    called = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
    if called in ("with_name", "joinpath", "with_stem", "with_suffix", "relative_to"):
        return called != "relative_to" and not all(map(_is_known, node.args))
    many = called in ("Path", "PurePath", "join") and len(node.args) > 1
    text = called == "Path" and any(isinstance(each, ast.JoinedStr | ast.Name) for each in node.args)
    return ((many and called != "join") or text) and not all(map(_is_known, node.args))


def _is_known(node: ast.expr) -> bool:
    """Whether a name is written in the code: a constant, or a name in capitals for one."""
    if isinstance(node, ast.Name | ast.Attribute):
        return ast.unparse(node).rpartition(".")[2].isupper() or ast.unparse(node) == "__file__"
    return isinstance(node, ast.Constant)


FILES = sorted(
    str(path.relative_to(ROOT))
    for folder in ("training", "spuproj", "spuproj_cli")
    for path in (ROOT / folder).rglob("*.py")
)


@pytest.mark.parametrize("file", FILES)
def test_every_name_from_outside_is_joined_by_the_one_safe_function(file: str) -> None:
    assert joins_in((ROOT / file).read_text()) == sorted(ALLOWED.get(file, {}))


def test_every_listed_file_exists() -> None:
    assert set(ALLOWED) <= set(FILES)


@pytest.mark.parametrize(
    "code",
    [
        "def f(out: Path, name: str): return out / name",
        "def f(out: Path, name: str): return out / f'{name}.txt'",
        "def f(where, name): return where / f'{name}.txt'",
        "def f(out: Path, name: str): return out / 'maps' / name",
        "def f(out: Path, name: str): return out.joinpath('maps', name)",
        "def f(out: Path, name: str): return out.parent.with_name(name)",
        "def f(name: str): return Path(f'/maps/{name}')",
        "def f(case): return Path('maps', case.name)",
        "class Task:\n    place: Path\ndef f(task, files): return task.place / files.name",
        "def f(maps: Path, name: str):\n    new = maps / 'new'\n    return new / name",
        "def f(names: list[str], maps: Path): return [each / name for each in maps.iterdir() for name in names]",
    ],
)
def test_a_new_join_is_found(code: str) -> None:
    assert len(joins_in(code)) == 1


@pytest.mark.parametrize(
    "code",
    [
        "def f(out: Path): return out / 'maps' / CONFIG",
        "def f(out: Path, name: str): return inside(out, name)",
        "def f(volume: float, count: int): return volume / count",
        "HERE = Path(__file__).parent / 'configs'",
    ],
)
def test_constants_and_numbers_are_no_joins(code: str) -> None:
    assert joins_in(code) == []
