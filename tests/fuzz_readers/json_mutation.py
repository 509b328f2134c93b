"""Changes of JSON that keep its form: bytes changed at random are rarely JSON, and never get behind the parser."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from typing import Any

ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 1e308, -0.0, 10**30, float("nan"), float("inf"), "", "../x", "a/b", ".", "\x00", "\u202e",
    "=1+1", "$\\frac{$", "{0.__class__}", "\ud800", "x" * 300, [], [[]], {}, {"a": 1}, "spherical", "t1", "0", [0, 0],
    "__dataclass_self__", "self",
)  # fmt: skip


def changed(content: bytes, seed: int) -> bytes | None:
    """JSON with a value, a name or an entry changed; None for anything but JSON."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 3)):
        value = _changed(value, chance)
    return json.dumps(value).encode()


def _changed(value: Any, chance: random.Random) -> Any:
    """The value with a change somewhere in it."""
    if not isinstance(value, dict | list) or not value or chance.random() < 0.15:
        return deepcopy(chance.choice(ODD))
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = chance.choice(keys)
    if chance.random() < 0.7:
        value[key] = _changed(value[key], chance)
    elif isinstance(value, list):
        value.insert(key, deepcopy(chance.choice((chance.choice(ODD), value[key]))))
    else:
        value[str(chance.choice((*keys, *ODD)))] = (
            value.pop(key) if chance.random() < 0.5 else deepcopy(chance.choice(ODD))
        )
    return value
