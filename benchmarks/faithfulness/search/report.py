"""Turn the search into tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lrp_hooks.faithfulness import BETTER

from ..text.report import ARROWS, NAMES, short

RESULTS = Path(__file__).with_name("results.json")
SHOWN = 10
METRICS = {
    **NAMES,
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "first": "right source first",
    "datamodel": "datamodelling",
    "leaving_out": "Spearman, leaving out",
}
LEVEL = 0.05
ENOUGH = 0.8
Results = dict[str, Any]


def table(results: Results) -> str:
    """Write everything as Markdown.

    Args:
        results: What `judge` saved.

    Returns:
        The best candidates, what was told of them and of others, and verdicts.
    """
    about = ", ".join(f"{k} {v}" for k, v in results["environment"].items())
    named = results["named"]
    return "\n\n".join([
        "### Chosen",
        f"Relative ranks (0 is the best of {results['candidates']} candidates in a "
        f"column, 1 the last): the {SHOWN} best by the mean of columns, and the last.",
        ranked(results),
        "### Told on other items",
        told(results),
        "± is half of the 95 % bootstrap interval over items; **bold** is the best "
        "mean of the methods with one backward pass, which stand before *random*. Word "
        "embeddings are read, pixels of images, unless a name says otherwise."
        + refused(results),
        "### As good as the best?",
        standings(results),
        "Each method against the best other one with one backward pass, cell by cell: "
        "*tied* if the 95 % interval of the paired difference has a 0 in it. The best "
        "other is picked by the same numbers, which favours it. Cells of less than "
        f"{results['fewest']} items are left out. {verdict(results)}",
        "### You explain ... use ...",
        advice(results),
        "By the mean relative rank among methods with one backward pass that `explain` "
        "can be asked for, 0 the best in every cell and 1 the last.",
        f"### {named}, against others",
        claims(results),
        f"Cells in which **{named}** is better or worse, by the 95 % interval of the "
        "paired difference, and after Holm's correction of sign-flip tests for the "
        f"number of cells (level {LEVEL}).",
        f"{about}; {results['date']}.{missing(results)}",
    ])


def summary(results: Results) -> str:
    """Write what the documentation says of rule sets.

    Args:
        results: What `judge` saved.

    Returns:
        What to use for what, and how often each method is as good as the best.
    """
    counts = [max(m["n"] for m in c["methods"].values()) for c in results["told"]]
    counts = [n for n in counts if n >= results["fewest"]]
    about = (
        f"{len(counts)} cells, a data set and a metric each, of {min(counts)} to "
        f"{max(counts)} items that no candidate was chosen on"
    )
    return "\n\n".join([
        advice(results),
        f"{about}. Ranks are relative, 0 the best in every cell of the methods "
        "with one backward pass that `explain` can be asked for, and 1 the last.",
        standings(results),
        verdict(results),
        priced(results["price"]),
    ])


def priced(price: Results) -> str:
    """Write what a share costs.

    Args:
        price: What `price` saved.

    Returns:
        Time relative to the first set, and how often `explain` warns.
    """
    head = ["model", "texts", "rule set", "CPU time", "`explain` warns"]
    lines = [
        [model, str(own["texts"]), name, f"{e['time']:.2f}", f"{e['warned']:.0%}"]
        for model, own in price["models"].items()
        for name, e in own["sets"].items()
    ]
    return (
        f"{_markdown(head, lines)}\n\nThe price, on SST-2 dev: median CPU time beside "
        "`conservative`, and the share of texts of which `explain` warns that "
        "constants made most of the output."
    )


def verdict(results: Results) -> str:
    """Write whether any method is the one to use."""
    leaders = [
        name
        for name, own in results["counted"].items()
        if _share(own) >= ENOUGH and not own["worst"]
    ]
    rule = (
        f"best or tied with the best (the 95 % interval of the paired difference has a "
        f"0 in it) in {ENOUGH:.0%} of the cells, and never last"
    )
    if not leaders:
        return f"None is {rule}."
    return f"{' and '.join(f'**{name}**' for name in leaders)}: {rule}."


def _share(own: Mapping[str, Sequence[Any]]) -> float:
    """Return in which part of its cells a method is the best or tied with it."""
    good = len(own["best"]) + len(own["tied"])
    return good / max(1, good + len(own["behind"]))


def ranked(results: Results) -> str:
    """Write the first and the last candidates of the search."""
    own = results["searched"]
    names = list(own["ranks"])
    head = ["candidate", "mean", *(f"{c}, n {n}" for c, n in own["n"].items())]
    lines = [
        [
            name,
            f"{own['ranks'][name]:.2f}",
            *(f"{own['by_column'][column][name]:.2f}" for column in own["n"]),
        ]
        for name in [*names[:SHOWN], names[-1]]
    ]
    return _markdown(head, lines)


def told(results: Results) -> str:
    """Write a line a cell, and a column a method."""
    once = list(results["counted"])
    names = [*once, *_rest(results, once)]
    head = ["column", "metric", "n", *names]
    lines = []
    for cell in results["told"]:
        methods = cell["methods"]
        lower = BETTER.get(cell["metric"]) == "lower"
        means = [methods[m]["mean"] for m in once if m in methods]
        best = min(means) if lower else max(means)
        n = max(own["n"] for own in methods.values())
        shown = [_value(methods.get(m), m in once and best) for m in names]
        lines.append([cell["column"], _metric(cell["metric"]), str(n), *shown])
    return _markdown(head, lines)


def standings(results: Results) -> str:
    """Write how often each method with one backward pass is as good as the best."""
    head = ["method", "cells", "best", "tied", "best or tied", "behind", "last"]
    lines = []
    for name, own in results["counted"].items():
        best, tied, behind = (len(own[kind]) for kind in ("best", "tied", "behind"))
        cells = best + tied + behind
        share = f"{_share(own):.0%}"
        counts = [cells, best, tied, share, behind, len(own["worst"])]
        lines.append([name, *map(str, counts)])
    return _markdown(head, lines)


def advice(results: Results) -> str:
    """Write what to use for what."""
    head = ["you explain", "cells", "use", "rank", "next", "rank", "conservative"]
    lines = []
    for entry in results["advice"]:
        (first, one), (second, other), *_ = entry["ranks"].items()
        known = entry["ranks"]["conservative"]
        own = [entry["explains"], str(entry["cells"]), first, f"{one:.2f}"]
        lines.append([*own, second, f"{other:.2f}", f"{known:.2f}"])
    return _markdown(head, lines)


def claims(results: Results) -> str:
    """Write against whom the named candidate is better."""
    head = ["against", "cells", "better", "worse", "better (Holm)", "worse (Holm)"]
    lines = []
    for other, entries in results["against"].items():
        sure = [e for e in entries if e["holm"] < LEVEL]
        counts = [
            len(entries),
            sum(e["low"] > 0 for e in entries),
            sum(e["high"] < 0 for e in entries),
            sum(e["advantage"] > 0 for e in sure),
            sum(e["advantage"] < 0 for e in sure),
        ]
        lines.append([other, *map(str, counts)])
    return _markdown(head, lines)


def refused(results: Results) -> str:
    """Write which methods have no number somewhere, and why."""
    found = [
        f"{name} on {column}: {reason.partition('. ')[0].rstrip('.')}"
        for column, reasons in results["refused"].items()
        for name, reason in reasons.items()
    ]
    return f" Refused: {'; '.join(found)}." if found else ""


def missing(results: Results) -> str:
    """Write which columns a stage has not measured."""
    return "".join(
        f" Not measured at the stage *{stage}* yet: {'; '.join(columns)}."
        for stage, columns in results["missing"].items()
        if columns
    )


def _rest(results: Results, once: Sequence[str]) -> list[str]:
    found = {name: None for cell in results["told"] for name in cell["methods"]}
    return [name for name in found if name not in once]


def _metric(name: str) -> str:
    return f"{METRICS[name]} {ARROWS[BETTER.get(name, 'higher')]}"


def _value(entry: Mapping[str, float] | None, best: float | bool) -> str:
    if entry is None:
        return "-"
    half = (entry["high"] - entry["low"]) / 2
    mean = short(entry["mean"])
    mean = f"**{mean}**" if entry["mean"] == best else mean
    return f"{mean} ±{short(half)}"


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    numbers = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, numbers, *lines])
