"""``--complete``: what biases and positions took, given back to the tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..errors import ArgumentError
from ..results.explanation import Explanation
from ..results.ledger import Ledger
from ..results.relevance import Relevance

__all__ = ["check_completes", "completed"]


def check_completes(method: str, chosen: Any, how: str) -> None:
    """Refuse a method without a ledger, before any work.

    Args:
        method: Its name.
        chosen: Its class.
        how: What ``--complete`` says.

    Raises:
        ArgumentError: If its explanations have no ledger.
    """
    if "rules" not in chosen.options():
        raise ArgumentError(
            f"--complete {how} shares out a ledger, and {method!r} has none. It goes "
            "with --method lrp."
        )


def completed(explanation: Explanation, how: str) -> Explanation:
    """Give the relevance of a ledger's sources back to the tokens.

    Args:
        explanation: Relevance.
        how: See `Relevance.complete`.

    Returns:
        Relevance whose scores sum to the total of the ledger, which has no other term.
    """
    assert isinstance(explanation, Relevance)
    ledger = explanation.ledger
    return replace(
        explanation,
        scores=explanation.complete(how),
        ledger=Ledger(ledger.total, {}, {}, ledger.output),
        method=f"{explanation.method}@{how}",
    )
