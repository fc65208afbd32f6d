"""Write this folder's tables: ``python -m benchmarks.papers.slalom.report``."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...command import without_arguments
from ...cost.report import put
from ...faithfulness.orderings import ELSEWHERE
from .. import published
from ..reasons import reasons
from . import paper

__all__ = ["README", "RESULTS", "main", "rows", "table"]

README = Path(__file__).with_name("README.md")
RESULTS = Path(__file__).parent / "results"
Results = Mapping[str, Any]
LAWS = {"deletion": "deletions", "short": "triples", "mixed": "both"}
QUERIED = {
    "naive_bayes": "higher",
    "people": "higher",
    "insertion": "lower",
    "deletion": "higher",
}
"""Metrics that the paper prints, and which way is better."""


def main() -> None:
    """Rewrite the tables."""
    text = README.read_text(encoding="utf-8")
    README.write_text(put(text, "papers-slalom", table()), encoding="utf-8")


def table() -> str:
    """Write everything that was measured as Markdown.

    Returns:
        A section for each part that has results.
    """
    parts = []
    for name, (title, write) in SECTIONS.items():
        path = RESULTS / f"{name}.json"
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            about = ", ".join(f"{n} {v}" for n, v in found["environment"].items())
            parts += [f"## {title}", write(found), f"{about}."]
    return "\n\n".join(parts)


def rows() -> list[Any]:
    """Make the rows that have published orderings.

    Returns:
        As `published` has them, of the parts that were measured.
    """
    made: list[Any] = []
    parts = {"linear": lambda found: linear_rows(found)[0], "real": real_rows}
    for name, make in parts.items():
        path = RESULTS / f"{name}.json"
        if path.is_file():
            made += make(json.loads(path.read_text(encoding="utf-8")))
    return made


def budgets(results: Results) -> str:
    """Write SLALOM beside linear regression, at equal calls on equal laws."""
    groups: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for name, entry in results["entries"].items():
        model, calls, _ = name.split("|")
        groups[model, int(calls)].append(entry)
    lines = [
        ["model", "calls", "texts", "law", "SLALOM", "linear", "linear - SLALOM", ""],
        ["---", "---:", "---:", "---", "---:", "---:", "---:", "---"],
    ]
    for (model, calls), entries in sorted(groups.items()):
        for law, label in LAWS.items():
            mine, other = (column(entries, law, n) for n in ("slalom", "linear"))
            lines.append([
                *[model, str(calls), str(len(entries)), label],
                *[f"{float(c.mean()):.3f}" for c in (mine, other)],
                *compared(other - mine, "SLALOM", "linear"),
            ])
    return "\n\n".join([published.markdown(lines), default(groups)])


def default(groups: Mapping[tuple[str, int], list[Any]]) -> str:
    """Write the default beside regressions that spend all calls on one kind."""
    lines = [
        ["model", "calls", "texts", "predicted", "default", "linear", "", "", "said"],
        ["---", "---:", "---:", "---", "---:", "---:", "---:", "---", "---:"],
    ]
    for (model, calls), entries in sorted(groups.items()):
        for kind in ("deletion", "short"):
            mine, other = (
                torch.tensor([e[law]["by_kind"][name][kind] for e in entries])
                for law, name in (("mixed", "slalom"), (kind, "linear"))
            )
            lost = [e for e, m, o in zip(entries, mine, other, strict=True) if o < m]
            told = sum(e["mixed"]["said"][kind] for e in lost)
            lines.append([
                *[model, str(calls), str(len(entries)), LAWS[kind]],
                *[f"{float(c.mean()):.3f}" for c in (mine, other)],
                *compared(other.double() - mine.double(), "default", "linear"),
                f"{told} of {len(lost)}",
            ])
    return published.markdown(lines)


def linear_rows(results: Results) -> tuple[list[Any], list[Any]]:
    """Make rows of linear data: surrogates' errors, and their Shapley values."""
    rows, correlations = [], []
    for layers, entries in by_first(results).items():
        setting = {
            "at_protocol": False,
            "data": f"linear, {layers} layers",
            "model": "encoder of width 32",
            "accuracy": mean([e["quality"]["accuracy"] for e in entries]),
            "read_out": "words",
            "target": "log-odds",
            "replacement": "none: new texts",
        }
        theirs = paper.LINEAR_DATA.get(layers, {})
        ours = {
            name: torch.tensor([e["errors"][name] for e in entries]).double()
            for name in ("linear", "GAM", "SLALOM")
        }
        rows.append(published.row(setting, "MSE", "lower", theirs, ours))
        told = [t for e in entries for t in e["shapley"]]
        kinds = {n: torch.tensor([t[n] for t in told]).double() for n in ours}
        correlations.append(
            published.row(
                setting, "Spearman of exact Shapley values", "higher", {}, kinds
            )
        )
    return rows, correlations


def linear(results: Results) -> str:
    """Write surrogates of Transformers that were trained on linear data."""
    rows, correlations = linear_rows(results)
    flat = [
        ["layers", *[f"x {k}" for k in (1, 2, 5, 10, 30)]],
        ["---", *["---:"] * 5],
    ]
    for layers, entries in by_first(results).items():
        shown = entries[0]["perfect_repeated"]
        flat.append([layers, *[f"{shown[k - 1]:.2f}" for k in (1, 2, 5, 10, 30)]])
    return "\n\n".join([
        published.scores(rows),
        published.counts(rows, ELSEWHERE),
        reasons(rows, paper.REASONS, ELSEWHERE),
        published.scores(correlations),
        'Log-odds of "perfect" repeated, first seed (the law adds 1.5 a copy):',
        published.markdown(flat),
    ])


def slalom(results: Results) -> str:
    """Write how well the parameters that made the data are recovered."""
    names = ("values", "exact_values", "spread_of_values", "importances")
    more = ("exact_importances", "spread_of_importances", "plotted")
    head = ["words", "Transformers", "accuracy", "best", "paper, plotted"]
    lines = [[*head, *[n.replace("_", " ") for n in (*names, *more)]]]
    lines.append(["---:"] * len(lines[0]))
    for size, entries in by_first(results).items():
        quality = (
            f"{mean([e['quality'][n] for e in entries]):.3f}"
            for n in ("accuracy", "best")
        )
        numbers = (f"{mean([e[n] for e in entries]):.3f}" for n in (*names, *more))
        told = f"{paper.SLALOM_DATA[size]:.3f}"
        lines.append([size, str(len(entries)), *quality, told, *numbers])
    return published.markdown(lines)


def real_rows(results: Results) -> list[Any]:
    """Make rows of real texts: metrics beside the paper's, and removals."""
    rows = []
    groups: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for name, entry in results["entries"].items():
        calls, text = name.split("|")
        groups[calls, text.split()[0]].append(entry)
    for (calls, source), entries in groups.items():
        setting = {
            "data": f"{source}, {calls} queries",
            "model": results["config"]["model"],
            "accuracy": results["config"]["accuracy"],
            "read_out": "word embeddings",
            "target": "class 1",
            "replacement": "none: tokens leave",
            "at_protocol": False,
        }
        for metric, better in QUERIED.items():
            ours = {
                name: torch.tensor([e[name][metric] for e in entries]).double()
                for name in entries[0]
                if metric in entries[0][name]
            }
            if ours:
                theirs = paper.REAL[metric]
                rows.append(published.row(setting, metric, better, theirs, ours))
        rows += removals(setting, entries)
    return rows


def real(results: Results) -> str:
    """Write metrics of real texts beside the paper's."""
    rows = real_rows(results)
    return "\n\n".join([
        published.scores(rows),
        published.counts(rows, ELSEWHERE),
        reasons(rows, paper.REASONS, ELSEWHERE),
    ])


def removals(setting: dict[str, Any], entries: list[Any]) -> list[dict[str, Any]]:
    """Return the rows of removals, for which the paper's figure has no numbers."""
    found = []
    for metric, better in (("removal", "higher"), ("removal_error", "lower")):
        ours = {
            name: torch.tensor([e[name][metric] for e in entries]).double()
            for name in entries[0]
            if metric in entries[0][name]
        }
        found.append(published.row(setting, metric, better, {}, ours))
    return found


def runtime(results: Results) -> str:
    """Write CPU seconds by queries, and the paper's on its GPU."""
    by_calls = by_first(results)
    lines = [["method", "whose", *by_calls], ["---", "---", *["---:"] * len(by_calls)]]
    for name, label in paper.TIMED.items():
        times = paper.RUNTIME.get(name, {})
        theirs = [f"{times[calls]:.2f}" if calls in times else "" for calls in by_calls]
        ours = [
            f"{mean([e[name]['seconds'] for e in entries]):.2f}"
            for entries in by_calls.values()
        ]
        if times:
            lines.append([label, "paper, GPU", *theirs])
        texts = min(map(len, by_calls.values()))
        lines.append([label, f"here, CPU, n = {texts}", *ours])
    return published.markdown(lines)


def by_first(results: Results) -> dict[str, list[Any]]:
    """Group entries by the first part of their name."""
    groups: dict[str, list[Any]] = defaultdict(list)
    for name, entry in results["entries"].items():
        groups[name.split("|")[0]].append(entry)
    return dict(sorted(groups.items(), key=lambda item: int(item[0])))


def column(entries: list[Any], law: str, name: str) -> Tensor:
    """Return one number of each text."""
    return torch.tensor([e[law][name] for e in entries], dtype=torch.float64)


def compared(gaps: Tensor, ahead: str, behind: str) -> list[str]:
    """Write a paired difference with its interval, and who is better."""
    middle, low, high = published.spread(gaps)
    said = ahead if low > 0 else behind if high < 0 else "open"
    if len(gaps) < published.FEWEST:
        said = "too few"
    return [f"{middle:+.3f} [{low:.3f}, {high:.3f}]", said]


def mean(values: list[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)


SECTIONS: dict[str, tuple[str, Callable[[Results], str]]] = {
    "budgets": ("SLALOM and linear regression at equal calls", budgets),
    "linear": ("Transformers trained on linear data", linear),
    "slalom": ("Transformers trained on data of a SLALOM", slalom),
    "real": ("Real texts", real),
    "runtime": ("Run times", runtime),
}

if __name__ == "__main__":
    without_arguments(__doc__)
    main()
