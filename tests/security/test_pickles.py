"""Files cannot run code: no reader unpickles objects, and no line of the packages could."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from fuzz_readers.readers import READERS, SEEDS
from fuzz_readers.watch import watched
from helpers import ROOT
from spuproj.training.runtime.errors import InputError

PACKAGES = ("spuproj", "training", "spuproj_cli", "benchmarks")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def torch_file(path: Path, trap: Trap, zipped: bool = True) -> bytes:
    torch.save({"epoch": 1, "state_dict": trap}, path, _use_new_zipfile_serialization=zipped)
    return path.read_bytes()


def array_file(path: Path, trap: Trap) -> bytes:
    np.save(path, np.array([trap], dtype=object), allow_pickle=True)
    return b"\0" + path.with_suffix(".npy").read_bytes()


MAKE = {
    "pickle": lambda path, trap: pickle.dumps(trap),
    "torch": torch_file,
    "torch, not zipped": lambda path, trap: torch_file(path, trap, zipped=False),
    "array": array_file,
}


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("name", READERS)
def test_a_pickle_in_place_of_any_file_is_not_run(name, kind, tmp_path):
    content = MAKE[kind](tmp_path / "made", Trap(tmp_path / "sprung"))
    (tmp_path / "in").mkdir()
    with watched(tmp_path / "in") as done:
        if name == "cache":
            READERS[name](tmp_path / "in", content)
        else:
            with pytest.raises(InputError):
                READERS[name](tmp_path / "in", content)
    assert done == []
    assert not (tmp_path / "sprung").exists()


def test_the_trap_springs_where_it_is_unpickled(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("place", ["callbacks", "state_dict"])
def test_a_trap_within_a_checkpoint_is_named_and_not_run(place, tmp_path):
    whole = torch.load(SEEDS / "checkpoint" / "plain", weights_only=True)
    torch.save({**whole, place: Trap(tmp_path / "sprung")}, tmp_path / "made")
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="must be a checkpoint of this training, but cannot be read"):
        READERS["checkpoint"](tmp_path / "in", (tmp_path / "made").read_bytes())
    assert not (tmp_path / "sprung").exists()


def dangerous(source: str) -> list[str]:
    """Calls and imports that could run what a file holds, as text."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            found += [
                name for name in names if name.split(".")[0] in ("pickle", "dill", "joblib", "cloudpickle", "shelve")
            ]
        if isinstance(node, ast.Call):
            called, given = ast.unparse(node.func), {key.arg: ast.unparse(key.value) for key in node.keywords}
            unsafe = (
                called in ("eval", "exec", "os.system", "yaml.load", "marshal.loads", "np.fromregex"),
                called == "torch.load" and given.get("weights_only") != "True",
                given.get("allow_pickle", "False") != "False",
                given.get("shell", "False") != "False",
                given.get("weights_only", "True") != "True",
            )
            found += [ast.unparse(node)] if any(unsafe) else []
    return found


def test_no_line_of_the_packages_could_unpickle_or_run_a_file() -> None:
    assert len(FILES) > 100
    assert {str(path): found for path in FILES if (found := dangerous(path.read_text()))} == {}


@pytest.mark.parametrize(
    "code",
    ["import pickle", "from joblib import load", "torch.load(path)", "torch.load(path, weights_only=False)",
     "np.load(path, allow_pickle=True)", "subprocess.run(text, shell=True)", "eval(text)",
     "trainer.fit(model, ckpt_path=path, weights_only=False)"],
)  # fmt: skip
def test_a_planted_line_is_found(code: str) -> None:
    assert len(dangerous(code)) == 1
