"""Published scores beside ours, and which of their orderings are the same here.

A *row* is one metric in one setting, as JSON:

* ``data``, ``model``, ``accuracy`` (of the model, on what is explained), ``n``;
* ``read_out``, ``target``, ``replacement``: the protocol, in a few words each;
* ``at_protocol``, whether all of that, and the data, are the paper's: elsewhere a
  published ordering cannot be reversed, only be ahead or behind;
* ``paper``, where given: the paper's data set whose scores ``published`` has;
* ``metric`` and which way is ``better``, ``"higher"`` or ``"lower"``;
* ``published``: ``{method: score}``, of the paper; ``ours``: ``{method: [mean, low,
  high]}``, of these and of further methods;
* ``orderings``: see `orderings`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from torch import Tensor

from lrp_hooks.faithfulness import bootstrap

from ..faithfulness.orderings import AT_ITS_PROTOCOL, compare, verdict

__all__ = [
    "FEWEST",
    "at_protocol",
    "claims",
    "counts",
    "markdown",
    "orderings",
    "row",
    "said",
    "scores",
    "spread",
]

CONTEXT = ("data", "model", "accuracy", "n", "read_out", "target", "replacement")
"""What stands in every row of a table, so that no number is read without it."""
DIGITS = 4
FEWEST = 6
"""Examples below which no interval says who is better: five may agree by chance."""
NOTHING = 5e-4
"""A difference below which none is shown, so that none is said to be there."""
Row = Mapping[str, Any]


def spread(values: Tensor) -> list[float]:
    """Return a mean and its 95 % bootstrap interval over examples.

    Args:
        values: ``[B]``.

    Returns:
        Mean, lower and upper bound.
    """
    bounds = (float(values.double().nanmean()), *bootstrap(values.double()))
    return [round(number, DIGITS) for number in bounds]


def orderings(
    published: Mapping[str, float], ours: Mapping[str, Tensor], better: str
) -> list[dict[str, Any]]:
    """Test every pair of methods that a paper put in an order.

    Args:
        published: The paper's score of each method.
        ours: ``{method: [B]}``, of the same examples in the same order.
        better: ``"higher"`` or ``"lower"``.

    Returns:
        As `compare` does, the paper's better method first: ``better``, ``worse``,
        ``advantage`` (positive where it is better here too), ``low``, ``high``; and
        ``published``, the paper's advantage. Ties of the paper, and methods that were
        not measured, are left out.
    """
    sign = 1 if better == "higher" else -1
    ranked = sorted(published, key=lambda name: -sign * published[name])
    pairs = [(a, b) for a, b in combinations(ranked, 2) if published[a] != published[b]]
    scores_ = {(name, ""): values.double() for name, values in ours.items()}
    found = compare(scores_, pairs, [""], {"": better})
    for entry in found:
        del entry["metric"]
        gap = sign * (published[entry["better"]] - published[entry["worse"]])
        entry["published"] = gap
        for name in ("advantage", "low", "high", "published"):
            entry[name] = float(f"{entry[name]:.{DIGITS}g}")
    return found


def row(
    setting: Mapping[str, Any],
    metric: str,
    better: str,
    published: Mapping[str, float],
    ours: Mapping[str, Tensor],
) -> dict[str, Any]:
    """Put one metric in one setting together.

    Args:
        setting: The names of `CONTEXT` but ``n``.
        metric: Its name, as the table shows it.
        better: ``"higher"`` or ``"lower"``.
        published: The paper's score of each method; empty where it has none.
        ours: ``{method: [B]}``.

    Returns:
        A row, see the module.
    """
    return {
        **setting,
        "n": len(next(iter(ours.values()))),
        "metric": metric,
        "better": better,
        "published": dict(published),
        "ours": {name: spread(values) for name, values in ours.items()},
        "orderings": orderings(published, ours, better),
    }


def scores(rows: Iterable[Row]) -> str:
    """Write the published table beside ours.

    Args:
        rows: Those of one table.

    Returns:
        Markdown: two lines a row, the paper's scores and ours.
    """
    rows = list(rows)
    methods = list(
        dict.fromkeys(m for r in rows for m in (*r["published"], *r["ours"]))
    )
    lines = [["data", "model, read-out", "metric", "whose", *methods]]
    lines.append(["---"] * 4 + ["---:"] * len(methods))
    for entry in rows:
        arrow = "↑" if entry["better"] == "higher" else "↓"
        where = f"{entry['model']}, {entry['read_out']}"
        head = [entry["data"], where, f"{entry['metric']} {arrow}"]
        theirs = [_number(entry["published"].get(m)) for m in methods]
        if entry["published"]:
            whose = f"paper, {entry['paper']}" if "paper" in entry else "paper"
            lines.append([*head, whose, *theirs])
        ours = [_spread(entry["ours"].get(m)) for m in methods]
        lines.append([*head, f"here, n = {entry['n']}", *ours])
    return markdown(lines)


def claims(rows: Iterable[Row], method: str) -> str:
    """Write the orderings that a paper's own method is in, one a line.

    Args:
        rows: Those of one table; those that are not at the protocol are left out.
        method: The paper's.

    Returns:
        Markdown, with all of `CONTEXT` in each line.
    """
    lines = [
        [*CONTEXT, "metric", "better", "than", "paper", "here, 95 % interval", ""],
    ]
    lines.append(["---"] * len(lines[0]))
    for entry in filter(at_protocol, rows):
        for pair in entry["orderings"]:
            if method in {pair["better"], pair["worse"]}:
                lines.append([
                    *_context(entry),
                    entry["metric"],
                    pair["better"],
                    pair["worse"],
                    _number(pair["published"], "+"),
                    _interval(pair),
                    said(entry, pair),
                ])
    return markdown([[cell.replace("_", "-") for cell in lines[0]], *lines[1:]])


def counts(rows: Iterable[Row], words: Sequence[str] = AT_ITS_PROTOCOL) -> str:
    """Count how many published orderings are the same; `reasons` names the others.

    Args:
        rows: Those of one table.
        words: What to say, see `orderings.verdict`.

    Returns:
        Markdown, a line a row.
    """
    lines = [[*(c.replace("_", "-") for c in CONTEXT), "metric", *words]]
    lines.append(["---"] * (len(CONTEXT) + 1) + ["---:"] * len(words))
    for entry in rows:
        found = [said(entry, pair, words) for pair in entry["orderings"]]
        if found:
            numbers = [str(found.count(word)) for word in words]
            lines.append([*_context(entry), entry["metric"], *numbers])
    return markdown(lines)


def said(entry: Row, pair: Row, words: Sequence[str] = AT_ITS_PROTOCOL) -> str:
    """Say whether an ordering is the same.

    Args:
        entry: Its row.
        pair: The ordering.
        words: What to say, see `orderings.verdict`.

    Returns:
        One of them, that of an open one where examples are too few for any interval,
        or the difference rounds to nothing.
    """
    few, nothing = entry["n"] < FEWEST, abs(pair["advantage"]) < NOTHING
    return words[1] if few or nothing else verdict(pair, words)


def at_protocol(entry: Row) -> bool:
    """Return whether a row was measured at its paper's protocol."""
    return bool(entry.get("at_protocol", True))


def _context(entry: Row) -> list[str]:
    return [_number(entry[name]) for name in CONTEXT]


def _number(value: Any, sign: str = "") -> str:
    if value is None:
        return ""
    return f"{value:{sign}.3f}" if isinstance(value, float) else str(value)


def _spread(found: Sequence[float] | None) -> str:
    if found is None:
        return ""
    mean, low, high = found
    return f"{mean:.3f} ±{(high - low) / 2:.3f}"


def _interval(pair: Mapping[str, float]) -> str:
    return f"{pair['advantage']:+.3f} [{pair['low']:.3f}, {pair['high']:.3f}]"


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Write a table.

    Args:
        lines: Its head, the line below, and cells.

    Returns:
        Markdown.
    """
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
