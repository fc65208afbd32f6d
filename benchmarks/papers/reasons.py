"""Published orderings that are not the same here, each with a reason.

What is open has one by its numbers: the difference is small, or examples are too few to
tell, and how many would. What is reversed has one that a person wrote, in the paper's
configuration: ``{"why": text, "worse": [methods], "metric": [names], ...}``, the first
whose lists all hold what they name of the ordering and its row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import Any

from ..faithfulness.orderings import AT_ITS_PROTOCOL
from .published import FEWEST, markdown, said

__all__ = ["MISSING", "SMALL", "reasons", "why"]

SMALL = 0.01
"""A difference below which an ordering is not worth more examples."""
MOST = 100_000
"""Examples that no one will run."""
MISSING = "no reason is written yet"
ELSEWHERE_WHY = "not the paper's protocol, see above"
Row = Mapping[str, Any]
Known = Sequence[Mapping[str, Any]]


def reasons(
    rows: Iterable[Row], known: Known, words: Sequence[str] = AT_ITS_PROTOCOL
) -> str:
    """List what is not the same.

    Args:
        rows: See `published`.
        known: Reasons that a person wrote.
        words: What to say, see `orderings.verdict`.

    Returns:
        Markdown, a line for each row and reason.
    """
    lines = [["data", "model, read-out", "metric", "", "orderings", "why"]]
    lines.append(["---"] * len(lines[0]))
    for entry in rows:
        found: dict[tuple[str, str], list[str]] = {}
        for pair in entry["orderings"]:
            verdict = said(entry, pair, words)
            if verdict != words[0]:
                text, more = why(entry, pair, known, words)
                shown = f"{pair['advantage']:+.3f}{more}"
                name = f"{pair['better']} > {pair['worse']} ({shown})"
                found.setdefault((verdict, text), []).append(name)
        where = f"{entry['model']}, {entry['read_out']}"
        for (verdict, text), names in found.items():
            cells = [entry["data"], where, entry["metric"], verdict]
            lines.append([*cells, "; ".join(names), text])
    return markdown(lines)


def why(
    entry: Row, pair: Row, known: Known, words: Sequence[str] = AT_ITS_PROTOCOL
) -> tuple[str, str]:
    """Say why an ordering is not the same.

    Args:
        entry: Its row.
        pair: The ordering.
        known: Reasons that a person wrote.
        words: See `reasons`.

    Returns:
        The reason, `MISSING` if one is reversed without any; and what stands behind
        the difference: how many examples would do.
    """
    if said(entry, pair, words) == words[1]:
        return _open(entry, pair)
    for reason in known:
        if all(_holds(name, reason[name], entry, pair) for name in {*reason} - {"why"}):
            return reason["why"], ""
    if tuple(words) == AT_ITS_PROTOCOL:
        return MISSING, ""
    return ELSEWHERE_WHY, ""


def _holds(name: str, allowed: Sequence[str], entry: Row, pair: Row) -> bool:
    """Return whether an ordering, or else its row, has one of the values allowed."""
    return (pair if name in pair else entry)[name] in allowed


def _open(entry: Row, pair: Row) -> tuple[str, str]:
    """Explain what is open."""
    if entry["n"] < FEWEST:
        return f"fewer than {FEWEST} examples tell nothing", ""
    far = max(abs(pair["low"]), abs(pair["high"]))
    if far < SMALL:
        return f"the difference is under {SMALL}", ""
    half, middle = (pair["high"] - pair["low"]) / 2, abs(pair["advantage"])
    needed = entry["n"] * (half / middle) ** 2 if middle else MOST
    text = "too few examples; in brackets, about how many would tell"
    if needed >= MOST:
        return text, f"; over {MOST:,}"
    return text, f"; {ceil(max(needed, entry['n'] + 1)):,}"
