"""Faithfulness of several methods: tables with intervals, and curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..support.table import beside
from ..support.text import cell_width, decimals, escape, visible
from ..views.evaluation import Report, Scores
from . import chart
from .document import isolated, styled

__all__ = ["fragment", "terminal"]

_STYLE = (
    ".lrp-hooks{max-width:84em}.lrp-hooks .wide{overflow-x:auto}"
    ".lrp-hooks .wide td,.lrp-hooks .wide th{padding:.15em .4em;white-space:nowrap}"
    ".lrp-hooks .wide tr+tr>*{border-top:1px solid var(--line)}"
    ".lrp-hooks .wide th[scope=col]{text-align:end}"
    ".lrp-hooks .panels{margin-top:1em}"
    ".lrp-hooks td .soft{font-size:.8em}"
    ".lrp-hooks h2{font-size:1.2em;margin:.2em 0}"
    ".lrp-hooks h3{font-size:1.05em;margin:.6em 0 .2em}"
    ".lrp-hooks figcaption{font-weight:600}"
    ".lrp-hooks ul{margin:.3em 0;padding-inline-start:1.2em}"
)

_AXES = {
    "activation": ("given back", "probability"),
    "pruning": ("taken away", "squared change of logits"),
    "aopc": ("taken away", "lost probability"),
    "accuracy": ("taken away", "accuracy"),
    "log_odds": ("taken away", "log(p / p of the whole)"),
    "comprehensiveness": ("taken away", "lost probability"),
    "sufficiency": ("kept", "lost probability"),
    "deletion": ("taken away", "probability"),
    "insertion": ("given back", "probability"),
    "lerf_morf": ("taken away", "difference of probabilities"),
}
_ARROWS = {"higher": "↑", "lower": "↓"}
_MOST_LISTED = 200


def fragment(report: Report) -> str:
    """Write a part of a page.

    Args:
        report: What there is to show.

    Returns:
        One ``div`` that brings its own style.
    """
    signs = "".join(_sign(report, sign) for sign in report.scores)
    return styled(
        f"<style>{_STYLE}{chart.STYLE}</style>{_head(report)}{signs}"
        f"{_costs(report)}{_left_out(report)}"
    )


def terminal(report: Report, colour: bool, width: int) -> str:
    """Write for a terminal: as many metrics beside each other as fit.

    Args:
        report: What there is to show.
        colour: True for the best scores in bold, false for a star behind them.
        width: Columns.

    Returns:
        Lines of text, without a newline at the end.
    """
    blocks = []
    for sign, scores in report.scores.items():
        heads = [visible(label) for label in scores]
        column = max(map(cell_width, [*heads, sign]), default=0)
        columns = [_lines(report, scores, m, colour) for m in _metrics(scores)]
        first = [f"{sign:<{column}}", " " * column]
        rows = first + [head + " " * (column - cell_width(head)) for head in heads]
        blocks.append("\n".join(beside(rows, columns, width - column)))
    notes = [f"mean over {_texts(report.texts)} [95 % bootstrap interval]"]
    if not colour:
        notes.append("* best of its column")
    blocks.append("\n".join(notes))
    return "\n\n".join(blocks)


def _metrics(scores: Scores) -> list[str]:
    """Return the metrics that any method has, in their order."""
    return list(dict.fromkeys(metric for own in scores.values() for metric in own))


def _best(report: Report, scores: Scores, metric: str) -> float:
    """Return the best mean of all methods; NaN where none has one."""
    means = [own[metric]["score"] for own in scores.values() if metric in own]
    known = [mean for mean in means if not math.isnan(mean)]
    choose: Callable[..., float] = max if report.better[metric] == "higher" else min
    return choose(known, default=math.nan)


def _writer(scores: Scores, metric: str) -> Callable[[float], str]:
    """Return what writes a metric's numbers with as many decimals as they need."""
    own = [found[metric] for found in scores.values() if metric in found]
    every = [abs(one[key]) for one in own for key in ("score", "low", "high")]
    places = decimals(max((x for x in every if math.isfinite(x)), default=0.0)) - 1
    return lambda value: "-" if math.isnan(value) else f"{value:.{places}f}"


def _texts(number: int) -> str:
    return "1 text" if number == 1 else f"{number} texts"


def _has_spread(found: Mapping[str, Any]) -> bool:
    """Tell whether there are texts enough for an interval: of one it has no width."""
    return bool(found["n"] > 1)


def _lines(
    report: Report, scores: Scores, metric: str, colour: bool
) -> tuple[int, list[str]]:
    """Return a metric's column, and how wide it is."""
    write, best = _writer(scores, metric), _best(report, scores, metric)
    cells, marks = [], []
    for own in scores.values():
        found = own.get(metric)
        cell = "-"
        if found is not None:
            cell = write(found["score"])
            if _has_spread(found):
                cell += f" [{write(found['low'])}, {write(found['high'])}]"
        cells.append(cell)
        marks.append(found is not None and found["score"] == best)
    heads = [metric, f"{report.better[metric]} is better"]
    wide = max(map(len, [*heads, *cells])) + 1
    lines = [f"  {head:>{wide - 1}} " for head in heads]
    for cell, mark in zip(cells, marks, strict=True):
        star = "*" if mark and not colour else " "
        line = f"{cell:>{wide - 1}}{star}"
        lines.append("  " + (f"\x1b[1m{line}\x1b[0m" if mark and colour else line))
    return wide + 2, lines


def _head(report: Report) -> str:
    explained = {"predicted": "predicted class", "label": "class of the label"}
    by_token: dict[str, list[str]] = {}
    for metric, token in report.replacements.items():
        by_token.setdefault(token, []).append(metric)
    replaced = "; ".join(f"{token}: {', '.join(m)}" for token, m in by_token.items())
    return (
        f"<h2>Faithfulness of {len(report.methods)} methods on "
        f"{_texts(report.texts)}</h2>"
        '<p class="soft">Tokens are taken away, or given back to an empty text, in the '
        f"order of their scores for the {explained[report.target]}. What takes their "
        f"place is {escape(replaced)}.</p>"
        '<p class="soft">↑ higher is better, ↓ lower is better, the best of each '
        "column in bold; below each mean, its 95 % bootstrap interval over the texts."
        "</p>"
    )


def _sign(report: Report, sign: str) -> str:
    """Return the table and the curves of one sign."""
    scores = report.scores[sign]
    numbers = {label: n for n, label in enumerate(report.methods)}
    panels = "".join(
        _panel(report, scores, metric, numbers)
        for metric in _metrics(scores)
        if metric in report.fractions
    )
    names = {"signed": "Scores as they are", "absolute": "Absolute scores"}
    return (
        f"<section><h3>{names[sign]}</h3>{_table(report, scores, numbers)}"
        f'<div class="panels">{panels}</div></section>'
    )


def _table(report: Report, scores: Scores, numbers: Mapping[str, int]) -> str:
    head = "".join(
        f'<th scope="col">{metric} {_ARROWS[report.better[metric]]}</th>'
        for metric in _metrics(scores)
    )
    rows = "".join(
        f'<tr><th scope="row">{chart.swatch(numbers[label])} {isolated(label)}</th>'
        f"{''.join(_cell(report, scores, label, m) for m in _metrics(scores))}</tr>"
        for label in scores
    )
    return f'<div class="wide"><table><tr><th></th>{head}</tr>{rows}</table></div>'


def _cell(report: Report, scores: Scores, label: str, metric: str) -> str:
    found = scores[label].get(metric)
    if found is None:
        return "<td>-</td>"
    write = _writer(scores, metric)
    score = write(found["score"])
    if found["score"] == _best(report, scores, metric):
        score = f"<b>{score}</b>"
    if _has_spread(found):
        bounds = f"{write(found['low'])} to {write(found['high'])}"
        score += f'<br><span class="soft">{bounds}</span>'
    return f'<td title="{_texts(found["n"])}">{score}</td>'


def _panel(
    report: Report, scores: Scores, metric: str, numbers: Mapping[str, int]
) -> str:
    """Return the mean curves of a metric, and what its axes are."""
    lines = {
        numbers[label]: own[metric]["curve"]
        for label, own in scores.items()
        if metric in own and all(map(math.isfinite, own[metric]["curve"]))
    }
    if not lines:
        return ""
    done, read = _AXES[metric]
    title = f"{metric}: {read} over the share of tokens {done}, a line for each method"
    drawn = chart.draw(
        chart.Panel(title, f"% of tokens {done}", read, report.fractions[metric], lines)
    )
    caption = f"{metric} {_ARROWS[report.better[metric]]}"
    return f"<figure><figcaption>{caption}</figcaption>{drawn}</figure>"


def _costs(report: Report) -> str:
    rows = "".join(
        f'<tr><th scope="row">{isolated(label)}</th><td>{seconds:.2f}</td></tr>'
        for label, seconds in report.seconds.items()
        if label in report.methods
    )
    metrics = report.seconds.get("metrics", 0.0)
    return (
        "<section><table><caption>CPU seconds</caption>"
        f'{rows}<tr class="sum"><th scope="row">all metrics, {report.shown} perturbed '
        f"texts</th><td>{metrics:.2f}</td></tr></table></section>"
    )


def _left_out(report: Report) -> str:
    """Return the methods that failed, and the texts that do not fit."""
    failed = [
        f"<li>{isolated(label)}: {escape(why)}</li>"
        for label, why in report.failures.items()
    ]
    skipped = [
        f"<li>row {row}: {escape(why)}</li>" for row, why in report.skipped.items()
    ]
    parts = (
        (failed, f"methods that failed, on some texts or all: {len(failed)}"),
        (skipped, f"rows that do not fit the model, and are left out: {len(skipped)}"),
    )
    return "".join(
        f"<section><details open><summary>{title}</summary>"
        f"<ul>{''.join(entries[:_MOST_LISTED])}</ul>"
        f"{'<p>and others</p>' * (len(entries) > _MOST_LISTED)}</details></section>"
        for entries, title in parts
        if entries
    )
