"""Turn results into Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..orderings import ELSEWHERE, verdict

RESULTS = Path(__file__).with_name("results.json")
HEADS = {
    "activation": "AUAC ↑",
    "pruning": "AU-MSE ↓",
    "aopc": "AOPC ↑",
    "comprehensiveness": "compr. ↑",
    "sufficiency": "suff. ↓",
    "lerf_morf": "LeRF - MoRF ↑",
}
TITLES = {"bace": "BACE", "clintox": "ClinTox (CT_TOX)"}
Results = dict[str, Any]


def table(results: Results) -> str:
    """Write everything as Markdown.

    Args:
        results: What a run saved.

    Returns:
        A table of methods and one sentence on published orderings for each task, and
        what was run.
    """
    config, about = results["config"], results["environment"]
    level = f"{100 * config['confidence']:.0f} %"
    parts = []
    for task, found in results["tasks"].items():
        parts += [
            heading(task, found, level),
            methods(found, config["metrics"]),
            refusals(found, config["left_out"]),
            verdicts(task, found, config["published"], level),
        ]
    versions = ", ".join(f"{name} {value}" for name, value in about.items())
    parts.append(f"{config['threads']} thread; {versions}; {results['date']}.")
    return "\n\n".join(part for part in parts if part)


def heading(task: str, found: dict[str, Any], level: str) -> str:
    """Say what was explained."""
    trained = found["trained"]
    return (
        f"**{TITLES.get(task, task)}**: {found['molecules']} test molecules "
        f"({found['label_1']} of class 1), {found['atoms']} atoms on average; "
        f"AUROC {trained['auroc']['test']:.3f} on them ({trained['split']}, seed "
        f"{found['seeds']['split_seed']}). Means and half of the {level} bootstrap "
        "intervals:"
    )


def methods(found: dict[str, Any], metrics: list[str]) -> str:
    """Write a row for each method and sign; the best of each metric is bold.

    Args:
        found: One task's results.
        metrics: The columns.

    Returns:
        A Markdown table.
    """
    rows = [
        (name, sign, entry)
        for name, entry in found["methods"].items()
        for sign in ("signed", "absolute")
        if sign in entry and not (sign == "absolute" and _same(entry))
    ]
    best = {}
    for metric in metrics:
        means = [entry[sign][metric][0] for _, sign, entry in rows]
        best[metric] = max(means) if "↑" in HEADS[metric] else min(means)
    head = ["method", "scores", *(HEADS[m] for m in metrics), "ledger error", "CPU, s"]
    lines = [head, ["---", "---", *["---:"] * (len(head) - 2)]]
    for name, sign, entry in rows:
        error = entry.get("ledger_error")
        lines.append([
            name,
            sign,
            *[_cell(entry[sign][m], best[m]) for m in metrics],
            "" if error is None else f"{error:.0e}",
            f"{entry['seconds']:.1f}",
        ])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def refusals(found: dict[str, Any], left_out: dict[str, str]) -> str:
    """Write which methods do not take the model, and why."""
    refused = {
        name: entry["refused"]
        for name, entry in found["methods"].items()
        if "refused" in entry
    }
    lines = [f"* {name}: {why}." for name, why in {**refused, **left_out}.items()]
    return "\n".join(["Not measured:\n", *lines]) if lines else ""


def verdicts(
    task: str, found: dict[str, Any], published: dict[str, Any], level: str
) -> str:
    """Write which published orderings hold on these molecules.

    Args:
        task: Its name.
        found: Its results.
        published: What was published.
        level: How sure an interval is.

    Returns:
        A Markdown list.
    """
    listed: dict[str, list[str]] = {word: [] for word in ELSEWHERE}
    for pair in found["orderings"]:
        mean, low, high = pair["difference"]
        kind = verdict({"low": low, "high": high})
        text = f"{pair['better']} > {pair['worse']} ({mean:+.3f})"
        listed[kind].append(text)
    total = len(found["orderings"])
    lines = [
        f"* {kind}, {len(pairs)} of {total}: {'; '.join(pairs) or 'none'}"
        for kind, pairs in listed.items()
    ]
    return "\n".join([
        f"Orderings of {published['source']}, here on {TITLES.get(task, task)} and not at "
        f"its protocol, by the {level} interval of the mean difference (above, across "
        "or below 0):\n",
        *lines,
    ])


def _same(entry: dict[str, Any]) -> bool:
    """Tell whether absolute scores order atoms as they are."""
    return bool(entry["signed"] == entry["absolute"])


def _cell(spread: list[float], best: float) -> str:
    mean, low, high = spread
    text = f"{mean:.3f} ± {(high - low) / 2:.3f}"
    return f"**{text}**" if mean == best else text
