"""The arguments of ``lrp-hooks evaluate``."""

from __future__ import annotations

import argparse
from typing import Any

from .options import (
    add_command,
    add_encoding,
    add_engine,
    add_model,
    add_outputs,
    add_reading,
    count,
)

__all__ = ["add_evaluate"]


def add_evaluate(commands: Any) -> None:
    """Add ``lrp-hooks evaluate``."""
    parser = add_command(
        commands,
        "evaluate",
        help="put methods to the test on the texts of a data file",
        description="Take tokens away in the order of a method's scores, or give them "
        "back, and see what the model says: results.parquet, summary.json and "
        "report.html. The same command goes on where it was stopped.",
        epilog="""methods:
  lrp                   an explainer, with its own defaults
  lrp:attnlrp           with a rule set
  lrp:attnlrp@site      and what biases and positions took given back to the tokens:
                        at its site, or @equal, @first, @abs

examples:
  lrp-hooks evaluate --data reviews.csv --out results
  lrp-hooks evaluate --data dev.parquet --model path/to/model --out results \\
      --methods lrp,lrp:attnlrp@site,decompx,random_baseline --workers 2
  lrp-hooks evaluate --data dev.tsv --text review --label stars --limit 100 \\
      --metrics activation,aopc --sign signed,absolute --out results""",
    )
    parser.add_argument(
        "--data",
        metavar="FILE",
        required=True,
        help="texts, one a row: .parquet, .csv, .tsv or .jsonl",
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="the results")
    add_model(parser)
    columns = parser.add_argument_group("columns of the data file")
    columns.add_argument(
        "--text", metavar="COLUMN", help="of texts (default: text or sentence)"
    )
    columns.add_argument(
        "--text-pair", metavar="COLUMN", help="of the second texts, if they are pairs"
    )
    columns.add_argument(
        "--label",
        metavar="COLUMN",
        help="of labels, names or numbers, which --target label and accuracy read "
        "(default: label, if there is one); '' for none. A row without a label that "
        "the model knows is left out",
    )
    add_reading(columns)
    add_encoding(columns, "the file")
    _add_protocol(parser)
    add_outputs(parser, "json")


def _add_protocol(parser: argparse.ArgumentParser) -> None:
    """Add what decides the numbers of an evaluation, and how they are computed."""
    parser.add_argument(
        "--methods", metavar="NAMES", help="separated by commas, see below"
    )
    parser.add_argument(
        "--metrics",
        metavar="NAMES",
        help="separated by commas (default: all that are curves)",
    )
    parser.add_argument(
        "--target",
        metavar="WHICH",
        default="predicted",
        help="the class that is explained: predicted or label (default: %(default)s)",
    )
    parser.add_argument(
        "--sign",
        metavar="SIGNS",
        default="signed",
        help="scores as they are, signed, or absolute, or both separated by a comma "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--replace-with",
        metavar="TOKEN",
        help="what takes a token's place: mask, unk, pad or delete, or METRIC=TOKEN "
        "separated by commas (default: unk for activation, pruning and sufficiency, "
        "else mask)",
    )
    for name, default, text in (
        ("limit", None, "read the first N rows alone"),
        ("chunk", 16, "explain N texts together (default: %(default)s)"),
    ):
        parser.add_argument(
            f"--{name}", metavar="N", type=count, default=default, help=text
        )
    add_engine(parser)
