"""``lrp-hooks closed-forms``: closed forms beside autograd and LIME, with errors."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import asdict
from typing import Any, TextIO

from ..explainers.closed_form import verify_closed_forms
from ..support.files import write_whole
from .outputs import check_outputs

__all__ = ["run"]


def run(arguments: Namespace, stderr: TextIO) -> None:
    """Print, and on request write, the errors of all closed forms.

    Args:
        arguments: What the command line says.
        stderr: Unused: it takes a second.
    """
    check_outputs(arguments)
    table = verify_closed_forms()
    if arguments.json is not None:
        rows = [{**asdict(row), "holds": row.holds} for row in table]
        record: dict[str, Any] = {"holds": table.holds, "rows": rows}
        write_whole({arguments.json: json.dumps(record, indent=2).encode()})
    print(table)
