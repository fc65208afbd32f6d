"""Measurements in portions of random examples, kept as they come.

A run that stops, by itself or not, has measured a random part of all examples, and the
next one goes on from there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["Found", "gathered", "shuffled"]

Found = Mapping[str, Sequence[float]]
"""Numbers of each example of a portion, by name."""
DIGITS = 7


def shuffled(number: int, most: int | None, seed: int) -> list[int]:
    """Choose examples at random.

    Args:
        number: How many there are.
        most: How many to take at most; None for all.
        seed: Of the order.

    Returns:
        Their rows; those of a smaller ``most`` are the first of a larger one.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(number, generator=generator).tolist()[:most]


def gathered(
    path: Path,
    asked: Mapping[str, Any],
    rows: Sequence[int],
    size: int,
    measure: Callable[[Sequence[int]], Found],
    minutes: float | None = None,
) -> dict[str, Tensor]:
    """Measure what is not measured yet.

    Args:
        path: A file of JSON lines, begun anew where it answers something else.
        asked: What decides the numbers, as JSON.
        rows: All examples, in the order in which they are measured.
        size: Of a portion.
        measure: Measures a portion.
        minutes: When to stop before the next portion; 0 measures nothing. Defaults to
            ``None``: never.

    Returns:
        ``{name: [n]}`` of the n examples that are measured, in the order of ``rows``.
    """
    first = json.dumps({"asked": asked}, sort_keys=True)
    found = _read(path, first)
    end = time.monotonic() + (float("inf") if minutes is None else 60 * minutes)
    while (count := _count(found)) < len(rows) and time.monotonic() < end:
        made = measure(rows[count : count + size])
        part = {k: [float(f"{v:.{DIGITS}g}") for v in vs] for k, vs in made.items()}
        if not found:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(first + "\n", encoding="utf-8")
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(part) + "\n")
        found = {k: [*found.get(k, []), *vs] for k, vs in part.items()}
        print(path.stem, _count(found), "of", len(rows), flush=True)
    return {k: torch.tensor(vs[: len(rows)]).double() for k, vs in found.items()}


def _count(found: Found) -> int:
    """Return how many examples are measured."""
    return len(next(iter(found.values()), ()))


def _read(path: Path, first: str) -> dict[str, list[float]]:
    """Return the numbers that a file has, if they answer what its first line asks."""
    found: dict[str, list[float]] = {}
    if path.exists():
        head, *lines = path.read_text(encoding="utf-8").splitlines()
        for part in map(json.loads, lines if head == first else []):
            found = {k: [*found.get(k, []), *vs] for k, vs in part.items()}
    return found
