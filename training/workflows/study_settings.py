"""Variations of a method: one property of its views, or their oversampling, at a time, all else as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from spuproj.training.models.method import Method
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.names import named_values
from spuproj.training.runtime.settings import plain_errors

Variations = Mapping[str, Sequence[Any]]

SPHERICAL: Variations = {
    "lift": ("gnomonic", "equidistant", "equal_area", "orthographic"),
    "chart": ("gnomonic", "stereographic", "equidistant", "equal_area"),
    "radius": (0.25, 0.5, 1.0, 2.0),
    "grid": ((2, 2), (3, 3), (4, 4)),
    "cover": ("brain", "slice"),
    "pose": ("tangent", "turned"),
    "magnification": (None, 1.5, 2.0),
    "oversampling": (1.0, 1.5, 2.0),
}
"""What is varied of spherical views where nothing else is asked for. A lift that is the chart too makes them flat: the
sphere cancels. With an equidistant chart a stereographic lift on a sphere of radius R is a gnomonic one on 2 R."""


def varied(method: Method, variations: Variations) -> dict[str, Method]:
    """The method itself, as ``default``, and one for each value, as ``radius=0.25``; the method's own value only once.

    Args:
        method: the default.
        variations: values by name: a property of the method's views, or ``oversampling``.

    Raises:
        InputError: for a property that the method's views do not have, or a value that it cannot take.
    """
    known = [*(field.name for field in fields(method.views) if field.name != "kind"), "oversampling"]
    found = {"default": method}
    for name, values in variations.items():
        if name not in known:
            raise InputError(f"vary must name one of {', '.join(known)}, got {name!r}")
        for value in values:
            changed = _changed(method, name, value)
            if changed != method:
                found[f"{name}={text(value)}"] = changed
    return found


def _changed(method: Method, name: str, value: Any) -> Method:
    """The method with another value of one property."""
    whole = name == "oversampling"
    with plain_errors(Method if whole else type(method.views), f"vary cannot set {name} to {text(value)}: "):
        if whole:
            return replace(method, oversampling=value)
        return replace(method, views=replace(method.views, **{name: value}))


def variations_named(entries: Sequence[str]) -> Variations:
    """``NAME=VALUE,VALUE`` entries: numbers, names, and grids as ``3x3``. Raises InputError for another form."""
    found: dict[str, tuple[Any, ...]] = {}
    for name, values in named_values(entries, "vary", "NAME=VALUE,VALUE"):
        found[name] = (*found.get(name, ()), *(_value(value) for value in values.split(",")))
    return found


def text(value: Any) -> str:
    """A value as ``variations_named`` reads it."""
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


def _value(word: str) -> Any:
    sides = word.split("x")
    if len(sides) == 2 and all(side.isdecimal() for side in sides):
        return int(sides[0]), int(sides[1])
    try:
        return json.loads(word)
    except ValueError:
        return word
