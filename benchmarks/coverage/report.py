"""Turn results into Markdown: ``python -m benchmarks.coverage.report``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..command import without_arguments
from .architectures import TASKS, architectures
from .probe import TOLERANCE
from .run import RESULTS, read

ROOT = Path(__file__).resolve().parents[2]
README = Path(__file__).with_name("README.md")
FRONT = ROOT / "README.md"
Record = dict[str, Any]
NOT_BUILDABLE = "not buildable"
MAX_REASON = 150


def main() -> None:
    """Rewrite the generated parts of the READMEs."""
    records = listed(read(RESULTS))
    for path, content in ((README, document(records)), (FRONT, verdict(records))):
        text = put(path.read_text(encoding="utf-8"), content)
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))


def listed(records: Iterable[Record]) -> list[Record]:
    """Put records in the order of the list; what was not checked is named so.

    Args:
        records: What a run saved.

    Returns:
        One record for each listed architecture.
    """
    found = {record["name"]: record for record in records}
    names = [architecture.name for architecture in architectures()]
    return [found.get(n, {"name": n, "status": "not checked"}) for n in names]


def document(records: list[Record]) -> str:
    """Write everything between the markers.

    Args:
        records: One for each architecture.

    Returns:
        Totals, what is not covered, what has no rule, and the full table.
    """
    return "\n\n".join([
        verdict(records),
        totals(records),
        "### Not covered",
        table(
            ("architecture", "status", "told", "where"),
            map(failed, failures(records)),
        ),
        "### Not buildable",
        table(("architecture", "why"), map(unbuildable, unbuilt(records))),
        "### Functions without a rule",
        table(("function", "architectures"), unruled(records)),
        "### Every architecture",
        table(
            ("architecture", "status", "dtype", "ledger error", "conserves"),
            map(every, records),
        ),
    ])


def verdict(records: list[Record]) -> str:
    """Say the totals in one sentence, for READMEs.

    Args:
        records: One for each architecture.

    Returns:
        The sentence.
    """
    count = Counter(record["status"] for record in records)
    n = len(records)
    built = n - count[NOT_BUILDABLE] - count["not checked"]
    covered = count["covered"]
    return (
        f"Of {n} listed architectures {built} can be built tiny ({built / n:.1%}), and "
        f"**{covered} of these are covered ({covered / max(built, 1):.1%})**."
    )


def totals(records: list[Record]) -> str:
    """Count by task.

    Args:
        records: One for each architecture.

    Returns:
        A Markdown table.
    """
    rows = []
    for task in (*TASKS, ""):
        mine = [r for r in records if r["name"].startswith(f"{task}/") or not task]
        count = Counter(r["status"] for r in mine)
        built = len(mine) - count[NOT_BUILDABLE] - count["not checked"]
        fine = (count["covered"], sum(map(conserves, mine)))
        rows.append((task or "**all**", len(mine), built, *fine))
    return table(("task", "listed", "buildable", "covered", "conserves"), rows)


def conserves(record: Record) -> bool:
    """Tell whether scores alone sum to the output, or what is added is named."""
    gap = record.get("conservation")
    exact = gap is not None and gap <= TOLERANCE
    named = bool(record.get("remaining")) and record["status"] == "covered"
    return exact or named


def failures(records: list[Record]) -> list[Record]:
    """List what is built and not covered."""
    fine = {"covered", NOT_BUILDABLE}
    return [record for record in records if record["status"] not in fine]


def unbuilt(records: list[Record]) -> list[Record]:
    """List what is not built."""
    return [record for record in records if record["status"] == NOT_BUILDABLE]


def unruled(records: list[Record]) -> list[tuple[str, str]]:
    """List functions without a rule, and the model types that call them."""
    callers: dict[str, set[str]] = {}
    for record in records:
        for function, _ in record.get("unruled", ()):
            kind = record["name"].split("/")[1]
            callers.setdefault(function, set()).add(kind)
    return [(f"`{name}`", ", ".join(sorted(callers[name]))) for name in sorted(callers)]


def put(text: str, content: str, mark: str = "coverage") -> str:
    """Replace what stands between the markers.

    Args:
        text: The document.
        content: The Markdown to put there.
        mark: The name of the markers.

    Returns:
        The document with the new content.

    Raises:
        ValueError: If the document does not have each marker exactly once.
    """
    begin, end = f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"text: it must have {begin} and {end} once each.")
    head, rest = text.split(begin)
    return f"{head}{begin}\n\n{content}\n\n{end}{rest.split(end)[1]}"


def every(record: Record) -> tuple[object, ...]:
    """Write the line of one record in the full table."""
    error, gap = record.get("ledger"), record.get("conservation")
    kept = record.get("remaining")
    how = f"but for {', '.join(kept)}" if kept and conserves(record) else gap
    cells = (record.get("dtype", ""), error, how)
    status = "**leak**" if record["status"] == "leak" else record["status"]
    status += "" if record.get("cached", True) else ", without a cache"
    return (record["name"], status, *("" if c is None else c for c in cells))


def failed(record: Record) -> tuple[str, str, str, str]:
    """Write the line of what is not covered."""
    places = [
        f"`{w['module'] or 'the model'}` ({w['type']}) {w['leak']:.1e}"
        for w in record.get("where", ())
    ]
    why = ", ".join(places) or record.get("reason", "")[:MAX_REASON]
    told = {True: "yes", False: "no", None: "an error"}[record.get("told")]
    return record["name"], record["status"], told, why


def unbuildable(record: Record) -> tuple[str, str]:
    """Write the line of what is not built."""
    return record["name"], record["reason"][:MAX_REASON]


def table(head: tuple[str, ...], rows: Iterable[Iterable[object]]) -> str:
    """Write a Markdown table; "None." where it has no row."""
    lines = [head, ["---"] * len(head), *rows]
    cells = [[str(cell).replace("|", "\\|") for cell in line] for line in lines]
    if len(cells) == len(("head", "rule")):
        return "None."
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


if __name__ == "__main__":
    without_arguments(__doc__)
    main()
