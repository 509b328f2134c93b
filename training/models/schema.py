"""JSON Schema of a method's file, for editors. ``python -m spuproj.training.models.schema`` writes it anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from spuproj.training.models.method import Method
from spuproj.training.runtime.json_file import write_json

SCHEMA = Path(__file__).parent / "method.schema.json"
"""The file that ``"$schema"`` of the package's methods names."""


def method_schema() -> dict[str, Any]:
    """The schema that follows from ``Method``."""
    schema = TypeAdapter(Method).json_schema()
    named = {"$schema": {"description": "Where this schema is, for editors.", "type": "string"}}
    schema["properties"] = named | schema["properties"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


if __name__ == "__main__":
    write_json(SCHEMA, method_schema())
