"""A pytest plugin: of each test only the first of its parameters is run."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    first = {(item.path, item.originalname): item for item in reversed(items)}
    items[:] = reversed(first.values())
