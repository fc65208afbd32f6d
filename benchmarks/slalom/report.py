"""Turn results into this folder's page: ``python -m benchmarks.slalom.report``."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..command import without_arguments
from ..cost.report import put
from .ranks import sign_test

RESULTS = Path(__file__).with_name("results.json")
README = Path(__file__).with_name("README.md")
KINDS = ("deletion", "short")
LABELS = {
    "slalom": "**SLALOM, default**",
    "eff": "SLALOM-eff",
    "fidel": "SLALOM-fidel",
    "deletion-sgd": "SLALOM, deletions, Adam",
    "linear": "linear regression on deletions",
    "lime": "LIME",
    "kernel-shap": "KernelSHAP",
}
Results = dict[str, Any]
Entry = dict[str, Any]


def main() -> None:
    """Rewrite the tables."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    text = README.read_text(encoding="utf-8")
    README.write_text(put(text, "slalom", table(results)), encoding="utf-8")
    print(table(results))


def table(results: Results) -> str:
    """Write everything as Markdown.

    Args:
        results: What a run saved.

    Returns:
        Tables of errors, one for each model, of agreement, and what was run.
    """
    parts = []
    for name, entries in results["fidelity"].items():
        parts += [heading(name, entries), errors(results, list(entries.values()))]
    about = results["environment"]
    versions = ", ".join(f"{name} {about[name]}" for name in about)
    return "\n\n".join([
        *parts,
        plausibility(results),
        f"{versions}; {results['date']}.",
    ])


def heading(name: str, entries: dict[str, Entry]) -> str:
    """Say which texts of a model were explained."""
    tokens = [entry["tokens"] for entry in entries.values()]
    sources: dict[str, int] = {}
    for text in entries:
        source = text.split()[0]
        sources[source] = sources.get(source, 0) + 1
    listed = " and ".join(f"{n} of {source}" for source, n in sources.items())
    return (
        f"{name}, {len(entries)} texts ({listed}) of {min(tokens)} to {max(tokens)} "
        "tokens:"
    )


def errors(results: Results, entries: list[Entry]) -> str:
    """Write one model's errors, and sign tests against the default at fewest calls.

    Args:
        results: What a run saved.
        entries: One for each text.

    Returns:
        A Markdown table.
    """
    least = min(results["config"]["calls"])
    ours = f"slalom {least}"
    head = [
        "method",
        "calls",
        "deletions",
        "short",
        "both",
        "better than ours",
        "p",
        "on deletions",
        "p",
        "CPU, ms",
    ]
    rows = []
    for name in LABELS:
        for calls in results["config"]["calls"]:
            method = f"{name} {calls}"
            versus = [
                *compare(entries, method, ours, together),
                *compare(entries, method, ours, deletions),
            ]
            rows.append([
                LABELS[name],
                f"{median(entries, method, 'calls'):.0f}",
                *[f"{share(entries, method, kind):.2f}" for kind in KINDS],
                f"{mean(entries, lambda e, m=method: together(e, m)):.2f}",
                *versus,
                f"{1000 * median(entries, method, 'seconds'):.0f}",
            ])
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *rows])


def compare(
    entries: list[Entry],
    method: str,
    ours: str,
    number: Callable[[Entry, str], float],
) -> list[str]:
    """Write on how many texts a method errs less than ours, and the p-value."""
    if method == ours:
        return ["-", "-"]
    theirs, mine = ([number(e, name) for e in entries] for name in (method, ours))
    wins, p = sign_test(theirs, mine)
    return [f"{wins} of {len(entries)}", f"{p:.2g}"]


def deletions(entry: Entry, method: str) -> float:
    """One text's error on deletions."""
    return float(entry["methods"][method]["deletion"])


def share(entries: list[Entry], method: str, kind: str) -> float:
    """Mean over texts of the error in units of the variance."""
    return mean(entries, lambda e: e["methods"][method][kind] / e["variance"][kind])


def together(entry: Entry, method: str) -> float:
    """One text's error, half deletions and half short, in units of the variance."""
    total = sum(entry["methods"][method][kind] for kind in KINDS)
    return float(total / sum(entry["variance"][kind] for kind in KINDS))


def mean(entries: list[Entry], number: Callable[[Entry], float]) -> float:
    """Mean over texts."""
    return statistics.fmean(map(number, entries))


def median(entries: list[Entry], method: str, name: str) -> float:
    """Median over texts of a method's number."""
    return statistics.median(entry["methods"][method][name] for entry in entries)


def plausibility(results: Results) -> str:
    """Write how far scores agree with naive Bayes and with humans.

    Args:
        results: What a run saved.

    Returns:
        A Markdown table.
    """
    head = ["model", "compared with", "texts"]
    columns: list[str] = []
    rows = []
    for model, texts in results["plausibility"].items():
        for label, human in (("naive Bayes, Spearman", False), ("humans, AUROC", True)):
            chosen = [e for t, e in texts.items() if t.startswith("yelp") == human]
            if not chosen:
                continue
            columns = columns or list(chosen[0])
            numbers = [f"{statistics.fmean(e[c] for e in chosen):.3f}" for c in columns]
            rows.append([model, label, str(len(chosen)), *numbers])
    rule = ["---", "---", *["---:"] * (1 + len(columns))]
    lines = [[*head, *columns], rule, *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


if __name__ == "__main__":
    without_arguments(__doc__)
    main()
