"""Explanations as plain numbers and strings, for JSON."""

from __future__ import annotations

from typing import Any

from ..views.explanation import Account, Example, Strip, View

__all__ = ["records"]


def records(view: View) -> list[dict[str, Any]]:
    """Write each example as a dictionary.

    Args:
        view: What there is to show.

    Returns:
        For each example its ``method``, ``target``, ``output``, ``tokens``,
        ``scores``, ``special`` and, if there is a ledger, ``ledger``. Of several
        tensors that were read, ``scores`` are lists by name. Where scores are of no
        class, ``class_specific`` is false.
    """
    head: dict[str, Any] = {"method": view.method}
    if not view.of_target:
        head["class_specific"] = False
    return [{**head, **_example(e)} for e in view.examples]


def _example(example: Example) -> dict[str, Any]:
    """Return one example."""
    record: dict[str, Any] = {"target": example.target, "output": example.output}
    for part in example.parts:
        if isinstance(part, Strip) and "tokens" not in record:
            record |= {"tokens": part.tokens, "special": part.special}
    scores = {
        part.name: part.scores if isinstance(part, Strip) else part.scores.tolist()
        for part in example.parts
    }
    record["scores"] = scores.get("", scores)
    if example.account is not None:
        record["ledger"] = _ledger(example.account, example.output)
    return record


def _ledger(account: Account, output: float) -> dict[str, Any]:
    """Return the terms by kind, the sums, and every source."""
    return {
        **dict(account.groups),
        "total": account.total,
        "output": output,
        "error": account.error,
        "sources": dict(account.sources),
    }
