"""What `instrument` accepts: models that run hooks, overrides that match a module."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

import torch
from torch import nn

from ..errors import ArgumentError, CompiledModelError, UnsupportedModelError
from .rule import Rule, as_rule
from .walk import modules_of, named_modules_of
from .wrappers import named_modules

__all__ = ["Key", "check_compiled", "checked_overrides"]

Key = nn.Module | str | type[nn.Module]


def check_compiled(model: nn.Module) -> None:
    """Refuse a model that does not run hooks.

    Args:
        model: Any module.

    Raises:
        CompiledModelError: If it, or a part of it, is compiled.
        UnsupportedModelError: If it is TorchScript.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise UnsupportedModelError(
            f"the model is TorchScript ({type(model).__name__}), which runs outside "
            "Python, where no rule holds; instrument the original module instead."
        )
    if not any(map(_is_compiled, modules_of(model))):
        return
    name = next(name for name, m in named_modules_of(model) if _is_compiled(m))
    raise CompiledModelError(
        f"{name or 'the model'} is compiled by torch.compile, which does not run hooks "
        "that are attached later; instrument the original module (model._orig_mod) "
        "instead."
    )


def _is_compiled(module: nn.Module) -> bool:
    compiled = getattr(module, "_compiled_call_impl", None) is not None
    return compiled or type(module).__name__ == "OptimizedModule"


def checked_overrides(
    model: nn.Module, overrides: Mapping[Key, Rule]
) -> dict[Key, Rule]:
    """Refuse overrides that override nothing.

    Args:
        model: The model.
        overrides: ``{module, glob over qualified names, or module type: rule}``.

    Returns:
        The same with rules made of rule classes.

    Raises:
        ArgumentError: If a key is of another kind, or matches no module.
    """
    names = dict(named_modules(model)) if overrides else {}
    for key in overrides:
        if isinstance(key, str):
            found = any(fnmatchcase(name, key) for name in names)
        elif isinstance(key, nn.Module):
            found = any(module is key for module in model.modules())
        elif isinstance(key, type) and issubclass(key, nn.Module):
            found = True
        else:
            raise ArgumentError(
                f"overrides has the key {key!r}; it must be a module, a glob over "
                "module names, or a module type."
            )
        if not found:
            raise ArgumentError(
                f"overrides has the key {key!r}, which matches no module of the model; "
                "dict(model.named_modules()) lists their names."
            )
    return {key: as_rule(rule) for key, rule in overrides.items()}
