"""The folder of an evaluation: finished portions, kept as they come."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import ArgumentError
from ..many.folders import bind, claimed, made, sweep
from ..support.extras import require
from ..support.files import write_whole
from ..support.plain_json import to_json
from .evaluation import Evaluation
from .plan import Plan

__all__ = ["Results"]

WHAT = "evaluation"


class Results:
    """A folder that takes an evaluation up where it stopped.

    ``config.json`` says what is evaluated; ``parts/`` holds one file for each portion,
    which is whole or not there; ``results.parquet``, ``summary.json`` and
    ``report.html`` are written at the end.
    """

    def __init__(self, folder: str | PathLike[str], plan: Plan) -> None:
        """Open a folder, or make it.

        Args:
            folder: The folder.
            plan: What is evaluated. A folder that cannot be written, or belongs to
                another evaluation, is refused.
        """
        self.folder = made(folder, "parts")
        self.parts = self.folder / "parts"
        bind(self.folder, "config.json", plan.fingerprint(), "parts/*.json", WHAT)

    def claimed(self) -> AbstractContextManager[None]:
        """Keep other runs out of the folder.

        Returns:
            A context manager, which refuses to begin where another run is at work.
        """
        return claimed(self.folder)

    def read(self, number: int) -> dict[str, Any] | None:
        """Return what a portion brought.

        Args:
            number: Of the portion.

        Returns:
            The part; None if it is still to be done.

        Raises:
            ArgumentError: If it is damaged.
        """
        path = self._path(number)
        if not path.exists():
            return None
        try:
            part: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise ArgumentError(
                f"the portion {str(path)!r} cannot be read: {error}. Delete it, and it "
                "is computed anew."
            ) from error
        return part

    def write(self, number: int, part: dict[str, Any]) -> None:
        """Keep what a portion brought.

        Args:
            number: Of the portion.
            part: What it brought.
        """
        write_whole({self._path(number): json.dumps(part).encode()})

    def finish(self, evaluation: Evaluation) -> None:
        """Write the results of all portions.

        Args:
            evaluation: All of them.
        """
        what = "writing results.parquet, for which finished portions are kept,"
        pyarrow = require("pyarrow", "evaluate", what)
        require("pyarrow.parquet", "evaluate", what)
        sink = pyarrow.BufferOutputStream()
        table = pyarrow.Table.from_pylist(evaluation.rows)
        pyarrow.parquet.write_table(table, sink, compression="zstd")
        record = {
            "summary": evaluation.summary(),
            "fractions": evaluation.fractions,
            "failures": evaluation.failures,
            "skipped": {str(row): why for row, why in evaluation.skipped.items()},
            "seconds": evaluation.seconds,
            "shown": sum(part["shown"] for part in evaluation.parts),
            "config": evaluation.plan.fingerprint(),
        }
        write_whole({
            self.folder / "results.parquet": sink.getvalue().to_pybytes(),
            self.folder / "summary.json": to_json(record),
            self.folder / "report.html": evaluation.to_html().encode(),
        })
        sweep(self.folder, self.parts)

    def _path(self, number: int) -> Path:
        return self.parts / f"{number:05d}.json"
