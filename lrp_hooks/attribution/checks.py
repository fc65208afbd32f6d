"""What makes scores misleading though nothing failed.

A read-out that no gradient reaches shows zeros, and a target function that is not
linear in the model's output adds something of its own that no score accounts for.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..engine.autograd import carries
from ..engine.nested import first_tensor, replace_first
from ..engine.sources import SourceCollector
from ..results.ledger import Ledger

__all__ = [
    "TARGET",
    "check_closes",
    "check_frozen",
    "check_gate",
    "check_reached",
    "check_repeats",
    "check_rows",
    "check_target",
    "watch_target",
]

TARGET = "(target)"
"""The name under which a collector notes what a target function passes on."""

Complain = Callable[[str], None]
_MATERIAL = 1e-4  # of the ledger's scale: what rounding never explains in float32


def watch_target(output: Any, collector: SourceCollector) -> Any:
    """Note <y, dt/dy> of each tensor y of a model's output that a target t uses.

    Args:
        output: What the model returned: a tensor, nested tensors, or an object with
            tensors as attributes.
        collector: Where the terms are noted.

    Returns:
        The output with copies of its tensors, for the target function.
    """
    if not isinstance(output, Tensor | Mapping | list | tuple):
        held = getattr(output, "__dict__", {})
        if first_tensor(held, carries) is None:
            return output
        output = copy.copy(output)
        output.__dict__.update(watch_target(dict(held), collector))
        return output
    seen: list[Tensor] = []

    def is_new(tensor: Tensor) -> bool:
        return carries(tensor) and all(tensor is not other for other in seen)

    while (tensor := first_tensor(output, is_new)) is not None:
        used = tensor.clone()
        collector.watch(used, tensor.detach(), TARGET)
        output = replace_first(output, tensor, used)
        seen.append(used)
    return output


def check_reached(reads: Iterable[str], complain: Complain) -> None:
    """Complain that no relevance comes to where it is read.

    Args:
        reads: Names of what was read, none of which the backward pass reached.
        complain: Called with the message.
    """
    complain(
        f"no gradient reaches {', '.join(map(repr, reads))}, where relevance is read: "
        "the explained output does not depend on it, and all scores are 0. Likely the "
        "model or the target cuts the graph (detach(), no_grad(), an argmax or another "
        "conversion to integers), or the target does not use the model's output. Take "
        "the cut out, or name a module behind it with wrt=."
    )


def check_frozen(reads: Iterable[str], complain: Complain) -> None:
    """Complain that rules let no relevance through to where it is read.

    Args:
        reads: Names of what was read, on which the output depends.
        complain: Called with the message.
    """
    complain(
        f"the explained output depends on {', '.join(map(repr, reads))}, but rules "
        "freeze every path from there, as they do gates and what a softmax or an exp() "
        "makes: all scores are 0. Explain what the model computes in front of that, "
        "with target=a function of its output; rules='gradient' shows the dependence."
    )


def check_gate(name: str, complain: Complain, replaced: bool = True) -> None:
    """Complain that what is explained is a probability or the like.

    Args:
        name: The function that returned it.
        complain: Called with the message.
        replaced: Whether its input is explained instead.
    """
    instead = (
        "What it was given is explained instead, the logit, and relevance.output is "
        "that. Leave the function off the model."
        if replaced
        else "All scores are 0. Explain the logit: have the model return what the "
        "function is given."
    )
    complain(
        f"the explained output is made by {name} at the model's end: a probability, "
        f"or another value of which no part belongs to an input. {instead}"
    )


def check_closes(ledger: Ledger, complain: Complain) -> None:
    """Complain of a ledger that does not close, where nothing has been said yet.

    Args:
        ledger: The ledger of a rule set that loses nothing.
        complain: Called with the message.
    """
    # 2e-3 in float32, 5e-7 in float64: more than sums of a deep network round to.
    limit = torch.finfo(ledger.output.dtype).eps ** 0.4
    errors = ledger.error
    worst = int(errors.argmax())
    if errors[worst] <= limit:
        return
    missing = float(ledger.output[worst] - ledger.total[worst])
    complain(
        f"the ledger does not close: {missing:.4g} of the {ledger.output[worst]:+.4g} "
        f"explained for example {worst} is missing. Large terms cancel, so that they "
        "round, or a rule of your own loses relevance: audit() shows where, and "
        "model.double() rounds less."
    )


def check_repeats(outputs: Sequence[Tensor | None], complain: Complain) -> None:
    """Complain of a model that had to be run twice and returned two things.

    Args:
        outputs: What it returned, of the same inputs, each time.
        complain: Called with the message.
    """
    first, last = outputs[0], outputs[-1]
    if first is last or first is None or last is None:
        return
    if first.shape == last.shape:
        size = float(last.abs().max()) if last.numel() else 0.0
        limit = max(_MATERIAL, 10 * _eps(last)) * size
        if torch.allclose(first, last, rtol=0.0, atol=limit, equal_nan=True):
            return
    complain(
        "the model had to be run twice and returned something else the second time, "
        "of the same inputs: it keeps a state, or draws random numbers, in eval mode. "
        "What is explained is the last call. Reset the state, or explain one example "
        "at a time and name what is read with wrt=."
    )


def check_rows(
    strays: Tensor, ledger: Ledger, shape: Sequence[int], complain: Complain
) -> None:
    """Complain that an example's output depends on another example's input.

    Args:
        strays: How much of each output comes from the inputs of others, [B].
        ledger: The ledger of the same pass.
        shape: The shape of the inputs.
        complain: Called with the message.
    """
    found = strays.cpu().double()
    excess = found - max(_MATERIAL, _eps(ledger.output)) * (ledger.scale + found)
    if bool((excess <= 0).all()):
        return
    row = int(excess.argmax())
    axes = ", ".join(map(str, range(1, len(shape)))) or "none here"
    complain(
        f"rows of the batch interact: inputs of shape {tuple(shape)} count as "
        f"{len(found)} examples, and {float(found[row]):.4g} of the "
        f"{float(ledger.output[row]):+.4g} explained for example {row} comes from the "
        "inputs of others. Each example's scores are of its own input alone, and "
        "ledger.error shows what is missing. If the examples lie along another axis, "
        f"pass batch_dim= ({axes}); if all is one example, inputs[None]; else explain "
        "one example at a time."
    )


def check_target(
    target: Any, entering: Tensor, ledger: Ledger, complain: Complain
) -> None:
    """Complain of a target function that is not linear in the model's output.

    Args:
        target: The function.
        entering: What it passes on to the model's output, sum of y dt/dy, [B].
        ledger: The ledger of the same pass.
        complain: Called with the message.
    """
    output = ledger.output.cpu().double()
    leak = output - entering.cpu().double()
    excess = leak.abs() - max(_MATERIAL, _eps(ledger.output)) * ledger.scale
    if bool((excess <= 0).all()):
        return
    row = int(excess.argmax())
    name = getattr(target, "__qualname__", type(target).__name__)
    complain(
        f"target={name} is not linear in the model's output: {float(leak[row]):+.4g} "
        f"of the {float(output[row]):+.4g} that it returned for example {row} comes "
        "from no input and no bias, so the ledger cannot close. Explain a class index, "
        "or Contrast(a, b) for the difference of two logits."
    )


def _eps(tensor: Tensor) -> float:
    return torch.finfo(tensor.dtype).eps
