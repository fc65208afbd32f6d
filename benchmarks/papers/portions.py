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
    portions = [rows[start : start + size] for start in range(0, len(rows), size)]
    done = _read(path, asked)
    end = time.monotonic() + (float("inf") if minutes is None else 60 * minutes)
    for number in range(len(done), len(portions)):
        if time.monotonic() >= end:
            break
        found = measure(portions[number])
        done.append({
            k: [float(f"{v:.{DIGITS}g}") for v in vs] for k, vs in found.items()
        })
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(done[-1]) + "\n")
        print(path.stem, number + 1, "of", len(portions), flush=True)
    names = done[0] if done else {}
    return {
        name: torch.tensor([v for part in done for v in part[name]]).double()
        for name in names
    }


def _read(path: Path, asked: Mapping[str, Any]) -> list[dict[str, list[float]]]:
    """Return the portions that a file has, if they answer what is asked."""
    first = json.dumps({"asked": asked}, sort_keys=True)
    if path.exists():
        head, *lines = path.read_text(encoding="utf-8").splitlines()
        if head == first:
            return [json.loads(line) for line in lines]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(first + "\n", encoding="utf-8")
    return []
