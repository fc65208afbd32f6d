"""A model's modules and parameters: as torch lists them, in a fraction of the time.

Every call of `attribute` looks at all of them; names cost ten times as much as that.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn import Parameter

__all__ = ["has_parts", "modules_of", "named_modules_of", "parameters_of"]


def has_parts(module: nn.Module) -> bool:
    """Tell a module with modules inside.

    Args:
        module: Any module.

    Returns:
        True if it has any.
    """
    return any(part is not None for part in module._modules.values())


def modules_of(model: nn.Module) -> list[nn.Module]:
    """List a model's modules, itself among them, each once and in no order.

    Args:
        model: Any module.

    Returns:
        The modules.
    """
    found = {id(model): model}
    stack = [model]
    while stack:
        for module in stack.pop()._modules.values():
            if module is not None and id(module) not in found:
                found[id(module)] = module
                if module._modules:
                    stack.append(module)
    return list(found.values())


def named_modules_of(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """List a model's modules as ``model.named_modules()`` does.

    Args:
        model: Any module.

    Yields:
        Each module once, with its first qualified name, a parent before its parts.
    """
    seen: set[int] = set()
    stack: list[tuple[str, nn.Module]] = [("", model)]
    while stack:
        prefix, module = stack.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        yield prefix, module
        if parts := module._modules:
            dot = f"{prefix}." if prefix else ""
            inside = [(dot + k, m) for k, m in parts.items() if m is not None]
            stack += reversed(inside)


def parameters_of(model: nn.Module) -> Iterator[Parameter]:
    """Go through a model's parameters, in no order; what is shared may come again.

    Args:
        model: Any module.

    Yields:
        Each parameter.
    """
    for module in modules_of(model):
        for parameter in module._parameters.values():
            if parameter is not None:
                yield parameter
