"""Turn results into Markdown: ``python -m benchmarks.coverage.third_party.report``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ...command import without_arguments
from ..probe import Record
from ..report import (
    FRONT,
    NOT_BUILDABLE,
    ROOT,
    conserves,
    every,
    failed,
    failures,
    put,
    table,
    unbuildable,
    unbuilt,
)
from ..run import read
from .models import listed

RESULTS = Path(__file__).with_name("results.jsonl")
README = Path(__file__).with_name("README.md")
MARK = "third-party"
UNCHECKED = "not checked"


def main() -> None:
    """Rewrite the generated parts of the READMEs."""
    records = in_order(read(RESULTS))
    for path, content in ((README, document(records)), (FRONT, verdict(records))):
        text = put(path.read_text(encoding="utf-8"), content, MARK)
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))


def in_order(records: Iterable[Record]) -> list[Record]:
    """Put records in the order of the list; what was not checked is named so.

    Args:
        records: What a run saved.

    Returns:
        One record for each listed model.
    """
    found = {record["name"]: record for record in records}
    names = [model.name for model in listed()]
    return [found.get(n, {"name": n, "status": UNCHECKED}) for n in names]


def verdict(records: list[Record]) -> str:
    """Say the totals in one sentence, for READMEs.

    Args:
        records: One for each model.

    Returns:
        The sentence.
    """
    libraries = {library_of(record) for record in records}
    run = [r for r in records if r["status"] not in {NOT_BUILDABLE, UNCHECKED}]
    open_ = sum(record["status"] == UNCHECKED for record in records)
    later = f" ({open_} are not checked yet)" if open_ else ""
    covered = sum(record["status"] == "covered" for record in run)
    silent = sum(map(is_silent, run))
    share = f"{covered / max(len(run), 1):.1%}"
    return (
        f"Of {len(records)} models of {len(libraries)} further libraries {len(run)} "
        f"run{later}, and **{covered} of these are covered ({share})**; of the others "
        f"{silent} were silent."
    )


def is_silent(record: Record) -> bool:
    """Tell a model that is not covered, and of which the library said nothing."""
    return record["status"] != "covered" and record.get("told") is False


def library_of(record: Record) -> str:
    """Return the library of a model."""
    return str(record["name"].split("/")[0])


def document(records: list[Record]) -> str:
    """Write everything between the markers.

    Args:
        records: One for each model.

    Returns:
        Totals, what is not covered, and the full table.
    """
    checked = [record for record in records if record["status"] != UNCHECKED]
    head = ("model", "status", "dtype", "ledger error", "conserves")
    return "\n\n".join([
        verdict(records),
        totals(records),
        "## Not covered",
        table(("model", "status", "told", "where"), map(failed, failures(checked))),
        "## Not buildable",
        table(("model", "why"), map(unbuildable, unbuilt(records))),
        "## Every model",
        table(head, map(every, checked)),
    ])


def totals(records: list[Record]) -> str:
    """Count by library.

    Args:
        records: One for each model.

    Returns:
        A Markdown table.
    """
    rows = []
    for library in (*dict.fromkeys(map(library_of, records)), ""):
        mine = [r for r in records if not library or library_of(r) == library]
        count = Counter(r["status"] for r in mine)
        run = len(mine) - count[NOT_BUILDABLE] - count[UNCHECKED]
        fine = (count["covered"], sum(map(conserves, mine)), sum(map(is_silent, mine)))
        rows.append((library or "**all**", len(mine), run, *fine))
    head = ("library", "listed", "run", "covered", "conserves", "silent")
    return table(head, rows)


if __name__ == "__main__":
    without_arguments(__doc__)
    main()
