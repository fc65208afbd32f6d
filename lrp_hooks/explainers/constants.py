"""Says where constants, not what was read, made an output."""

from __future__ import annotations

import warnings

import torch

from ..errors import ConstantsWarning
from ..results.explanation import Explanation
from ..results.ledger import summed, wide
from ..results.relevance import Relevance
from ..support.text import decimals, signed

__all__ = ["warn_of_constants"]

SMALL = 1 / 3
"""The part of an output below which its inputs say little of it."""
CLOSES = 1e-3
"""Up to this error it is known where the rest went."""


def warn_of_constants(found: Explanation) -> None:
    """Warn where inputs have less than a third of an output, and constants the rest.

    Args:
        found: Any explanation; one without a ledger that closes tells no constants.
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
    warnings.warn(
        f"constants (biases, positions, what a softmax absorbs) made most of the "
        f"output{which}: they took{first} {took} of {whole}, and what was read "
        f"{got}. Explain a Contrast of two outputs, which share most constants, or "
        "give these back to the inputs with .complete().",
        ConstantsWarning,
        stacklevel=3,
    )
