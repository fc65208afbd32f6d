"""``lrp-hooks rules``: a rule set, and what it makes of each module of a model."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict
from typing import Any, TextIO

from ..attribution.instrument import instrument
from ..engine.ruleset import FAMILIES, RuleSet
from ..explainers.recommended import recommendation
from ..texts.loading import load_model
from .chosen import chosen_model
from .outputs import check_outputs, deliver, json_file
from .waiting import waiting

__all__ = ["run"]


def run(arguments: Namespace, stderr: TextIO) -> None:
    """Print, and on request write, which module has which rule and why.

    Args:
        arguments: What the command line says.
        stderr: Where to say that loading takes a while.
    """
    rules = RuleSet.named(arguments.rules)
    check_outputs(arguments)
    # A model without a tokenizer will do: it is not run.
    folder = arguments.model
    if folder is None:
        model, _ = chosen_model(None, stderr)
    else:
        with waiting(stderr, "loading the model"):
            model = load_model(folder)
    with instrument(model, rules) as lrp:
        coverage = lrp.coverage
    advice = recommendation(model)
    record: dict[str, Any] = {
        "rules": rules.name,
        "families": {family: repr(getattr(rules, family)) for family in FAMILIES},
        "model": type(model).__name__,
        "recommended": advice,
        "modules": [asdict(row) for row in coverage.rows],
    }
    names = f"rule sets  {', '.join(RuleSet.names())}"
    text = f"{rules}\n\n{coverage}\n\n{names}\n{advice}"
    deliver(json_file(arguments, record), text)
