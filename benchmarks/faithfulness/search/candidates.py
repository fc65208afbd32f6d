"""What is searched: rule sets and what is read off them, from a few numbers each."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from lrp_hooks.rules import Attention, Frozen, Gamma
from torch import nn

from lrp_hooks import Rule, RuleSet

from .variants import FrozenMean, UnevenGate

__all__ = ["by_depth", "candidates", "label", "overrides", "rules", "spelled"]

Numbers = Mapping[str, Any]
ATTENTION = (".attention.self", ".self_attn", ".attention")
READS = {"norm": "LN", "block": "block 1"}
COMPLETED = {
    "site": "completed",
    "equal": "completed evenly",
    "abs": "completed by size",
}


def candidates(config: Mapping[str, Any]) -> dict[str, Numbers]:
    """List what is searched.

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
    return {label(numbers): numbers for numbers in [*grid, *config["variants"]]}


def label(numbers: Numbers) -> str:
    """Name a candidate by what it changes.

    Args:
        numbers: See `rules`, and ``"read"``, ``"complete"`` and ``"target"``.

    Returns:
        A short name.
    """
    share = numbers["share"]
    words = [
        f"share {share[0]:g} to {share[1]:g}"
        if isinstance(share, list)
        else f"share {share:g}"
    ]
    words += [f"gamma {numbers['gamma']:g}"] if numbers.get("gamma") else []
    words += ["mean frozen"] if numbers.get("mean") == "frozen" else []
    if "activated" in numbers:
        words.append(f"activated {numbers['activated']:g}")
    words += [numbers["target"]] if numbers.get("target") else []
    words += [COMPLETED[numbers["complete"]]] if numbers.get("complete") else []
    read = f" @ {READS[numbers['read']]}" if numbers.get("read") else ""
    return ", ".join(words) + read


def rules(numbers: Numbers) -> RuleSet:
    """Build a rule set.

    Args:
        numbers: ``"rules"``, a named set (``"conservative"`` if there is none), over
            which are laid: ``"share"``, of relevance through query and key; ``"gamma"``
            of linear layers; ``"mean"``, that of a LayerNorm, ``"frozen"``;
            ``"activated"``, the activated factor's part of a gated unit.

    Returns:
        The rule set; a share that changes by depth is laid over it by `overrides`.
    """
    found = RuleSet.named(numbers.get("rules", "conservative"))
    if isinstance(numbers.get("share"), int | float):
        found = found.override(attention=Attention(numbers["share"]))
    if numbers.get("gamma"):
        found = found.override(linear=Gamma(numbers["gamma"]))
    if numbers.get("mean") == "frozen":
        found = found.override(normalization=FrozenMean())
    if "activated" in numbers:
        found = found.override(product=UnevenGate(numbers["activated"]))
    return found


def spelled(numbers: Numbers) -> str:
    """Write how `explain` is asked for a candidate or a method.

    Args:
        numbers: One that needs no more than a share and a convention, or names.

    Returns:
        Code.
    """
    complete = f'.complete("{numbers["complete"]}")' if numbers.get("complete") else ""
    if "method" in numbers:
        asked = f'method="{numbers["method"]}"'
    elif "share" in numbers:
        own = f"attention=Attention({numbers['share']:g})"
        asked = f'rules=RuleSet.named("conservative").override({own})'
    else:
        asked = f'rules="{numbers["rules"]}"'
    return f"explain(..., {asked}){complete}"


def overrides(numbers: Numbers, model: nn.Module) -> dict[str, Rule]:
    """Return the rules of single modules.

    Args:
        numbers: ``"share"`` of two numbers is that of the first and of the last block;
            ``"frozen"`` names layers that make gates (MambaLRP's B, C and step size).
        model: Any.

    Returns:
        Overrides by module name.
    """
    share = numbers.get("share")
    found: dict[str, Rule] = {}
    if isinstance(share, list):
        found |= by_depth(model, *share)
    if numbers.get("frozen"):
        found[numbers["frozen"]] = Frozen()
    return found


def by_depth(model: nn.Module, first: float, last: float) -> dict[str, Attention]:
    """Change the share evenly from block to block.

    Args:
        model: Its attention modules are called ``...attention.self``,
            ``...self_attn`` or ``...attention``.
        first: The share in the first block.
        last: That in the last one.

    Returns:
        Overrides by module name.

    Raises:
        ValueError: If no module has such a name.
    """
    for ending in ATTENTION:
        names = [name for name, _ in model.named_modules() if name.endswith(ending)]
        if names:
            steps = max(1, len(names) - 1)
            return {
                name: Attention(first + (last - first) * number / steps)
                for number, name in enumerate(names)
            }
    raise ValueError(f"no attention in {type(model).__name__} is called as expected.")
