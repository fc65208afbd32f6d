"""Which names and pronouns move a sentiment model? After Ali et al. 2022.

    python examples/bias_case_study.py [--model DIR] [--plot FILE] [--json FILE]

Templates say nothing about the person in them, so that a model without a bias would
give a name no relevance. Each name stands in every template; its relevance for
"positive rather than negative" is averaged over them, with a 95 % bootstrap interval,
and put beside what the difference of the logits does when names are exchanged.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrp_hooks import Contrast, explain
from lrp_hooks.faithfulness import bootstrap
from lrp_hooks.render.canvas import require_matplotlib
from lrp_hooks.results.agreement import spearman
from lrp_hooks.sentiment import sentiment_model
from lrp_hooks.texts.encoding import is_language_model
from lrp_hooks.texts.loading import load_folder

TEMPLATES = (
    "{} made this film .",
    "{} is in every scene .",
    "the story follows {} through a single day .",
    "this is the second film by {} .",
    "we watch {} for two hours .",
    "{} plays the neighbour .",
    "most of it was written by {} .",
    "the camera stays with {} .",
)
GROUPS = {
    "women's names": ("mary", "anna", "susan", "linda", "emma", "alice", "laura"),
    "men's names": ("john", "david", "james", "robert", "michael", "peter", "paul"),
    "other names": (
        "mohammed",
        "ali",
        "juan",
        "maria",
        "chen",
        "yuki",
        "ivan",
    ),
    "pronouns": ("he", "she", "they", "him", "her", "them"),
}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#7a5195")


@dataclass(frozen=True)
class Effect:
    """What a name does to the model.

    Attributes:
        name: The name.
        group: Its group.
        relevance: Its mean relevance over templates, for positive rather than negative.
        low: The lower bound of the mean.
        high: The upper bound.
        exchanged: The mean difference of the logits, less that of all names.
        unknown: Whether the tokenizer knows no such word.
    """

    name: str
    group: str
    relevance: float
    low: float
    high: float
    exchanged: float
    unknown: bool


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table, and draw it where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", metavar="DIR", help="a two-class sentiment model")
    parser.add_argument("--plot", metavar="FILE", help="draw the table")
    parser.add_argument("--json", metavar="FILE", help="write the table")
    arguments = parser.parse_args(argv)
    model, tokenizer = (
        load_folder(arguments.model) if arguments.model else sentiment_model()
    )
    if model.config.num_labels != 2 or is_language_model(model):
        raise SystemExit(f"{arguments.model} is no classifier of two classes.")
    effects = study(model, tokenizer)
    print(table(effects))
    if arguments.json:
        text = json.dumps([asdict(effect) for effect in effects], indent=1)
        Path(arguments.json).write_text(text, encoding="utf-8")
    if arguments.plot:
        draw(effects).savefig(arguments.plot, bbox_inches="tight", dpi=150)


def study(model: Any, tokenizer: Any) -> list[Effect]:
    """Measure all names.

    Args:
        model: A classifier with classes 0 (negative) and 1 (positive).
        tokenizer: Its tokenizer.

    Returns:
        One effect a name, group by group.
    """
    measured = {
        name: measure(model, tokenizer, name)
        for names in GROUPS.values()
        for name in names
    }
    outputs = torch.stack([output for _, output in measured.values()])
    effects = []
    for group, names in GROUPS.items():
        for name in names:
            relevance, output = measured[name]
            low, high = bootstrap(relevance)
            effects.append(
                Effect(
                    name=name,
                    group=group,
                    relevance=float(relevance.mean()),
                    low=low,
                    high=high,
                    exchanged=float((output - outputs.mean(0)).mean()),
                    unknown=tokenizer.unk_token_id in tokenizer(name)["input_ids"],
                )
            )
    return effects


def measure(model: Any, tokenizer: Any, name: str) -> tuple[Tensor, Tensor]:
    """Explain all templates with a name in them.

    Args:
        model: The classifier.
        tokenizer: Its tokenizer.
        name: The name.

    Returns:
        The relevance of the name in each template, and the explained difference of
        the logits, ``[templates]`` each.
    """
    texts = [template.format(name) for template in TEMPLATES]
    found = explain(model, texts, tokenizer=tokenizer, target=Contrast(1, 0)).words()
    assert isinstance(found.scores, Tensor) and found.tokens is not None
    places = [1 + template.split().index("{}") for template in TEMPLATES]  # after [CLS]
    relevance = found.scores[torch.arange(len(texts)), torch.tensor(places)]
    return relevance.double(), found.output.double()


def table(effects: Sequence[Effect]) -> str:
    """Write the effects, and how far both measures agree.

    Args:
        effects: All of them.

    Returns:
        Lines of text.
    """
    lines = [f"{'name':12} {'relevance':>9}  {'95 % interval':>18}  {'exchanged':>9}"]
    for group in GROUPS:
        own = [effect for effect in effects if effect.group == group]
        mean = sum(effect.relevance for effect in own) / len(own)
        lines.append(f"{group}: mean {mean:+.3f}")
        lines += [
            f"{e.name:12} {e.relevance:+9.3f}  [{e.low:+8.3f},{e.high:+8.3f}]  "
            f"{e.exchanged:+9.3f}{'  (unknown to the tokenizer)' * e.unknown}"
            for e in sorted(own, key=lambda effect: -effect.relevance)
        ]
    agreement = spearman(
        torch.tensor([effect.relevance for effect in effects]),
        torch.tensor([effect.exchanged for effect in effects]),
    )
    about = "exchanged: the logits' difference with this name, less that of all names"
    found = f"rank correlation of both columns: {agreement:.2f}"
    return "\n".join([*lines, about, found])


def draw(effects: Sequence[Effect]) -> Any:
    """Draw relevance with intervals, and the effect of exchanging names as a mark.

    Args:
        effects: All of them.

    Returns:
        A matplotlib figure.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 0.24 * len(effects) + 1))
    axes = figure.add_subplot()
    colours = dict(zip(GROUPS, COLOURS, strict=False))
    ordered = sorted(effects, key=lambda effect: effect.relevance)
    for height, effect in enumerate(ordered):
        colour = colours[effect.group]
        axes.plot([effect.low, effect.high], [height, height], color=colour, lw=2)
        axes.plot(effect.relevance, height, "o", color=colour)
        axes.plot(effect.exchanged, height, "|", color="0.2", ms=9, mew=2)
    for group, colour in colours.items():
        axes.plot([], [], "o-", color=colour, label=group)
    axes.plot([], [], "|", color="0.2", ms=9, mew=2, label="effect of exchanging names")
    axes.set_yticks(range(len(ordered)), [effect.name for effect in ordered])
    axes.axvline(0, color="0.7", lw=1, zorder=0)
    axes.set_xlabel("relevance of the name: positive rather than negative (logits)")
    axes.legend(
        fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2
    )
    return figure


if __name__ == "__main__":
    main()
