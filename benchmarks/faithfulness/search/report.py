"""Turn the search into tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lrp_hooks.faithfulness import BETTER

from ..orderings import verdict
from ..text.report import ARROWS, NAMES, best_of, cell, short

RESULTS = Path(__file__).with_name("results.json")
SHOWN = 8
Results = dict[str, Any]


def table(results: Results) -> str:
    """Write everything as Markdown.

    Args:
        results: What a run saved.

    Returns:
        The ranks in the half that was searched, and scores in the other half.
    """
    about = ", ".join(f"{k} {v}" for k, v in results["environment"].items())
    return "\n\n".join([
        f"Searched half: the {SHOWN} best and the last of {len(results['ranks'])} "
        "candidates by mean rank over all metrics and data sets.",
        ranked(results),
        f"Other half: what was chosen, **{results['best']}**, beside named sets and "
        "other methods.",
        told(results),
        "Is the chosen one better? Paired differences with 95 % intervals.",
        claims(results),
        f"{about}; {results['date']}.",
    ])


def ranked(results: Results) -> str:
    """Write the first and the last candidates."""
    data = results["searched"]
    metrics = results["config"]["metrics"]
    names = list(results["ranks"])
    head = ["candidate", "mean rank"]
    head += [
        f"{NAMES[m]} {ARROWS[BETTER[m]]}, {name}" for name in data for m in metrics
    ]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for name in [*names[:SHOWN], names[-1]]:
        numbers = [short(data[where][name][m]) for where in data for m in metrics]
        lines.append([name, f"{results['ranks'][name]:.1f}", *numbers])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def told(results: Results) -> str:
    """Write the scores of the half that was not searched."""
    metrics = results["config"]["metrics"]
    own = {
        where: {method: by["signed"] for method, by in summary.items()}
        for where, summary in results["told"].items()
    }
    head = ["method"]
    head += [
        f"{NAMES[m]} {ARROWS[BETTER[m]]}, {where}" for where in own for m in metrics
    ]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for method in next(iter(own.values())):
        cells = [
            cell(own[where][method].get(m), best_of(own[where], m))
            for where in own
            for m in metrics
        ]
        lines.append([method, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def claims(results: Results) -> str:
    """Write which advantages of the chosen set hold."""
    found = results["orderings"]
    metrics = results["config"]["metrics"]
    head = [
        "better than",
        *(f"{NAMES[m]}, {where}" for where in found for m in metrics),
    ]
    rows: dict[str, list[str]] = {}
    for entries in found.values():
        for entry in entries:
            interval = f"[{short(entry['low'])}, {short(entry['high'])}]"
            said = f"{verdict(entry)}: {entry['advantage']:+.3f} {interval}"
            rows.setdefault(entry["worse"], []).append(said)
    lines = [head, ["---"] * len(head)]
    lines += [[name, *cells] for name, cells in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
