"""Turn results into the tables of the pages: ``python -m benchmarks.cost.report``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..command import without_arguments
from .methods import FORWARD, GRADIENT, TRAINABLE, attribute_name
from .timing import median_ratio

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results.json")
EDGES = Path(__file__).with_name("edges_results.json")
ATTENTION = Path(__file__).with_name("attention_results.json")
MAIN = attribute_name("conservative")
PRODUCTS = "two products"
FROZEN = "backward, frozen"
PLAIN = "backward, gradient"
LOW_MEMORY = "attribute low_memory"
INSTRUMENT = "instrument and remove"
MEBIBYTE = 2**20
WORST = 3  # cases that the README shows
FORWARD_TARGET = "bert-base 1x128"
MEMORY_NOTE = "Peak memory over the loaded model:"

Entry = dict[str, Any]
Results = dict[str, Any]


def main() -> None:
    """Rewrite the tables of both pages."""
    for path, name, table in documents(*saved()):
        text = put(path.read_text(encoding="utf-8"), name, table)
        path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {name}")


def saved() -> tuple[Results, Results, Results]:
    """Read what `run`, `edges` and `attention` saved."""
    paths = (RESULTS, EDGES, ATTENTION)
    found = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    return found[0], found[1], found[2]


def documents(
    results: Results, at_edges: Results, attending: Results
) -> list[tuple[Path, str, str]]:
    """List every generated part of a document.

    Args:
        results: What a run saved.
        at_edges: What a run of `edges` saved.
        attending: What a run of `attention` saved.

    Returns:
        Path, name of the markers, and Markdown of each.
    """
    return [
        (ROOT / "README.md", "cost-summary", summary(results, at_edges)),
        (Path(__file__).with_name("README.md"), "cost", details(results)),
        (Path(__file__).with_name("README.md"), "edges", edges(at_edges)),
        (Path(__file__).with_name("README.md"), "attention", attention(attending)),
    ]


def put(text: str, name: str, content: str) -> str:
    """Replace what stands between two markers.

    Args:
        text: The document.
        name: The markers are ``<!-- name:begin -->`` and ``<!-- name:end -->``.
        content: The Markdown to put between them.

    Returns:
        The document with the new content.

    Raises:
        ValueError: If the document does not have each marker exactly once.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"text: needs {begin} and {end} once each; add them first.")
    head, rest = text.split(begin)
    return f"{head}{begin}\n\n{content}\n\n{end}{rest.split(end)[1]}"


def summary(results: Results, at_edges: Results) -> str:
    """Write where the default rule set is dearest, for the main README.

    Args:
        results: What a run saved.
        at_edges: What a run of `edges` saved.

    Returns:
        A table of the cases with the largest CPU time of Gradient x Input, how often
        each target was met, and where the numbers were taken.
    """
    columns = {
        "CPU time, forward passes": lambda entry: time_ratio(entry, MAIN, FORWARD),
        "CPU time, of Gradient x Input": lambda entry: time_ratio(
            entry, MAIN, GRADIENT
        ),
        "peak memory, of Gradient x Input": lambda entry: (
            peak_ratio(entry, MAIN) if "peak_bytes" in entry else None
        ),
    }
    cases = {**results["cases"], **timed(at_edges)["cases"]}
    by_cost = sorted(cases, key=lambda name: against_gradient(MAIN)(cases[name]))
    dearest = {name: cases[name] for name in by_cost[: -WORST - 1 : -1]}
    parts = [
        f"The {len(dearest)} dearest of {len(cases)} cases:",
        table({"cases": dearest}, columns),
        targets({"cases": cases}),
        environment(results),
        f"Fewer than 32 tokens, more than 512: {environment(at_edges)}",
    ]
    return "\n\n".join(parts)


def edges(results: Results) -> str:
    """Write what short and narrow cases cost, for this folder's page.

    Args:
        results: What a run of `edges` saved.

    Returns:
        One table, and where the numbers were taken.
    """
    columns = {
        "forward, ms": lambda entry: 1000 * min(entry["seconds"][FORWARD]),
        "GxI / forward": lambda entry: time_ratio(entry, GRADIENT, FORWARD),
        "conservative / forward": lambda entry: time_ratio(entry, MAIN, FORWARD),
        "conservative / GxI": against_gradient(MAIN),
        "low_memory / GxI": against_gradient(LOW_MEMORY),
        "instrument + remove, ms a hundred modules": lambda entry: (
            1e5 * min(entry["seconds"][INSTRUMENT]) / entry["modules"]
        ),
    }
    parts = [table(timed(results), columns)]
    weighed = {n: e for n, e in results["cases"].items() if "peak_bytes" in e}
    if weighed:
        parts += [MEMORY_NOTE, table({"cases": weighed}, EDGE_PEAKS)]
    return "\n\n".join([*parts, environment(results)])


def attention(results: Results) -> str:
    """Write what attention's backward pass costs beside its products.

    Args:
        results: What a run of `attention` saved.

    Returns:
        One table, and where the numbers were taken.
    """
    columns = {
        "kernel, ms": lambda entry: 1000 * min(entry["seconds"][FORWARD]),
        "two products / kernel": lambda entry: time_ratio(entry, PRODUCTS, FORWARD),
        "frozen / two products": lambda entry: time_ratio(entry, FROZEN, PRODUCTS),
        "gradient / two products": lambda entry: time_ratio(entry, PLAIN, PRODUCTS),
    }
    return "\n\n".join([table(results, columns), environment(results)])


def timed(results: Results) -> Results:
    """Keep the cases whose time was measured."""
    found = {n: e for n, e in results["cases"].items() if "seconds" in e}
    return results | {"cases": found}


def details(results: Results) -> str:
    """Write every method's cost, for this folder's page."""
    rules = [attribute_name(name) for name in results["config"]["rules"]]
    time = {
        "forward, s": lambda entry: min(entry["seconds"][FORWARD]),
        "GxI / forward": lambda entry: time_ratio(entry, GRADIENT, FORWARD),
        "GxI trainable / GxI": lambda entry: time_ratio(entry, TRAINABLE, GRADIENT),
        f"{label(MAIN)} / forward": lambda entry: time_ratio(entry, MAIN, FORWARD),
        **{f"{label(name)} / GxI": against_gradient(name) for name in rules},
    }
    peak = {
        "GxI, MiB": lambda entry: entry["peak_bytes"][GRADIENT] / MEBIBYTE,
        "forward / GxI": lambda entry: peak_ratio(entry, FORWARD),
        "GxI trainable / GxI": lambda entry: peak_ratio(entry, TRAINABLE),
        f"{label(MAIN)} / forward": lambda entry: peak_ratio(entry, MAIN, FORWARD),
        **{f"{label(name)} / GxI": peak_of(name) for name in rules},
    }
    parts = [
        "CPU time (GxI is Gradient x Input):",
        table(results, time),
        MEMORY_NOTE,
        table(results, peak),
        targets(results),
        environment(results),
    ]
    return "\n\n".join(parts)


def table(
    results: Results, columns: Mapping[str, Callable[[Entry], float | None]]
) -> str:
    """Write one Markdown table with a row for each case.

    Args:
        results: What a run saved.
        columns: Heading and number of each column; None where none was taken.

    Returns:
        The table, three significant digits a number.
    """
    head = ["model", "batch x tokens", *columns]
    rows = [
        [entry["model"], f"{entry['batch']} x {entry['length']}"]
        + [number(column(entry)) for column in columns.values()]
        for entry in results["cases"].values()
    ]
    rule = ["---", "---", *["---:"] * len(columns)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *rows])


def targets(results: Results) -> str:
    """Say in how many cases the default rule set is no dearer than its targets."""
    entries = list(results["cases"].values())
    lines = [
        verdict("CPU time", entries, against_gradient(MAIN)),
        verdict(
            "peak memory", [e for e in entries if "peak_bytes" in e], peak_of(MAIN)
        ),
    ]
    entry = results["cases"].get(FORWARD_TARGET)
    if entry is not None:
        ratio = time_ratio(entry, MAIN, FORWARD)
        lines.append(f"* {FORWARD_TARGET}: {ratio:.2f} forward passes (target: 2.00).")
    return "\n".join(lines)


def verdict(
    what: str, entries: Iterable[Entry], ratio: Callable[[Entry], float]
) -> str:
    """Write one line: how often at most 1.00 of Gradient x Input, and the worst.

    Args:
        what: What is compared.
        entries: The cases.
        ratio: The number of a case.

    Returns:
        A Markdown list item. Ratios count as printed, to two decimals.
    """
    values = {f"{e['model']} {e['batch']} x {e['length']}": ratio(e) for e in entries}
    met = sum(round(value, 2) <= 1 for value in values.values())
    worst = max(values, key=values.__getitem__)
    return (
        f"* {what}: at most 1.00 of Gradient x Input in {met} of {len(values)} cases; "
        f"the largest is {values[worst]:.2f} ({worst})."
    )


def environment(results: Results) -> str:
    """Say where and how the numbers were taken."""
    about = results["environment"]
    cores = f"{about['threads']} thread of {about['cores']} cores"
    found = timed(results)["cases"].values()
    rounds = [len(entry["seconds"][FORWARD]) for entry in found]
    return (
        f"float32, {cores} of {about['cpu']}; Python {about['python']}, torch "
        f"{about['torch']}, transformers {about['transformers']}, lrp_hooks "
        f"{about['lrp_hooks']}; medians of per-round ratios, {min(rounds)} to "
        f"{max(rounds)} interleaved rounds a case; {results['date']}."
    )


def time_ratio(entry: Entry, method: str, base: str) -> float:
    """Median ratio of the CPU seconds of two methods."""
    return median_ratio(entry["seconds"], method, base)


def peak_ratio(entry: Entry, method: str, base: str = GRADIENT) -> float:
    """Ratio of the peaks of two methods."""
    peaks = entry["peak_bytes"]
    return float(peaks[method] / peaks[base])


def against_gradient(method: str) -> Callable[[Entry], float]:
    """Column of a method's time beside Gradient x Input."""
    return lambda entry: time_ratio(entry, method, GRADIENT)


def peak_of(method: str) -> Callable[[Entry], float]:
    """Column of a method's peak beside Gradient x Input."""
    return lambda entry: peak_ratio(entry, method)


EDGE_PEAKS: dict[str, Callable[[Entry], float | None]] = {
    "GxI, MiB": lambda entry: entry["peak_bytes"][GRADIENT] / MEBIBYTE,
    "conservative, MiB": lambda entry: entry["peak_bytes"][MAIN] / MEBIBYTE,
    "low_memory, MiB": lambda entry: entry["peak_bytes"][LOW_MEMORY] / MEBIBYTE,
    "conservative / GxI": peak_of(MAIN),
    "low_memory / GxI": peak_of(LOW_MEMORY),
}


def label(method: str) -> str:
    """Shorten a method's name for a heading: its rule set."""
    return method.removeprefix("attribute ")


def number(value: float | None) -> str:
    """Print a number: two decimals below ten, none above; a dash for none."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 10 else f"{value:.2f}"


if __name__ == "__main__":
    without_arguments(__doc__)
    main()
