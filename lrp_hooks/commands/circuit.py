"""``lrp-hooks circuit``: through which neurons and heads a text made the output."""

from __future__ import annotations

from argparse import Namespace
from os import PathLike
from typing import TextIO

from ..circuits import Circuit, find_circuit
from ..engine.ruleset import RuleSet
from .chosen import asked_target, check_inputs, check_one_target, chosen_model
from .outputs import check_outputs, deliver, json_file
from .reading import read_texts

__all__ = ["run"]


def run(arguments: Namespace, stderr: TextIO) -> None:
    """Find one circuit of a text, or of all lines of standard input together.

    Args:
        arguments: What the command line says.
        stderr: Where waiting is told.
    """
    check_one_target(arguments)
    check_outputs(arguments)
    RuleSet.named(arguments.rules)
    texts = read_texts(arguments.text, arguments.text_pair, arguments.encoding)
    model, tokenizer = chosen_model(arguments.model, stderr)
    target = asked_target(arguments, model, tokenizer)
    check_inputs(model, tokenizer, texts)
    found = find_circuit(
        model,
        texts if len(texts) > 1 else texts[0],
        target,
        tokenizer=tokenizer,
        nodes=arguments.nodes.split(","),
        share=arguments.share,
        max_nodes=arguments.max_nodes,
        rules=arguments.rules,
    )
    files: dict[str | PathLike[str], bytes] = {}
    if arguments.html is not None:
        files[arguments.html] = found.to_html().encode()
    files |= json_file(arguments, found.attribution_graph())
    deliver(files, "\n".join([found.to_terminal(), *_checked(arguments, found)]))


def _checked(arguments: Namespace, found: Circuit) -> list[str]:
    """Say what is left of the output where nodes are ablated, if that is asked for."""
    if not arguments.check:
        return []
    kept, removed = found.faithfulness(), found.completeness()
    return [
        "",
        "of the output, 1 with all neurons and heads and 0 with none:",
        f"  {kept:.3f}  with these alone",
        f"  {removed:.3f}  with all but these",
    ]
