"""Judges random nets: ``python -m benchmarks.nets.run``."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch

from ..cost import report
from ..cost.run import environment
from .grammar import GROUPS, draw
from .verdict import LIMIT, Verdict, judge

RESULTS = Path(__file__).with_name("results.json")
README = Path(__file__).with_name("README.md")
KINDS = {
    "closed": "the ledger closes; frozen weights and single examples change no score",
    "told": "a warning names what bends relevance, or that examples interact",
    "refused": "an error names it",
    "impossible": "torch itself has no finite output and gradient",
    "silent": "none of these: a fault",
}


def judged(number: int, rules: str) -> tuple[int, Verdict]:
    """Judge one net.

    Args:
        number: Which; the seed that it is drawn with.
        rules: The rule set.

    Returns:
        Its number and the verdict.
    """
    torch.set_num_threads(1)
    try:
        return number, judge(draw(Random(number)), rules)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        return number, Verdict("silent", 0.0, said)


def collected(found: Iterable[tuple[int, Verdict]]) -> dict[str, Any]:
    """Sum verdicts up.

    Args:
        found: The number and the verdict of each net.

    Returns:
        How many of each kind, the largest error of a closed ledger, what was told how
        often, and each fault with its net.
    """
    kinds, said = Counter[str](), Counter[str]()
    largest, faults = 0.0, []
    for number, verdict in found:
        kinds[verdict.kind] += 1
        if verdict.kind == "closed":
            largest = max(largest, verdict.error)
        elif verdict.kind == "silent":
            plan = asdict(draw(Random(number)))
            faults.append({"net": number, "said": verdict.said, **plan})
        elif verdict.said:
            said[cause(verdict.said)] += 1
    return {
        "kinds": dict(kinds),
        "largest": largest,
        "said": dict(said.most_common()),
        "faults": faults,
    }


def cause(said: str) -> str:
    """Shorten what was told to its cause.

    Args:
        said: A warning or an error.

    Returns:
        The function that it names, or its first clause.
    """
    named = re.search(r"own gradient: ([\w.]+( [a-z][\w' .]*)?)", said)
    return named[1].strip() if named else re.split(r"[:;,.]", said)[0]


def table(results: dict[str, Any]) -> str:
    """Write the results as Markdown.

    Args:
        results: What a run saved.

    Returns:
        Two tables and a line.
    """
    kinds, about = results["kinds"], results["environment"]
    lines = ["| verdict | nets | meaning |", "| --- | ---: | --- |"]
    lines += [f"| {k} | {kinds.get(k, 0)} | {text} |" for k, text in KINDS.items()]
    lines += ["", "| told or refused | nets |", "| --- | ---: |"]
    lines += [f"| {text} | {count} |" for text, count in results["said"].items()]
    count = sum(map(len, GROUPS.values()))
    return "\n".join(lines) + (
        f"\n\n{results['nets']} nets of {count} operations, rules "
        f"`{results['rules']}`, float64; the largest error of a ledger that closes is "
        f"{results['largest']:.0e} (limit {LIMIT:.0e}). Seeds 0 to "
        f"{results['nets'] - 1}; torch {about['torch']}, {results['date']}."
    )


def main() -> None:
    """Judge, save, and rewrite the table in this folder's page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--rules", default="conservative")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--save", action="store_true", help="replace the results")
    options = parser.parse_args()
    numbers = range(options.first, options.first + options.nets)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, context) as pool:
        one = partial(judged, rules=options.rules)
        found = collected(pool.map(one, numbers, chunksize=25))
    results = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "environment": environment({"threads": 1}),
        "nets": options.nets,
        "rules": options.rules,
        **found,
    }
    content = table(results)
    print(content)
    for fault in found["faults"]:
        print(fault)
    if options.save:
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        text = README.read_text(encoding="utf-8")
        README.write_text(report.put(text, "nets", content), encoding="utf-8")


if __name__ == "__main__":
    main()
