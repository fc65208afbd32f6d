"""Turn results into tables."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lrp_hooks.faithfulness import BETTER

from ..orderings import verdict

RESULTS = Path(__file__).with_name("results.json")
FIRST, FIRST_METRICS = "sst2-minilm", ("activation", "pruning", "aopc", "lerf_morf")
NAMES = {
    "activation": "AUAC",
    "pruning": "AU-MSE",
    "aopc": "AOPC",
    "accuracy": "accuracy",
    "log_odds": "log-odds",
    "comprehensiveness": "compr.",
    "sufficiency": "suff.",
    "deletion": "deletion",
    "insertion": "insertion",
    "lerf_morf": "LeRF-MoRF",
    "leave_one_out_correlation": "LOO corr.",
    "removal_error": "removal MSE",
    "infidelity": "infidelity",
    "conservation_error": "conservation",
    "sensitivity": "sensitivity",
}
ORDERINGS = (
    "Orderings (signed scores, paired by text; *ahead* and *behind* say who is better "
    "here, which is not the protocol of any paper):"
)
ARROWS = {"higher": "↑", "lower": "↓"}
Results = dict[str, Any]
Run = dict[str, Any]


def summary(results: Results) -> str:
    """Write the table of the front page.

    Args:
        results: What a run saved.

    Returns:
        The main metrics of the first run.
    """
    run = results["runs"][FIRST]
    own = {
        method: {"signed": {m: by["signed"][m] for m in FIRST_METRICS}}
        for method, by in run["summary"].items()
    }
    found = scores({"summary": own}, "signed")
    about = f"{run['config']['title']}, {run['data']['chosen']} sentences"
    return f"{found}\n\n{about}; ± is half of the 95 % interval."


def table(results: Results) -> str:
    """Write everything as Markdown.

    Args:
        results: What a run saved.

    Returns:
        For each run a table of scores and one of orderings.
    """
    return "\n\n".join(part for run in results["runs"].values() for part in parts(run))


def parts(run: Run) -> list[str]:
    """Write one run.

    Args:
        run: Its results.

    Returns:
        Paragraphs.
    """
    data = run["data"]
    about = ", ".join(f"{count} {name}" for name, count in data.items())
    found = [f"## {run['config']['title']}", f"Texts: {about}."]
    for sign in run["config"]["signs"]:
        found += [f"{sign.capitalize()} scores:", scores(run, sign)]
    if run["orderings"]:
        found += [ORDERINGS, claims(run)]
    found += [f"* {name}: {why}" for name, why in run["failures"].items()]
    return [*found, costs(run)]


def scores(run: Run, sign: str) -> str:
    """Write the table of methods by metrics, the best of each column in bold.

    Args:
        run: Its results.
        sign: Which scores.

    Returns:
        Markdown.
    """
    own = {m: by[sign] for m, by in run["summary"].items() if sign in by}
    metrics = list(dict.fromkeys(name for by in own.values() for name in by))
    best = {name: best_of(own, name) for name in metrics}
    head = ["method", *(f"{NAMES[name]} {ARROWS[BETTER[name]]}" for name in metrics)]
    lines = [head, ["---", *["---:"] * len(metrics)]]
    lines += [
        [method, *(cell(by.get(name), best[name]) for name in metrics)]
        for method, by in own.items()
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def best_of(own: dict[str, Any], metric: str) -> float:
    """Return the best mean score of a metric."""
    known = [by[metric]["score"] for by in own.values() if metric in by]
    known = [score for score in known if not math.isnan(score)]
    choose = max if BETTER[metric] == "higher" else min
    return choose(known, default=float("nan"))


def cell(entry: dict[str, Any] | None, best: float) -> str:
    """Write a mean and half the width of its interval."""
    if entry is None or math.isnan(entry["score"]):
        return ""
    number = short(entry["score"])
    number = f"**{number}**" if entry["score"] == best else number
    return f"{number} ±{short((entry['high'] - entry['low']) / 2)}"


def claims(run: Run) -> str:
    """Write which orderings hold.

    Args:
        run: Its results.

    Returns:
        Markdown: a row for each pair of methods, a column for each metric.
    """
    metrics = list(dict.fromkeys(entry["metric"] for entry in run["orderings"]))
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for entry in run["orderings"]:
        interval = f"[{short(entry['low'])}, {short(entry['high'])}]"
        said = f"{verdict(entry)}: {entry['advantage']:+.3f} {interval}"
        rows.setdefault((entry["better"], entry["worse"]), {})[entry["metric"]] = said
    head = ["better", "than", *(NAMES[name] for name in metrics)]
    lines = [head, ["---"] * len(head)]
    lines += [
        [*pair, *(said.get(name, "") for name in metrics)]
        for pair, said in rows.items()
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def costs(run: Run) -> str:
    """Say what a run cost, and with what it ran."""
    seconds = run["seconds"]
    explained = sum(value for name, value in seconds.items() if name != "metrics")
    total = (explained + seconds["metrics"]) / 60
    target = run["config"].get("target_minutes")
    aim = ""
    if target is not None:
        met = "met" if total / 2 <= target else "missed"
        aim = f", {total / 2:.0f} on two cores (target {target}: {met})"
    versions = ", ".join(f"{k} {v}" for k, v in run["environment"].items())
    return (
        f"{total:.0f} minutes of CPU{aim}: {explained / 60:.1f} for explanations, the "
        f"rest for {run['shown']} perturbed inputs. Slowest: {slowest(seconds)}. "
        f"{versions}; {run['date']}."
    )


def slowest(seconds: dict[str, float]) -> str:
    """Name the three methods that took longest."""
    methods = {k: v for k, v in seconds.items() if k != "metrics"}
    ranked = sorted(methods, key=lambda name: -methods[name])[:3]
    return ", ".join(f"{name} {methods[name]:.0f} s" for name in ranked)


def short(value: float) -> str:
    """Write a number with three decimals, fewer where it is large."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
