"""Turn results into this folder's page: ``python -m benchmarks.speech.report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..by_prompt import interval, read, versions
from ..command import without_arguments
from ..cost.report import put

HERE = Path(__file__).parent
RESULTS, README = HERE / "results.jsonl", HERE / "README.md"
Record = dict[str, Any]


def main() -> None:
    """Rewrite the table."""
    text = README.read_text(encoding="utf-8")
    README.write_text(put(text, "speech", table(read(RESULTS))), encoding="utf-8")


def table(records: list[Record]) -> str:
    """Write what each method finds.

    Args:
        records: What `run` saved.

    Returns:
        Markdown; intervals are over sentences.
    """
    lines = [
        "| rules | strongest moment inside the word | part of the words' relevance in "
        "it | largest ledger error | CPU, s |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for rules in records[0]["methods"]:
        rows = [record["methods"][rules] for record in records]
        heard = [row["words"] for row in rows if row["words"]]
        means = [
            interval([np.mean([word[key] for word in words]) for words in heard])
            for key in ("inside", "share")
        ]
        error = max(row["error"] for row in rows)
        seconds = np.median([row["seconds"] for row in rows])
        lines.append(f"| {rules} | {' | '.join(means)} | {error:.0e} | {seconds:.1f} |")
    words = sum(len(r["methods"][rules]["words"]) for r in records)
    said = sum(len(r["said"]) for r in records)
    chance = np.mean([
        word["chance"] for r in records for word in r["methods"][rules]["words"]
    ])
    return "\n".join([
        *lines,
        "",
        f"n = {len(records)} sentences, {words} of {said} words; a moment drawn by "
        f"chance is inside with {chance:.2f}. 95 % bootstrap intervals over sentences; "
        "raw logits of the words as written, read at the frames; 1 thread; "
        f"{versions(records[0])}.",
    ])


if __name__ == "__main__":
    without_arguments(__doc__)
    main()
