"""Runs every function: ``python -m benchmarks.functions.run``."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timezone
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch.overrides import get_overridable_functions, resolve_name

from lrp_hooks import RuleSet
from lrp_hooks.engine.composite import is_composite

from ..cost import report
from ..cost.run import environment
from .probe import LIMIT, leak, samples, subsets, tensors

RESULTS = Path(__file__).with_name("results.json")
README = Path(__file__).with_name("README.md")
Function = Callable[..., Any]
UNREADABLE = {
    "bfloat16": "a cast, which rounds",
    "half": "a cast, which rounds",
    "chalf": "a cast, which rounds",
    "addr": "torch's samples hold NaN times 0",
    "nansum": "torch's samples hold NaN",
    "nanmean": "torch's samples hold NaN",
    "sparse.sampled_addmm": "its results are sparse",
    "to_sparse": "its results are sparse",
    "nn.functional.embedding": "torch's samples renormalise a table that is read",
    "nn.functional.embedding_bag": "torch's samples renormalise a table that is read",
}
"""What torch's samples cannot show of a function."""
KINDS = {
    "linear": "relevance is the gradient's; the ledger closed in every call",
    "ruled": "a rule; the ledger closed in every call",
    "told": "a warning named it where some of its arguments, or all, carry relevance",
    "untracked": "torch has no gradient for it",
    "linear, not run": "listed as linear, and no sample of torch's",
    "ruled, not run": "a rule, and no sample of torch's",
    "no rule, not run": "told where it carries relevance; no sample of torch's",
    "leaks": "a fault: the ledger did not close and nothing was said",
}


@cache
def names() -> dict[str, Function]:
    """List the functions that a scope can replace.

    Returns:
        ``{name: function}``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        every = [f for group in get_overridable_functions().values() for f in group]
        return {resolve_name(f) or repr(f): f for f in every}


@cache
def sampled() -> dict[Function, list[Any]]:
    """Find torch's samples of each function.

    Returns:
        ``{function: its entries in torch's list}``.
    """
    from torch.testing._internal.common_methods_invocations import (  # noqa: PLC0415
        op_db,
    )

    found: dict[Function, list[Any]] = defaultdict(list)
    for op in op_db:
        if op.name in UNREADABLE or torch.float64 not in op.dtypes:
            continue
        for each in (op, *op.aliases):
            for kind in ("op", "method_variant", "inplace_variant", "operator_variant"):
                function = getattr(each, kind, None)
                if function is not None and op not in found[function]:
                    found[function].append(op)
    return found


def kind_of(function: Function, rules: str) -> str:
    """Look up what a rule set has for a function.

    Args:
        function: The function.
        rules: The rule set.

    Returns:
        ``"linear"``, ``"ruled"`` or ``"no rule"``.
    """
    table = RuleSet.named(rules).functions()
    if function in table:
        return "linear" if table[function] is None else "ruled"
    return "ruled" if is_composite(function) else "no rule"


def judged(name: str, rules: str, count: int = 6) -> dict[str, Any]:
    """Run a function with every subset of its arguments live.

    Args:
        name: See `names`.
        rules: The rule set.
        count: Samples of each kind of numbers.

    Returns:
        Its kind, how many calls closed, and where it was told or leaked.
    """
    torch.set_num_threads(1)
    function = names()[name]
    known, closed, told, leaks = kind_of(function, rules), 0, set(), []
    ran = False
    for call, live, which in calls(function, count):
        ran = True
        missing = leak(function, call, live, rules)
        if isinstance(missing, str):
            told.add(which)
        elif missing is not None and missing > LIMIT:
            leaks.append({"arguments": which, "missing": missing})
        elif missing is not None:
            closed += 1
    if not ran:
        kind = f"{known}, not run"
    elif leaks:
        kind = "leaks"
    elif told:
        kind = "told"
    elif not closed:
        kind = "untracked"
    else:
        kind = "linear" if known == "linear" else "ruled"
    return {"name": name, "kind": kind, "closed": closed, "told": sorted(told)} | (
        {"leaks": leaks} if leaks else {}
    )


def calls(function: Function, count: int) -> Iterator[tuple[Any, Any, str]]:
    """List calls of a function: its samples, and which arguments carry relevance.

    Args:
        function: The function.
        count: Samples of each kind of numbers.

    Yields:
        The arguments, those that carry relevance, and their places.
    """
    for op in sampled().get(function, ()):
        for dtype in (torch.float64, torch.complex128):
            if dtype not in op.dtypes:
                continue
            for call in samples(op, dtype, count):
                given = tensors(call)
                for live in subsets(given):
                    places = [
                        n for n, t in enumerate(given) if any(t is o for o in live)
                    ]
                    yield call, live, ", ".join(map(str, places))


def table(results: dict[str, Any]) -> str:
    """Write the results as Markdown.

    Args:
        results: What a run saved.

    Returns:
        Kinds and counts, and the functions of each kind.
    """
    rows, about = results["functions"], results["environment"]
    kinds = Counter(row["kind"] for row in rows)
    lines = ["| kind | functions | meaning |", "| --- | ---: | --- |"]
    lines += [f"| {k} | {kinds.get(k, 0)} | {text} |" for k, text in KINDS.items()]
    count = sum(row["closed"] for row in rows)
    lines += [
        "",
        f"{len(rows)} functions, rules `{results['rules']}`; {count} calls with every "
        f"subset of their arguments live closed to {LIMIT:.0e}; torch "
        f"{about['torch']}, {results['date']}. Left out of the calls, since torch's "
        "samples do not show it: "
        + "; ".join(f"`{n}` ({why})" for n, why in UNREADABLE.items())
        + ".",
    ]
    for kind in KINDS:
        listed = [_entry(row) for row in rows if row["kind"] == kind]
        if listed:
            lines += ["", f"**{kind}**: {', '.join(listed)}"]
    return "\n".join(lines)


def _entry(row: dict[str, Any]) -> str:
    where = "; ".join(row["told"])
    return f"`{row['name']}`" + (f" ({where})" if where else "")


def main() -> None:
    """Run, save, and rewrite the table in this folder's page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rules", default="conservative")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--save", action="store_true", help="replace the results")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, context) as pool:
        one = partial(judged, rules=options.rules)
        rows = list(pool.map(one, sorted(names()), chunksize=10))
    results = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "environment": environment({"threads": 1}),
        "rules": options.rules,
        "functions": rows,
    }
    content = table(results)
    print(content)
    if options.save:
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        text = README.read_text(encoding="utf-8")
        README.write_text(report.put(text, "functions", content), encoding="utf-8")


if __name__ == "__main__":
    main()
