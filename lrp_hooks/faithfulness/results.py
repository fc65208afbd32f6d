"""The folder of an evaluation: finished portions, kept as they come."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import ArgumentError
from ..support.files import write_whole
from ..support.plain_json import to_json
from .evaluation import Evaluation
from .plan import Plan

__all__ = ["Results"]


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
            plan: What is evaluated.

        Raises:
            ArgumentError: If it cannot be written, or belongs to another evaluation.
        """
        self.folder = Path(folder)
        self.parts = self.folder / "parts"
        wanted = json.loads(json.dumps(plan.fingerprint()))
        try:
            self.parts.mkdir(parents=True, exist_ok=True)
            config = self.folder / "config.json"
            found = json.loads(config.read_text()) if config.exists() else None
        except (OSError, ValueError) as error:
            raise ArgumentError(
                f"out={str(folder)!r} cannot be used: {error}. Name another folder."
            ) from error
        if found is None and any(self.parts.glob("*.json")):
            raise ArgumentError(
                f"out={str(folder)!r} has finished portions, but no config.json that "
                "says of what. Name another folder, or delete that one."
            )
        if found is None:
            text = json.dumps(wanted, indent=2)
            write_whole({config: text.encode()})
        elif found != wanted:
            raise ArgumentError(_other(folder, found, wanted))

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

        Raises:
            ArgumentError: If pyarrow is missing.
        """
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise ArgumentError(
                "results.parquet is written by pyarrow, which is missing. Run: pip "
                'install "lrp_hooks[evaluate]"; all finished portions are kept.'
            ) from error
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
        for folder in (self.folder, self.parts):  # what a kill left half-written
            for path in folder.glob(".*.part"):
                path.unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self.parts / f"{number:05d}.json"


def _other(folder: object, found: Any, wanted: dict[str, Any]) -> str:
    known = found if isinstance(found, dict) else {}
    differing = [key for key in wanted if known.get(key) != wanted[key]]
    return (
        f"out={str(folder)!r} holds the evaluation of another configuration: "
        f"{', '.join(differing)} differ. Name another folder, or delete that one."
    )
