"""``lrp-hooks closed-forms``: closed forms beside autograd and LIME, with errors."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict
from typing import Any, TextIO

from ..explainers.closed_form import verify_closed_forms
from .outputs import check_outputs, deliver, json_file

__all__ = ["run"]


def run(arguments: Namespace, stderr: TextIO) -> None:
    """Print, and on request write, the errors of all closed forms.

    Args:
        arguments: What the command line says.
        stderr: Unused: it takes a second.
    """
    check_outputs(arguments)
    table = verify_closed_forms()
    rows = [{**asdict(row), "holds": row.holds} for row in table]
    record: dict[str, Any] = {"holds": table.holds, "rows": rows}
    deliver(json_file(arguments, record), str(table))
