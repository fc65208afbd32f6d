"""What an answer drew on, as plain numbers and strings, for JSON."""

from __future__ import annotations

from typing import Any

from .explanation import AnswerExplanation

__all__ = ["record"]


def record(found: AnswerExplanation) -> dict[str, Any]:
    """Write an explanation as a dictionary.

    Args:
        found: The explanation.

    Returns:
        Its ``method``, ``target``, ``prompt``, ``answer``, ``sources``, ``spans``,
        ``scores``, ``output``, ``ledger`` (None without one) and ``meta``.
    """
    ledger = found.ledger
    return {
        "method": found.method,
        "target": found.target,
        "prompt": found.prompt,
        "answer": found.answer,
        "sources": [passage._asdict() for passage in found.sources],
        "spans": [passage._asdict() for passage in found.spans],
        "scores": found.scores.tolist(),
        "output": found.output.tolist(),
        "ledger": None
        if ledger is None
        else {
            "sources": {name: v.tolist() for name, v in ledger.sources.items()},
            "inputs": ledger.inputs.tolist(),
            "total": ledger.total.tolist(),
            "error": ledger.error.tolist(),
        },
        "meta": found.meta,
    }
