"""The rule set that records: each replacement calls its function as it is and notes it.

So whatever the engine sees (modules of any make, functions written in Python, fused
kernels) is seen on the tape in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...attribution.attention_maps import attention_weights
from ...engine.autograd import carries
from ...engine.functions import spellings, table
from ...engine.rule import FunctionTable, LeafRule, ScopeRule
from ...engine.ruleset import FAMILIES, RuleSet
from .tape import Tape

__all__ = ["recording"]

MOVES = spellings("""
    contiguous clone to type_as float double dropout alias view reshape view_as
    reshape_as transpose t permute swapaxes swapdims movedim moveaxis unsqueeze squeeze
    flatten
""")
MOVES += [F.dropout, Tensor.unflatten]
PICKS = spellings("__getitem__ select")
SUMS = spellings("add")
MEANS = spellings("mean")
LINEAR = spellings("linear", F.linear)
NORMS = spellings("layer_norm", F.layer_norm)
SOFTMAX = spellings("softmax _softmax safe_softmax _safe_softmax")
FUSED = spellings("", F.scaled_dot_product_attention)
TURNED_LINEAR = spellings("addmm")
LOSSES = spellings("cross_entropy_loss nll_loss binary_cross_entropy_with_logits")
PRODUCTS = spellings("matmul __matmul__ bmm")
ELEMENT_WISE = spellings(
    """
    relu relu6 gelu silu mish tanh elu selu celu leaky_relu hardtanh hardswish
    hardshrink softshrink erf sin atan asinh
    """,
    F.softsign,
)
"""Functions through zero; others have no slope f(x)/x there."""


def recording(tape: Tape) -> RuleSet:
    """Return the rule set that records on a tape; it changes no value.

    Args:
        tape: Where calls are noted.

    Returns:
        The rule set.
    """
    families: dict[str, Any] = dict.fromkeys(FAMILIES, _Functions(tape))
    families["activation"] = _Activations(tape)
    return RuleSet(name="tape", registered=False, complete=False, **families)


class _Activations(LeafRule):
    overwrites = True

    def __init__(self, tape: Tape) -> None:
        self.tape = tape

    def join(
        self, module: nn.Module, x: Tensor, y: Tensor, again: Callable[[Tensor], Tensor]
    ) -> Tensor:
        out: Tensor = self.tape.note("activation", y, (x,), function=again)
        return out

    def relevance(
        self, module: nn.Module, x: Tensor, y: Tensor, grad: Tensor
    ) -> Tensor:
        raise NotImplementedError  # nothing is propagated while a tape records

    def functions(self, module: nn.Module | None) -> FunctionTable:
        return table(ELEMENT_WISE, self._apply)

    def _apply(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        def function(x: Tensor) -> Tensor:
            result: Tensor = func(x.clone(), *args[1:], **kwargs)
            return result

        return self.tape.call("activation", func, args, kwargs, function=function)


class _Functions(ScopeRule):
    overwrites = True

    def __init__(self, tape: Tape) -> None:
        self.tape = tape

    def functions(self, module: nn.Module | None) -> FunctionTable:
        return {
            **table(RuleSet.named("conservative").functions(), self._other),
            **table(LOSSES, self._other),
            **table(MOVES, partial(self._call, "move")),
            **table(PICKS, self._pick),
            **table(SUMS, self._sum),
            **table(MEANS, self._mean),
            **table(LINEAR, self._linear),
            **table(TURNED_LINEAR, self._turned_linear),
            **table(NORMS, self._norm),
            **table(SOFTMAX, _frozen),
            **table(FUSED, self._attention),
            **table(PRODUCTS, self._product),
            **_Activations(self.tape).functions(module),
        }

    def _call(
        self, kind: str, func: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        return self.tape.call(kind, func, args, kwargs)

    def _other(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.tape.call(func.__name__, func, args, kwargs)

    def _sum(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        both = all(map(carries, args[:2])) and len(args) == 2 and not kwargs
        kind = "sum" if both else "sum with a constant"
        return self.tape.call(kind, func, args, kwargs)

    def _pick(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        index = _position(func, *args, **kwargs) if carries(args[0]) else None
        kind = "select" if index is not None else func.__name__
        return self.tape.call(kind, func, args, kwargs, index=index)

    def _mean(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        given = (*args[1:], *kwargs.values())
        over_tokens = list(given) in ([1], [-2]) and args[0].ndim == 3
        return self.tape.call("mean" if over_tokens else "mean()", func, args, kwargs)

    def _linear(
        self, func: Callable[..., Any], x: Any, weight: Any, bias: Any = None
    ) -> Any:
        args = (x, weight, bias)
        if carries(weight):
            return self._other(func, *args)
        return self.tape.call("linear", func, args, {}, weight=weight, bias=bias)

    def _turned_linear(
        self, func: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        return self.tape.call("addmm", func, args, kwargs, bias=args[0])

    def _norm(
        self,
        func: Callable[..., Any],
        x: Any,
        shape: Any,
        weight: Any = None,
        bias: Any = None,
        eps: float = 1e-5,
        *more: Any,
    ) -> Any:
        args = (x, shape, weight, bias, eps, *more)
        settings = {"weight": weight, "bias": bias, "eps": eps}
        kind = "norm" if len(shape) == 1 else "layer_norm of several dimensions"
        return self.tape.call(kind, func, args, {}, **settings)

    def _attention(
        self,
        func: Callable[..., Any],
        query: Any,
        key: Any,
        value: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        query, key = query.detach(), key.detach()
        weights = partial(_weights, query, key, *args, **kwargs)
        given = (query, key, value, *args)
        return self.tape.call("mix", func, given, kwargs, weights=weights)

    def _product(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        mixes = len(args) == 2 and args[0].ndim > 2 and not carries(args[0])
        if not mixes:
            return self._other(func, *args, **kwargs)
        weights = partial(_example, args[0])
        return self.tape.call("mix", func, args, kwargs, weights=weights)


def _frozen(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    with torch.no_grad():
        return func(*args, **kwargs)


def _position(
    func: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any
) -> int | None:
    """Return which token x[:, i] or x.select(1, i) takes, or None for anything else."""
    if x.ndim != 3:
        return None
    if func.__name__ == "select":
        dim, index, *_ = (*args, *(kwargs[k] for k in ("dim", "index") if k in kwargs))
        return index if dim == 1 else None
    index = args[0] if isinstance(args[0], tuple) else (args[0],)
    rest = (slice(None), *index[2:])
    whole = len(index) in {2, 3} and index[0] == slice(None) == rest[-1]
    return index[1] if whole and type(index[1]) is int else None


def _weights(
    query: Tensor,
    key: Tensor,
    attn_mask: Tensor | None = None,
    *rest: Any,
    example: int,
    **more: Any,
) -> Tensor:
    """Return the attention weights of one example, [H, T, T]."""
    only = slice(example, example + 1)
    if attn_mask is not None and attn_mask.ndim == 4 and len(attn_mask) > 1:
        attn_mask = attn_mask[only]
    return attention_weights(query[only], key[only], attn_mask, *rest, **more)[0]


def _example(weights: Tensor, *, example: int) -> Tensor:
    return weights[min(example, len(weights) - 1)]  # one for all, if it is shared
