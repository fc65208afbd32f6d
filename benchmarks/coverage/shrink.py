"""Shrinks a configuration of any architecture to a tiny one, by attribute names.

The names and their values are data, in ``shrink.json``; so are the few settings that an
architecture needs to be built at all. Nothing here says how a model is explained.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import transformers
from transformers import PretrainedConfig

TABLE = Path(__file__).with_name("shrink.json")
N_LAYERS = 2
MAX_LAYERS = 4
SMALL_IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SPECIAL_ID = 3
FIRST_TOKEN_ID = 5
PLACES_OF_IMAGES = ("image_token_id", "image_token_index")


@cache
def table() -> dict[str, Any]:
    """Read the tables of names."""
    found: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return found


def tiny_config(model_type: str) -> PretrainedConfig:
    """Build the tiny configuration of an architecture.

    Args:
        model_type: A key of transformers' configuration mapping.

    Returns:
        The configuration.
    """
    kind = transformers.CONFIG_MAPPING[model_type]
    return shrink(kind(), table()["architectures"].get(model_type, {}))


def shrink(default: PretrainedConfig, extra: dict[str, Any]) -> PretrainedConfig:
    """Rebuild a configuration with small numbers in place of its own.

    Args:
        default: Any configuration.
        extra: Further settings; a nested configuration's are a mapping under its name.

    Returns:
        A configuration of the same type.
    """
    values = {k: v for k, v in vars(default).items() if not k.startswith("_")}
    settings: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, PretrainedConfig):
            own = dict(extra.get(name, {}))
            kind = own.pop("model_type", value.model_type)
            if kind != value.model_type:
                settings[name] = transformers.CONFIG_MAPPING[kind](**own)
                continue
            nested = table()["architectures"].get(value.model_type, {}) | own
            settings[name] = shrink(value, nested)
        else:
            small = small_value(name, value)
            if small is not None:
                settings[name] = small
    settings |= small_layers(values) | small_groups(values)
    parts = {k for k, v in values.items() if isinstance(v, PretrainedConfig)}
    given = {k: v for k, v in extra.items() if k not in parts}
    return type(default)(**settings | given)


def small_value(name: str, value: Any) -> Any:
    """Return the small value of one setting, or None where it stays.

    Args:
        name: The setting's name.
        value: Its default.

    Returns:
        A value of the same kind.
    """
    if name in SMALL_IDS and (value is None or _is_number(value)):
        return SMALL_IDS[name]
    if isinstance(value, list | tuple):
        return _stages(name, value)
    if not _is_number(value):
        return SPECIAL_ID if value is None and name in PLACES_OF_IMAGES else None
    if name.endswith(("_token_id", "_token_index")):
        return SPECIAL_ID if value >= FIRST_TOKEN_ID else None
    if name in table()["layers"]:
        return min(value, N_LAYERS)
    return table()["names"].get(name)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _stages(name: str, value: Sequence[Any]) -> Any:
    small = table()["stages"].get(name)
    if small is None or not value or not isinstance(value[0], int):
        return None
    filled = small if isinstance(small, list) else [small] * len(value)
    return type(value)(filled[: len(value)])


def small_layers(values: dict[str, Any]) -> dict[str, Any]:
    """Keep one layer of each kind, so that lists with an entry a layer stay as long.

    Args:
        values: The settings of a configuration.

    Returns:
        The number of layers and the lists.
    """
    counts = {k: v for k, v in values.items() if k in table()["layers"]}
    settings: dict[str, Any] = {}
    for name, count in counts.items():
        lists = {
            k: v
            for k, v in values.items()
            if isinstance(v, list | tuple | str) and len(v) == count > N_LAYERS
        }
        lists = {k: v for k, v in lists.items() if k not in table()["stages"]}
        if not isinstance(count, int) or not lists:
            continue
        kept = _one_of_each(list(zip(*lists.values(), strict=True)))
        settings[name] = len(kept)
        for key, value in lists.items():
            picked = [value[i] for i in kept]
            text = isinstance(value, str)
            settings[key] = "".join(picked) if text else type(value)(picked)
    return settings


def small_groups(values: dict[str, Any]) -> dict[str, Any]:
    """Keep as many heads for keys as for queries where the architecture does.

    Args:
        values: The settings of a configuration.

    Returns:
        The number of heads for keys, where it is not grouped.
    """
    pairs = (
        ("num_key_value_heads", "num_attention_heads"),
        ("swa_num_key_value_heads", "swa_num_attention_heads"),
        ("num_query_groups", "num_attention_heads"),
    )
    small = table()["names"]
    same = [p for p in pairs if values.get(p[0]) and values[p[0]] == values.get(p[1])]
    return {keys: small[queries] for keys, queries in same}


def _one_of_each(kinds: list[Any]) -> list[int]:
    first = {repr(kind): i for i, kind in reversed(list(enumerate(kinds)))}
    kept = sorted(first.values())[:MAX_LAYERS]
    rest = [i for i in range(len(kinds)) if i not in kept]
    return sorted(kept + rest[: max(0, N_LAYERS - len(kept))])
