"""The arguments of ``lrp-hooks circuit``."""

from __future__ import annotations

import argparse
from typing import Any

from .options import (
    add_command,
    add_model,
    add_outputs,
    add_rule_set,
    add_target,
    add_text,
    count,
)

__all__ = ["add_circuit"]


def add_circuit(commands: Any) -> None:
    """Add ``lrp-hooks circuit``."""
    parser = add_command(
        commands,
        "circuit",
        help="show through which neurons and heads a text made the output",
        description="Show where relevance flows, from the tokens through neurons and "
        "attention heads to the output, as a graph that balances at every node.",
        epilog="""examples:
  lrp-hooks circuit "not bad at all" --html circuit.html
  lrp-hooks circuit "The keys to the cabinet" --model path/to/model \\
      --target " are" --nodes neurons,heads --max-nodes 50 --check
  lrp-hooks circuit "not bad at all" --json graph.json""",
    )
    add_text(parser)
    add_model(parser)
    add_rule_set(parser)
    add_target(parser)
    parser.add_argument(
        "--nodes",
        metavar="KINDS",
        default="neurons",
        help="neurons, heads, or neurons,heads (default: %(default)s)",
    )
    parser.add_argument(
        "--share",
        metavar="S",
        type=_share,
        default=0.8,
        help="how much of each layer's relevance the kept nodes carry, above 0, at "
        "most 1 (default: %(default)s)",
    )
    parser.add_argument(
        "--max-nodes",
        metavar="N",
        type=count,
        help="how many are kept at most (default: 200)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="ablate all but the circuit's nodes, and these alone, and tell what is "
        "left of the output",
    )
    add_outputs(parser, "html", "json")


def _share(text: str) -> float:
    """Return a share.

    Raises:
        ArgumentTypeError: If it is no number above 0, or more than 1.
    """
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0, 1 at most")
    return share
