"""Prints the public API: every name that users may rely on, one a line, with its signature as the source has it.

Public are the names in ``__all__`` of ``spuproj``, of the modules named there, of its packages and of
``spuproj.training``; the public members of their classes; and the schemas of the registered ops.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import griffe

from spuproj.ops import OPS

ROOT = Path(__file__).resolve().parents[1]


def signature(function: griffe.Function) -> str:
    return "(" + function.signature().partition("(")[2]


def described(path: str, member: griffe.Object | griffe.Alias) -> Iterator[str]:
    """The lines of one public name."""
    found = member.final_target if isinstance(member, griffe.Alias) else member
    if isinstance(found, griffe.Function):
        yield path + signature(found)
    elif isinstance(found, griffe.Class):
        first = found.all_members.get("__init__")
        yield f"class {path}{signature(first) if isinstance(first, griffe.Function) else ''}"
        for name, each in found.members.items():
            special = name.startswith("__") and name != "__init__"
            if not name.startswith("_") or (special and isinstance(each, griffe.Function)):
                yield from described(f"{path}.{name}", each)
    elif isinstance(found, griffe.Attribute):
        yield path if found.annotation is None else f"{path}: {found.annotation}"


def public_names(module: griffe.Module) -> list[str]:
    """What a module exports; without ``__all__``, its functions that have a public name."""
    if module.exports is not None:
        return [str(name) for name in module.exports]
    return [name for name, each in module.members.items() if isinstance(each, griffe.Function) and name[0] != "_"]


def listing() -> list[str]:
    """The lines, in the order of the source: that of a named tuple's fields counts."""
    package, training = (griffe.load(name, search_paths=[ROOT]) for name in ("spuproj", "training"))
    assert isinstance(package, griffe.Module)
    exported = [package[name] for name in public_names(package) if package[name].is_module]
    packages = [each for each in package.modules.values() if each.is_subpackage and each.exports is not None]
    lines = [f"torch.ops.spuproj.{name}{op.schema}" for name, op in OPS.items()]
    for _, module in sorted({each.path: each for each in (package, *exported, *packages)}.items()):
        for name in public_names(module):
            lines += described(f"{module.path}.{name}", module[name])
    for name, module in ast.literal_eval(str(training["_MODULES"].value)).items():
        lines += described(f"spuproj.training.{name}", training[f"{module}.{name}"])
    return lines


if __name__ == "__main__":
    print("\n".join(listing()))
