"""Settings that files hold: what pydantic checks of them, and its errors in plain words."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import ErrorDetails, core_schema

from spuproj.training.runtime.errors import as_input_error
from spuproj.training.runtime.names import LONGEST, plain_name

Made = TypeVar("Made")

SETTINGS = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
"""Of pydantic's dataclasses: unknown names are refused; what stands below an attribute describes it in the schema."""

LENIENT: ConfigDict = {**SETTINGS, "extra": "ignore"}
"""The same, but unknown names are left out."""


def _plain(text: str, setting: ValidationInfo) -> str:
    return plain_name(text, setting.field_name or "a name")


Number = Annotated[float, Field(strict=True)]
Positive = Annotated[float, Field(strict=True, gt=0)]
# The schema says for editors what plain_name checks.
_SCHEMA = {"maxLength": LONGEST, "pattern": r"^[^.=+@\s/\\-]([^/\\]*[^\s/\\])?$"}
PlainName = Annotated[str, Field(min_length=1, json_schema_extra=_SCHEMA), AfterValidator(_plain)]
"""A name that may become one of a file, see ``plain_name``."""

_WORDS = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "finite",
    "string_type": "text",
    "string_too_short": "text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "an object",
    "dataclass_type": "an object",
    "model_attributes_type": "an object",
    "literal_error": "one of {expected}",
    "union_tag_invalid": "one of {expected_tags}",
    "union_tag_not_found": "given",
    "missing": "given",
    "greater_than": "above {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than_equal": "at most {le:g}",
    "less_than": "below {lt:g}",
    "too_short": "a list of at least {min_length} values",
    "too_long": "a list of at most {max_length} values",
}
"""What a setting must be, by pydantic's name of the error."""

_TOLD = 12
"""Faults of a file at most: there may be thousands."""


def one_of(names: Iterable[str]) -> GetPydanticSchema:
    """For ``Annotated``: a text is one of the names, which a ``Literal`` would have to repeat."""
    allowed = list(names)
    return GetPydanticSchema(lambda *_: core_schema.literal_schema(allowed))


def made(model: type[Made], values: Mapping[str, Any], beginning: str) -> Made:
    """The dataclass of the values of a file, whatever their names. Raises InputError as ``plain_errors`` does."""
    with plain_errors(model, beginning):
        return TypeAdapter(model).validate_python(values)


def plain_errors(model: type, beginning: str = "") -> AbstractContextManager[None]:
    """A context in which pydantic's ValidationError becomes an InputError: what each setting must be, and its value.

    Args:
        model: the dataclass that is made inside the context.
        beginning: of the message, such as the file that holds the settings.
    """
    return as_input_error(lambda error: beginning + _faults(model, error), ValidationError)


def _faults(model: type, error: ValidationError) -> str:
    faults = [each for each in error.errors() if not _follows(each)]
    wrong = dict.fromkeys(_sentence(model, each) for each in faults[:_TOLD])
    return "; ".join(wrong) + (f"; and {len(faults) - _TOLD} more" if len(faults) > _TOLD else "")


def _follows(error: ErrorDetails) -> bool:
    """Whether a list is called too short because its values are wrong, which is an error of their own."""
    return error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"]


def _sentence(model: type, error: ErrorDetails) -> str:
    location, kind, context = error["loc"], error["type"], error.get("ctx", {})
    name, owner = _setting(model, location)
    got = reprlib.repr(error["input"])
    if kind == "value_error":
        return str(context["error"])
    if kind == "unexpected_keyword_argument":
        return f"{name} must be one of {', '.join(field.name for field in fields(owner))}"
    if kind == "missing" and isinstance(location[-1], int):
        return f"{name} must be a list of at least {location[-1] + 1} values, got {got}"
    if kind.startswith("union_tag"):
        name, got = f"{name}.kind", repr(context.get("tag"))
    required = _WORDS[kind].format(**context) if kind in _WORDS else f"valid ({error['msg']})"
    return f"{name} must be {required}" + ("" if required == "given" else f", got {got}")


def _setting(model: Any, location: tuple[int | str, ...]) -> tuple[str, Any]:
    """The dotted name of a setting, without positions in lists and kinds of unions; and the dataclass that it is of."""
    names, owner = [], model
    for part in location:
        kinds = {getattr(member, "kind", None): member for member in get_args(model)}
        if part in kinds:
            model = kinds[part]
        elif isinstance(part, str):
            names.append(f"{part:.60}")
            owner, model = model, _of_field(model, part)
    return ".".join(names), owner


def _of_field(model: Any, name: str) -> Any:
    """The type of a dataclass's field, or of the values of a mapping."""
    if is_dataclass(model):
        return get_type_hints(model).get(name)
    return get_args(model)[1] if get_origin(model) is dict else None
