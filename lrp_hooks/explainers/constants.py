"""Says where constants, not what was read, made an output."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from ..attribution.readout import Contrast
from ..errors import ConstantsWarning
from ..results.explanation import Explanation
from ..results.ledger import summed, wide
from ..results.relevance import Relevance
from ..support.text import decimals, signed

__all__ = ["warn_of_constants"]

SMALL = 1 / 3
"""The part of an output below which its inputs say little of it."""
CLOSES = 1e-2
"""Up to this error it is known where the rest went."""


def warn_of_constants(found: Explanation, target: Any = None) -> None:
    """Warn where inputs have less than a third of an output, and constants the rest.

    Args:
        found: Any explanation; one without a ledger that closes tells no constants.
        target: What was asked for.
    """
    if not isinstance(found, Relevance):
        return
    ledger = found.ledger
    inputs, output = wide(ledger.inputs), wide(ledger.output)
    known = (wide(ledger.error) < CLOSES) & (output != 0)
    few = (known & (inputs.abs() < SMALL * output.abs())).nonzero().flatten().tolist()
    if not few:
        return
    constants = wide(summed(ledger.sources.values(), ledger.output))
    n = few[0]
    numbers = torch.stack([constants, output, inputs])[:, n].tolist()
    places = decimals(max(map(abs, numbers)))
    took, whole, got = (signed(number, places) for number in numbers)
    which = "" if len(output) == 1 else f" in {len(few)} of {len(output)} examples"
    first = "" if len(few) == 1 == len(output) else f", example {n},"
    advice = _advice(found, target)
    warnings.warn(
        f"constants (biases, positions, what a softmax absorbs) made most of the "
        f"output{which}: they took{first} {took} of {whole}, and what was read "
        f"{got}. {advice}",
        ConstantsWarning,
        stacklevel=3,
    )


def _advice(found: Relevance, target: Any) -> str:
    """Say what can be done about it."""
    ways = []
    if not isinstance(target, Contrast):
        ways.append(
            "explain a Contrast, if there are two outputs whose constants cancel"
        )
    if not isinstance(found.scores, dict):
        ways.append("give these back to the places where they act with .complete()")
    said = ", or ".join(ways) or "see the ledger's sources"
    return f"{said[0].upper()}{said[1:]}."
