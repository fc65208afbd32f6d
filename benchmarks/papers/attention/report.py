"""Write this folder's tables: ``python -m benchmarks.papers.attention.report``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...command import without_arguments
from ...cost.report import put
from ...faithfulness.orderings import AT_ITS_PROTOCOL, ELSEWHERE, compare
from .. import published
from ..published import markdown, spread

__all__ = ["README", "RESULTS", "main", "rows", "table"]

HERE = Path(__file__).parent
README = HERE / "README.md"
RESULTS = HERE / "results"
WEIGHTS = HERE / "weights" / "classifier.json"
PUBLISHED_ACCURACY = 0.8019
CLAIMS = (
    ("sign", "Gradient x Input", "attention, mean", "attention cannot show the sign"),
    ("sign", "Gradient x Input", "attention, max", "attention cannot show the sign"),
    ("sign", "Gradient x Input", "gradient, L1", "norms cannot show the sign"),
    ("sign", "Gradient x Input", "gradient, L2", "norms cannot show the sign"),
    ("rank", "Gradient x Input", "attention, mean", "LIME sees more than attention"),
    ("rank", "Equation 19", "attention, mean", "LIME is affine in attention"),
    ("negative", "LIME", "attention, mean", "attention is never negative"),
)
"""Metric, the better of two, the other, and what the paper says."""
NAMES = {
    "sign": "same sign as LIME",
    "rank": "rank correlation with LIME",
    "negative": "share of words below 0",
}
DEEP = WEIGHTS.with_name("deep.json")
CONTEXT = {
    "data": "IMDB",
    "model": "one layer, 6 heads",
    "read_out": "embeddings with positions",
    "target": "logit of class 1",
    "replacement": "[UNK] in place",
    "at_protocol": True,
}
"""The protocol, in each row."""
DEEPER = {
    **CONTEXT,
    "data": "IMDB, 96 words",
    "model": "6 layers, 6 heads",
    "at_protocol": False,
}
"""Of the deeper model, whose LIME is sampled: a claim is ahead there, or behind."""
Results = Mapping[str, Any]


def main() -> None:
    """Rewrite the tables."""
    README.write_text(
        put(README.read_text(encoding="utf-8"), "papers-attention", table()),
        encoding="utf-8",
    )


def table() -> str:
    """Write everything as Markdown.

    Returns:
        Errors of the formulas, explanations beside LIME, claims, and what was run.
    """
    found = {
        name: json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("gradient", "lime", "relations")
    }
    trained = json.loads(WEIGHTS.read_text(encoding="utf-8"))
    about = found["relations"]["environment"]
    return "\n\n".join([
        errors(found["gradient"], found["lime"]),
        beside_lime(found["relations"]),
        claims(row(found["relations"], trained["accuracy"], CONTEXT)),
        *deeper(),
        f"Accuracy of the classifier: {trained['accuracy']:.4f} on {trained['test']} "
        f"test reviews (published {PUBLISHED_ACCURACY}). "
        + ", ".join(f"{name} {number}" for name, number in about.items())
        + ".",
    ])


def deeper() -> list[str]:
    """Write what holds of six layers by six heads, if that was measured."""
    found = measured("deep")
    if found is None:
        return []
    return [
        "Six layers by six heads, beside LIME of "
        f"{found['config']['samples']} samples:",
        beside_lime(found),
        claims(row(found, accuracy(DEEP), DEEPER), ELSEWHERE),
    ]


def rows() -> list[dict[str, Any]]:
    """Make a row of each model's claims, as `published` has them.

    Returns:
        That of one layer, and that of six, if it was measured.
    """
    found, deep = measured("relations"), measured("deep")
    made = [row(found, accuracy(WEIGHTS), CONTEXT)] if found else []
    return made + ([row(deep, accuracy(DEEP), DEEPER)] if deep else [])


def measured(name: str) -> Any:
    """Read an experiment's results, or return None."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def accuracy(path: Path) -> float:
    """Return a model's on the test set."""
    about: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    return about["accuracy"]


def errors(gradient: Results, lime: Results) -> str:
    """Write how far each formula is from what it is a formula of."""
    g, m = columns(gradient), columns(lime)
    rows = [
        ("gradient, corrected", "autograd", g["error"] / g["scale"]),
        (
            "gradient, as published, at [cls]",
            "autograd",
            g["published_error"] / g["scale"],
        ),
        ("Equation 19", "LIME", m["approximation_error"] / m["norm"]),
        ("exact limit", "LIME", m["limit_error"] / m["norm"]),
        ("LIME once", "mean of its runs", m["noise"] / m["norm"]),
    ]
    lines = [["formula", "compared with", "reviews", "relative error", "largest"]]
    lines.append(["---", "---", "---:", "---:", "---:"])
    for name, reference, values in rows:
        mean, low, high = _exact_spread(values)
        shown = f"{mean:.2g} [{low:.2g}, {high:.2g}]"
        count = str(len(values))
        lines.append([name, reference, count, shown, f"{float(values.max()):.2g}"])
    return markdown(lines)


def beside_lime(relations: Results) -> str:
    """Write how each explanation relates to the exact limit of LIME."""
    scores = by_method(relations)
    methods = list(dict.fromkeys(method for method, _ in scores))
    lines = [["explanation", "reviews", *NAMES.values()], ["---", *["---:"] * 4]]
    for method in methods:
        cells = []
        for metric in NAMES:
            mean, low, high = spread(scores[method, metric])
            cells.append(f"{mean:.3f} [{low:.3f}, {high:.3f}]")
        lines.append([method, str(len(scores[method, "rank"])), *cells])
    return markdown(lines)


def row(
    relations: Results, accuracy: float, context: Mapping[str, Any]
) -> dict[str, Any]:
    """Test what the paper says.

    Args:
        relations: Each explanation beside LIME.
        accuracy: Of the model.
        context: The protocol.

    Returns:
        A row with an ordering for each claim of explanations that were measured.
    """
    scores = by_method(relations)
    found = []
    for metric, more, less, said in CLAIMS:
        better = {metric: "higher"}
        for entry in compare(scores, [(more, less)], [metric], better):
            found.append({**entry, "said": said})
    n = len(relations["entries"])
    return {**context, "accuracy": accuracy, "n": n, "orderings": found}


def claims(entry: Results, words: Sequence[str] = AT_ITS_PROTOCOL) -> str:
    """Write what the paper says, and whether it is so here.

    Args:
        entry: What `row` made.
        words: See `orderings.verdict`. Defaults to those at the paper's protocol.

    Returns:
        Markdown, a line a claim.
    """
    names = [name for name in CONTEXT if name != "at_protocol"]
    head = ["the paper says", "metric", "more", "than", *names, "accuracy", "n"]
    head = [cell.replace("_", "-") for cell in head]
    lines = [[*head, "here, 95 % interval", ""], ["---"] * (len(head) + 2)]
    for pair in entry["orderings"]:
        lines.append([
            *[pair["said"], NAMES[pair["metric"]], pair["better"], pair["worse"]],
            *[entry[name] for name in names],
            *[f"{entry['accuracy']:.3f}", str(entry["n"])],
            f"{pair['advantage']:+.3f} [{pair['low']:.3f}, {pair['high']:.3f}]",
            published.said(entry, pair, words),
        ])
    return markdown(lines)


def columns(results: Results) -> dict[str, Tensor]:
    """Return each entry's numbers by name, ``[N]``."""
    entries = list(results["entries"].values())
    return {
        name: torch.tensor([e[name] for e in entries], dtype=torch.float64)
        for name in entries[0]
    }


def by_method(relations: Results) -> dict[tuple[str, str], Tensor]:
    """Return ``{(explanation, metric): [N]}``."""
    entries = list(relations["entries"].values())
    return {
        (method, metric): torch.tensor(
            [e[method][metric] for e in entries], dtype=torch.float64
        )
        for method, metrics in entries[0].items()
        for metric in metrics
    }


def _exact_spread(values: Tensor) -> tuple[float, float, float]:
    """Return a mean and its 95 % interval, unrounded: errors may be 1e-7."""
    scale = float(values.max()) or 1.0
    mean, low, high = spread(values / scale)
    return float(values.mean()), low * scale, high * scale if mean else 0.0


if __name__ == "__main__":
    without_arguments(__doc__)
    main()
