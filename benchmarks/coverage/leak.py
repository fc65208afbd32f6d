"""Finds the modules that lose or make relevance, from one forward and one backward.

Every tensor that enters or leaves a module is passed on as a copy of its own, so that
its gradient is what this module (or what follows it) asks for and nothing else. Then
relevance out = relevance in + sources inside + leak, module by module; what the parts
of a module leak is taken off its own leak.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lrp_hooks import Instrumentation, Relevance

Hook = Callable[..., Any]


class _Copy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: D102
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # noqa: D102
        return grads[0]


class Balance:
    """Relevance that enters and leaves each module, over all its calls."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.entering: dict[str, float] = defaultdict(float)
        self.leaving: dict[str, float] = defaultdict(float)

    def hooks(self, name: str) -> tuple[Hook, Hook]:
        """Make the forward pre-hook and the forward hook of a module.

        Args:
            name: Its qualified name.

        Returns:
            The hooks.
        """

        def before(module: nn.Module, args: Any, kwargs: Any) -> Any:
            return self._copied((args, kwargs), self.entering, name)

        def after(module: nn.Module, args: Any, kwargs: Any, out: Any) -> Any:
            return self._copied(out, self.leaving, name)

        return before, after

    def _copied(self, value: Any, side: dict[str, float], name: str) -> Any:
        if isinstance(value, Tensor):
            return self._watched(value, side, name) if value.requires_grad else value
        if isinstance(value, Mapping):
            found = {k: self._copied(v, side, name) for k, v in value.items()}
            return found if type(value) is dict else type(value)(**found)
        if type(value) in {list, tuple}:
            return type(value)(self._copied(item, side, name) for item in value)
        return value

    def _watched(self, x: Tensor, side: dict[str, float], name: str) -> Tensor:
        copy: Tensor = _Copy.apply(x)
        copy.__dict__.update(x.__dict__)
        values = x.detach()

        def note(grad: Tensor) -> None:
            terms = torch.where(grad == 0, 0.0, grad * values)
            side[name] += float(terms.double().sum())

        copy.register_hook(note)
        return copy


def leaks(
    lrp: Instrumentation, inputs: dict[str, Any], n: int = 3
) -> list[dict[str, Any]]:
    """Name the modules with the largest leaks of their own.

    Args:
        lrp: The instrumented model.
        inputs: Keyword arguments of one example.
        n: How many to name.

    Returns:
        Module, type and leak relative to the output's scale, the largest first.
    """
    balance = Balance()
    modules = dict(lrp.model.named_modules())
    handles = []
    for name, module in modules.items():
        before, after = balance.hooks(name)
        handles += [
            module.register_forward_pre_hook(before, with_kwargs=True),
            module.register_forward_hook(after, with_kwargs=True),
        ]
    try:
        relevance = lrp.attribute(inputs)
    finally:
        for handle in handles:
            handle.remove()
    own = _own_leaks(balance, modules, relevance)
    scale = max(1e-30, float(relevance.output.abs().max()))
    worst = sorted(own, key=lambda name: -abs(own[name]))[:n]
    return [
        {
            "module": name,
            "type": type(modules[name]).__name__,
            "leak": float(f"{own[name] / scale:.2e}"),
        }
        for name in worst
        if abs(own[name]) > 1e-6 * scale
    ]


def _own_leaks(
    balance: Balance, modules: dict[str, nn.Module], relevance: Relevance
) -> dict[str, float]:
    sources = {k: float(v.sum()) for k, v in relevance.ledger.sources.items()}
    read = set(relevance.meta["read"])
    total: dict[str, float] = {}
    for name in modules:
        if name not in balance.leaving:
            continue
        dot = f"{name}." if name else ""
        inside = sum(v for k, v in sources.items() if k.startswith(dot))
        if any(r == name or r.startswith(dot) for r in read):
            inside += float(relevance.ledger.inputs.sum())
        total[name] = balance.leaving[name] - balance.entering[name] - inside
    return {name: leak - _parts(name, total) for name, leak in total.items()}


def _parts(name: str, total: dict[str, float]) -> float:
    """Add what the outermost parts that were called leak."""
    dot = f"{name}." if name else ""
    inner = [k for k in total if k != name and k.startswith(dot)]
    outermost = [
        k for k in inner if not any(k.startswith(f"{o}.") for o in inner if o != k)
    ]
    return sum(total[k] for k in outermost)
