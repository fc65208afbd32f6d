"""``lrp-hooks rules``: a rule set, and what it makes of each module of a model."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import asdict
from typing import Any, TextIO

from ..attribution.instrument import instrument
from ..engine.ruleset import FAMILIES, RuleSet
from ..support.files import write_whole
from ..texts.loading import load_model
from .explain import chosen_model
from .outputs import check_outputs

__all__ = ["run"]


def run(arguments: Namespace, stderr: TextIO) -> None:
    """Print, and on request write, which module has which rule and why.

    Args:
        arguments: What the command line says.
        stderr: Unused: there is nothing to wait for.
    """
    rules = RuleSet.named(arguments.rules)
    check_outputs(arguments)
    # A model without a tokenizer will do: it is not run.
    folder = arguments.model
    model = chosen_model(None)[0] if folder is None else load_model(folder)
    with instrument(model, rules) as lrp:
        coverage = lrp.coverage
    if arguments.json is not None:
        record: dict[str, Any] = {
            "rules": rules.name,
            "families": {family: repr(getattr(rules, family)) for family in FAMILIES},
            "model": type(model).__name__,
            "modules": [asdict(row) for row in coverage.rows],
        }
        write_whole({arguments.json: json.dumps(record, indent=2).encode()})
    print(f"{rules}\n\n{coverage}")
