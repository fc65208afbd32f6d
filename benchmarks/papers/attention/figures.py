"""The paper's figures, drawn anew with the classifier that is trained here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrp_hooks.explainers import closed_form
from lrp_hooks.explainers.closed_form import AttentionClassifier
from lrp_hooks.explainers.closed_form.gradients import gradients
from lrp_hooks.explainers.closed_form.heads import read
from lrp_hooks.explainers.closed_form.lime import full_and_blank
from lrp_hooks.explainers.closed_form.quantitative import lime_runs
from lrp_hooks.explainers.closed_form.references import differentiated
from lrp_hooks.render.canvas import canvas

from .measure import FORMS

__all__ = ["draw"]

RUNS = 5


def draw(
    model: AttentionClassifier, words: Sequence[str], sentence: str, folder: Path
) -> list[Path]:
    """Draw the four figures.

    Args:
        model: The classifier.
        words: Its vocabulary.
        sentence: What is explained.
        folder: Where to write.

    Returns:
        The files: explanations of the sentence (Figure 1), attention by head (Figure
        3), LIME beside Equation 19 (Figure 4), the gradient by formula and by autograd
        (Figure 5).
    """
    ids = closed_form.document(sentence, words, model.max_length)
    shown = len(sentence.split()) + 1
    names = ["[cls]", *sentence.split()]
    drawn = {
        "explanations": _explanations(model, ids, names),
        "heads": _matrix(read(model, ids).attention[:, :shown], names),
        "lime": _lime(model, ids, names),
        "gradient": _gradient(model, ids, names),
    }
    folder.mkdir(exist_ok=True)
    paths = []
    for name, figure in drawn.items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=110)
    return paths


def _explanations(model: AttentionClassifier, ids: Tensor, names: list[str]) -> Any:
    """A row for each explanation, its scores divided by the largest."""
    rows = {"LIME": closed_form.lime_limit(model, ids)}
    rows |= {name: form(model, ids) for name, form in FORMS.items()}
    table = torch.stack([row[1 : len(names)] for row in rows.values()])
    table /= table.abs().amax(1, keepdim=True)
    figure = canvas(7.5, 3.4)
    axes: Any = figure.subplots()
    axes.imshow(table.detach(), cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_xticks(range(len(names) - 1), names[1:], rotation=30)
    for (i, j), value in _cells(table):
        axes.text(j, i, f"{value:+.2f}", ha="center", va="center", fontsize=7)
    return figure


def _cells(table: Tensor) -> list[tuple[tuple[int, int], float]]:
    """Return each cell's place and number."""
    return [
        ((i, j), float(value))
        for i, row in enumerate(table.tolist())
        for j, value in enumerate(row)
    ]


def _matrix(table: Tensor, names: list[str]) -> Any:
    """Attention of the class token, a row for each head."""
    figure = canvas(7, 3)
    axes: Any = figure.subplots()
    image = axes.imshow(table, cmap="Blues", vmin=0, aspect="auto")
    axes.set_xticks(range(len(names)), names, rotation=30)
    axes.set_ylabel("head")
    figure.colorbar(image)
    return figure


def _lime(model: AttentionClassifier, ids: Tensor, names: list[str]) -> Any:
    """LIME's coefficients in some runs, with Equation 19 and the exact limit."""
    columns = full_and_blank(model, ids)[2]
    generator = torch.Generator().manual_seed(0)
    runs = lime_runs(model, ids, 5000, RUNS, generator)
    known = [t for t in range(1, len(names)) if columns[t] < runs.shape[1]]
    figure = canvas(7, 3.4)
    axes: Any = figure.subplots()
    places = range(len(known))
    axes.boxplot([runs[:, columns[t]].tolist() for t in known], positions=list(places))
    for form, mark, label in (
        (closed_form.lime_approximation, "x", "Equation 19"),
        (closed_form.lime_limit, "_", "exact limit"),
    ):
        values = form(model, ids)[known]
        axes.scatter(places, values.detach(), marker=mark, label=label, zorder=3)
    axes.axhline(0, color="0.8", zorder=0)
    axes.set_xticks(list(places), [names[t] for t in known], rotation=30)
    axes.legend()
    return figure


def _gradient(model: AttentionClassifier, ids: Tensor, names: list[str]) -> Any:
    """The gradient by autograd and by formula, a row for each token."""
    _, wanted, _ = differentiated(model, ids)
    tables = (wanted, gradients(model, read(model, ids)))
    top = float(wanted.abs().max())
    figure = canvas(9, 3)
    for axes, table, title in zip(
        figure.subplots(1, 2), tables, ("autograd", "Theorem 4.1"), strict=True
    ):
        axes.imshow(
            table[: len(names)].detach(),
            cmap="RdBu_r",
            vmin=-top,
            vmax=top,
            aspect="auto",
        )
        axes.set_title(title)
        axes.set_yticks(range(len(names)), names)
    return figure
