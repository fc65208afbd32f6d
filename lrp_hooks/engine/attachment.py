"""Which modules of a model get hooks, and which rule their own hooks carry."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from .coverage import LINEAR
from .hooks import ModuleHooks
from .registry import Match
from .rule import LeafRule
from .runtime import Runtime
from .undo import Undo
from .walk import has_parts

__all__ = ["attach"]


def attach(
    modules: Mapping[str, nn.Module],
    matches: Mapping[str, Match | None],
    runtime: Runtime,
    undo: Undo,
) -> None:
    """Put hooks on the modules that need them.

    Args:
        modules: All modules of a model, by their qualified names.
        matches: The rule that each has.
        runtime: What the hooks share.
        undo: Where it is noted how they come off again.
    """
    fused = {
        id(inner)
        for module in modules.values()
        if isinstance(module, nn.TransformerEncoderLayer)
        for inner in module.modules()
        if inner is not module
    }
    scripted = {
        id(inner)
        for module in modules.values()
        if isinstance(module, torch.jit.ScriptModule)
        for inner in module.modules()
        if inner is not module
    }
    prepared = []
    for name, module in modules.items():
        if id(module) in scripted:
            continue
        match = matches[name]
        framed = not name or _needs_hooks(module, match, id(module) in fused)
        own = match.rule if match and framed and _is_own(module, match) else None
        prepared.append((ModuleHooks(runtime, module, name, own), module, framed))
    undo.add(runtime.close)
    for hooks, module, framed in prepared:  # only now, since rules may raise
        hooks.attach(module, undo, framed)


def _is_own(module: nn.Module, match: Match) -> bool:
    """Tell a module's own rule from its family's, which holds in the whole scope."""
    if match.family is None or not isinstance(match.rule, LeafRule):
        return match.family is None
    plain = type(module).__module__.startswith("torch.nn.")
    return not (plain and match.rule.functions(module))


_SERVED = {"linear", "pooling", "embedding"}
"""Families of single functions whose own gradient is a rule already."""


def _needs_hooks(module: nn.Module, match: Match | None, fused: bool) -> bool:
    """Leave out what needs no scope of its own when it is called by itself."""
    if match is not None and match.family is None:
        return True
    if fused and type(module).__module__.startswith("torch.nn."):
        return False  # hooks would cost nn.TransformerEncoderLayer its fused kernel
    family = None if match is None else match.family
    return has_parts(module) or not (family in _SERVED or isinstance(module, LINEAR))
