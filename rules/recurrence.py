"""Recurrent layers: gates frozen, the candidate passes relevance unchanged.

    LSTM   c_t = f * c_{t-1} + i * tanh(a),   h_t = o * tanh(c_t)
    GRU    h_t = (1 - z) * tanh(a + r * b) + z * h_{t-1}
    RNN    h_t = tanh(a)

with the sigmoid gates f, i, o, z, r taken as constants (the "signal takes all" rule,
Arras et al. 2017) and a, b affine in the input and the state. The outputs are those of
torch's fused kernels; the backward pass runs through the unrolled steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..engine import (
    FunctionTable,
    ScopeRule,
    carries,
    freeze,
    pass_through,
    register,
    report,
    spellings,
    splice,
    table,
    trainable,
    watch_source,
)

__all__ = ["Recurrence"]

FUNCTIONS = spellings("lstm gru rnn_tanh rnn_relu")
CELLS = spellings("lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell")
State = tuple[Tensor, ...]
Step = Callable[[Tensor, State, Sequence[Tensor]], State]


class Recurrence(ScopeRule):
    """R passes through the state and the candidate; gates take none."""

    def __init__(self, unrolled: bool = True) -> None:
        """Choose between the rule and the plain gradient.

        Args:
            unrolled: Use the rule; otherwise the plain gradient.
        """
        self.unrolled = unrolled

    def functions(self, module: nn.Module | None) -> FunctionTable:
        """Return the table of fused recurrent layers.

        Args:
            module: Unused.

        Returns:
            The function table.
        """
        if not self.unrolled:
            return table([*FUNCTIONS, *CELLS], None)
        return {**table(FUNCTIONS, _recur), **table(CELLS, _recur_once)}


def _recur(func: Callable[..., Any], x: Tensor, hx: Any, *args: Any) -> Any:
    """Run the fused kernel, and join its outputs to the unrolled steps."""
    states = (hx,) if isinstance(hx, Tensor) else tuple(hx)
    if not any(map(carries, (x, *states, *_listed(args[0])))):
        return _as_trained(func, x, hx, *args)
    packed = isinstance(hx, Tensor) and not hx.is_floating_point()  # batch sizes
    if packed or (args[3] and args[4]):  # a packed sequence, or dropout in training
        out = func(x, hx, *args)
        report(func, out)
        return out
    fused = _as_trained(func, x, hx, *args)
    twin = _unroll(_STEPS[func.__name__], x, states, *args)
    return tuple(map(_take_graph, fused, twin))


def _recur_once(func: Callable[..., Any], x: Tensor, hx: Any, *weights: Any) -> Any:
    """Run the fused kernel of a cell, and join its outputs to one step."""
    state = (hx,) if isinstance(hx, Tensor) else tuple(hx)
    fused = func(x, hx, *weights)
    if not any(map(carries, (x, *state))):
        return fused
    step = _STEPS[func.__name__.removesuffix("_cell")]
    twin = step(x, state, [weight for weight in weights if weight is not None])
    if isinstance(fused, Tensor):
        return _take_graph(fused.detach(), twin[0])
    return tuple(_take_graph(y.detach(), t) for y, t in zip(fused, twin, strict=True))


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else (value,)


def _as_trained(func: Callable[..., Any], *args: Any) -> State:
    """Run the kernel that torch takes where weights require a gradient."""
    outputs = func(*map(_trained, args))
    return tuple(output.detach() for output in outputs)


def _trained(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_trained(item) for item in value]
    return value.detach().requires_grad_() if trainable(value) else value


def _take_graph(value: Tensor, twin: Tensor) -> Tensor:
    return splice(value, twin, lambda grad: grad) if carries(twin) else value


def _unroll(
    step: Step,
    x: Tensor,
    states: State,
    weights: Sequence[Tensor],
    has_biases: bool,
    n_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool = False,
) -> State:
    """Return (output, final states ...) as the fused kernels do."""
    axis = 1 if batch_first and x.ndim == 3 else 0
    sequence = list(x.unbind(axis))
    finals: list[State] = []
    directions = 2 if bidirectional else 1
    per = len(weights) // (n_layers * directions)  # a projected LSTM has one more
    for layer in range(n_layers):
        sides = []
        for side in range(directions):
            index = layer * directions + side
            own = weights[index * per : (index + 1) * per]
            state = tuple(s[index] for s in states)
            ordered = sequence[::-1] if side else sequence
            outputs, state = _run(step, ordered, state, own)
            finals.append(state)
            sides.append(outputs[::-1] if side else outputs)
        sequence = [torch.cat(pair, -1) for pair in zip(*sides, strict=True)]
    last = tuple(torch.stack(parts) for parts in zip(*finals, strict=True))
    return (torch.stack(sequence, axis), *last)


def _run(
    step: Step, sequence: list[Tensor], state: State, weights: Sequence[Tensor]
) -> tuple[list[Tensor], State]:
    outputs = []
    for x in sequence:
        state = step(x, state, weights)
        outputs.append(state[0])
    return outputs, state


def _affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    y = F.linear(x, weight, bias)
    if bias is not None and carries(y):
        watch_source(y, bias)
    return y


def _parts(
    x: Tensor, h: Tensor, weights: Sequence[Tensor], n: int
) -> list[tuple[Tensor, Tensor]]:
    """Return the n pairs (W x + b, U h + b') of a cell."""
    w, u = (m.chunk(n) for m in weights[:2])
    b, c = (v.chunk(n) for v in weights[2:]) if len(weights) > 2 else ((None,) * n,) * 2
    return [(_affine(x, w[i], b[i]), _affine(h, u[i], c[i])) for i in range(n)]


def _add(a: Tensor, b: Tensor) -> Tensor:
    """Add two terms of a state; one that carries no relevance is a source."""
    total = a + b
    for term in (a, b):
        if carries(total) and not carries(term):
            watch_source(total, term, "state")
    return total


def _gate(a: Tensor, b: Tensor) -> Tensor:
    return torch.sigmoid(freeze(a) + freeze(b))


def _through(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.no_grad():
        y = function(x)
    return pass_through(function, x, y) if carries(x) else y


def _lstm(x: Tensor, state: State, weights: Sequence[Tensor]) -> State:
    h, c = state
    own, projection = (
        (weights[:-1], weights[-1]) if len(weights) % 2 else (weights, None)
    )
    i, f, a, o = _parts(x, h, own, 4)
    candidate = _through(torch.tanh, _add(*a))
    c = _add(_gate(*f) * c, _gate(*i) * candidate)
    h = _gate(*o) * _through(torch.tanh, c)
    return (h if projection is None else F.linear(h, projection)), c


def _gru(x: Tensor, state: State, weights: Sequence[Tensor]) -> State:
    (h,) = state
    r, z, a = _parts(x, h, weights, 3)
    candidate = _through(torch.tanh, _add(a[0], _gate(*r) * a[1]))
    keep = _gate(*z)
    return (_add((1 - keep) * candidate, keep * h),)


def _rnn_tanh(x: Tensor, state: State, weights: Sequence[Tensor]) -> State:
    return (_through(torch.tanh, _add(*_parts(x, state[0], weights, 1)[0])),)


def _rnn_relu(x: Tensor, state: State, weights: Sequence[Tensor]) -> State:
    return (_through(torch.relu, _add(*_parts(x, state[0], weights, 1)[0])),)


_STEPS: dict[str, Step] = {
    "lstm": _lstm,
    "gru": _gru,
    "rnn_tanh": _rnn_tanh,
    "rnn_relu": _rnn_relu,
}


register(
    nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell, nn.GRUCell, nn.RNNCell, family="recurrence"
)
