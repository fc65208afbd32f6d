"""A circuit in a terminal: its strongest nodes, and what flows into them."""

from __future__ import annotations

from ..support.text import decimals, one_line, signed, visible
from ..views.circuit import Diagram, Flow
from .colour import ansi, level

__all__ = ["terminal"]

SHOWN = 20
"""Nodes that are listed."""
SOURCES = 3
"""Nodes that are named before each of them."""
_OWN = ("neuron", "head")
_KINDS = (
    (("token",), "token", "tokens"),
    (_OWN, "neuron or head", "neurons and heads"),
)


def terminal(shown: Diagram, colour: bool, width: int) -> str:
    """Write for a terminal.

    Args:
        shown: What there is to show.
        colour: Whether numbers stand on the colour of their relevance.
        width: Columns.

    Returns:
        What is explained, the strongest tokens, and the strongest neurons and heads,
        each with the nodes that most flows in from.
    """
    places = decimals(shown.output)
    terms = {"model": shown.model, "rules": shown.rules}
    lines = [f"{term}   {visible(name)}" for term, name in terms.items() if name]
    lines += [f"target  {visible(shown.target)}"] if shown.target else []
    lines += [f"output  {signed(shown.output, places)}"]
    scale = max((abs(spot.relevance) for spot in shown.spots[:-1]), default=0.0)
    into: dict[int, list[Flow]] = {}
    for flow in shown.flows:
        into.setdefault(flow.target, []).append(flow)
    for kinds, one, several in _KINDS:
        found = [n for n, spot in enumerate(shown.spots) if spot.kind in kinds]
        found.sort(key=lambda n: -abs(shown.spots[n].relevance))
        more = f", the strongest {SHOWN}" if len(found) > SHOWN else ""
        lines += ["", f"{len(found)} {one if len(found) == 1 else several}{more}"]
        for n in found[:SHOWN]:
            spot = shown.spots[n]
            number = signed(spot.relevance, places)
            said = one_line(f"{spot.title}{_from(shown, into.get(n, []))}", width - 12)
            if colour:
                number = ansi(number, level(spot.relevance, scale))
            lines.append(f"  {number}  {said}")
    return "\n".join(lines)


def _from(shown: Diagram, flows: list[Flow]) -> str:
    """Name the nodes that most flows in from."""
    sources = [shown.spots[flow.source] for flow in flows[:SOURCES]]
    names = [spot.label if spot.kind == "token" else spot.title for spot in sources]
    return f"  from {', '.join(names)}" if names else ""
