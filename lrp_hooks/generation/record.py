"""What a generation drew on, as plain numbers and strings, for JSON."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .explanation import GenerationExplanation

__all__ = ["record"]


def record(found: GenerationExplanation) -> dict[str, Any]:
    """Write an explanation as a dictionary.

    Args:
        found: The explanation.

    Returns:
        Its ``method``, ``tokens``, ``prompt`` (how many of them stand before what was
        written), ``generated``, ``rivals``, ``scores``, ``output``, ``ledger`` and
        ``meta``.
    """
    ledger = found.ledger
    assert isinstance(found.scores, Tensor) and found.tokens is not None
    return {
        "method": found.method,
        "tokens": found.tokens[0],
        "prompt": found.prompt,
        "generated": found.generated,
        "rivals": found.rivals,
        "scores": found.scores.tolist(),
        "output": found.output.tolist(),
        "ledger": {
            "sources": {name: v.tolist() for name, v in ledger.sources.items()},
            "inputs": ledger.inputs.tolist(),
            "total": ledger.total.tolist(),
            "error": ledger.error.tolist(),
        },
        "meta": found.meta,
    }
