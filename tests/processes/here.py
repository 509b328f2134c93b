"""Code that runs in this process, since the packages that it needs take longer to import than the code to run."""

from __future__ import annotations

import ast
import io
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch


def run_here(code: str, *arguments: object, folder: Path) -> str:
    """Runs code as a program with arguments, in a folder and with one thread; returns what it printed."""
    printed, threads = io.StringIO(), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["", *map(str, arguments)])
        torch.set_num_threads(1)
        try:
            exec(compile(code, "<code>", "exec"), {"__name__": "__main__"})
        finally:
            torch.set_num_threads(threads)
    assert list(not_imported(code)) == []
    return printed.getvalue()


def not_imported(code: str) -> Iterator[str]:
    """Modules ``package.module`` that code uses and that only another import of this process may have loaded."""
    imported, tree = {"torch"}, list(ast.walk(ast.parse(code)))
    for node in tree:
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module)
    for node in tree:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            package, name = node.value.id, f"{node.value.id}.{node.attr}"
            offered = getattr(sys.modules.get(package), "__all__", ())
            if name in sys.modules and package != "torch" and name not in imported and node.attr not in offered:
                yield name
