"""The rule sets that are searched, from a few numbers each."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from lrp_hooks.rules import Attention, Gamma
from torch import nn

from lrp_hooks import RuleSet

__all__ = ["candidates", "options"]

Numbers = Mapping[str, Any]


def candidates(config: Mapping[str, Any]) -> dict[str, Numbers]:
    """List the rule sets to be searched.

    Args:
        config: Its ``"space"`` is a grid, to which its ``"variants"`` are added.

    Returns:
        ``{label: numbers}``.
    """
    space = config["space"]
    grid = [
        dict(zip(space, values, strict=True))
        for values in itertools.product(*space.values())
    ]
    return {label(numbers): numbers for numbers in grid} | config["variants"]


def label(numbers: Numbers) -> str:
    """Name a point of the grid.

    Args:
        numbers: The share, where relevance is read, and what completes it.

    Returns:
        A short name.
    """
    read = " @ LN" if numbers.get("wrt") else ""
    completed = ", completed" if numbers.get("complete") else ""
    return f"share={numbers['share']:g}{read}{completed}"


def options(numbers: Numbers, model: nn.Module) -> dict[str, Any]:
    """Build the options of `lrp_hooks.explain`.

    Args:
        numbers: ``"share"`` of relevance through query and key, one for all blocks or
            that of the first and of the last, between which it changes evenly;
            ``"gamma"`` of linear layers; ``"wrt"``; ``"complete"``. Or a ``"method"``
            with options of its own.
        model: Has a block for each module called ``...attention.self``.

    Returns:
        The options.
    """
    if "method" in numbers:
        return dict(numbers)
    rules = RuleSet.named("conservative")
    if numbers.get("gamma"):
        rules = rules.override(linear=Gamma(numbers["gamma"]))
    found: dict[str, Any] = {"method": "lrp", "rules": rules}
    if isinstance(numbers["share"], list):
        found["overrides"] = by_depth(model, *numbers["share"])
    else:
        found["rules"] = rules.override(attention=Attention(numbers["share"]))
    return found | {k: numbers[k] for k in ("wrt", "complete") if numbers.get(k)}


def by_depth(model: nn.Module, first: float, last: float) -> dict[str, Attention]:
    """Change the share from block to block.

    Args:
        model: A BERT.
        first: The share in the first block.
        last: That in the last one.

    Returns:
        Overrides by module name.
    """
    names = [
        name for name, _ in model.named_modules() if name.endswith("attention.self")
    ]
    steps = max(1, len(names) - 1)
    return {
        name: Attention(first + (last - first) * number / steps)
        for number, name in enumerate(names)
    }
