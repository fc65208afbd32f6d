"""A circuit as a flow diagram: tokens below, layers above, the output on top.

Without any script: the style sheet shows what flows into and out of the node that is
pointed at, or that has the keyboard's focus, and its numbers beside it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from ..support.text import decimals, escape, one_line, signed
from ..views.circuit import Diagram, Flow, Spot
from .circuit_text import terminal
from .colour import NEGATIVE, POSITIVE, hex_code
from .document import isolated, styled

__all__ = ["fragment", "terminal"]

DRAWN = 400
"""Flows that are drawn at most; all count in the numbers."""
LISTED = 6
"""Flows that are listed on either side of a node."""
PER_LINE = 3
"""Nodes of one place that stand beside each other."""
HIGH, LOW, LEFT, TOP = 54, 26, 90, 30
NODE_WIDTH, NODE_HEIGHT = 44, 18
THICK = 12.0

_Cells = dict[tuple[int, float], list[int]]

_STYLE = f"""
.lrp-hooks .circuit {{ overflow: auto; max-width: 100%; max-height: 80vh }}
.lrp-hooks:has(.circuit) {{ max-width: none }}
.lrp-hooks .circuit svg {{ display: block; font: 11px system-ui, sans-serif }}
.lrp-hooks .circuit path {{ fill: none; opacity: .45; pointer-events: none }}
.lrp-hooks .circuit .p {{ stroke: {hex_code(POSITIVE)} }}
.lrp-hooks .circuit .n {{ stroke: {hex_code(NEGATIVE)} }}
.lrp-hooks .circuit rect {{ fill: var(--bg); stroke: var(--soft); stroke-width: 1.5 }}
.lrp-hooks .circuit .pos rect {{ stroke: {hex_code(POSITIVE)} }}
.lrp-hooks .circuit .neg rect {{ stroke: {hex_code(NEGATIVE)} }}
.lrp-hooks .circuit .rest rect, .lrp-hooks .circuit .constant rect
  {{ stroke-dasharray: 3 2 }}
.lrp-hooks .circuit text {{ fill: var(--fg); text-anchor: middle;
  dominant-baseline: central; pointer-events: none }}
.lrp-hooks .circuit .row {{ fill: var(--soft); text-anchor: start }}
.lrp-hooks .circuit g.v {{ cursor: pointer; outline: none }}
.lrp-hooks .circuit g.v:is(:hover, :focus) rect {{ stroke-width: 3.5 }}
.lrp-hooks .circuit svg:has(g.v:is(:hover, :focus)) path {{ opacity: .04 }}
.lrp-hooks .panels {{ min-height: 15em; font-size: .9em }}
.lrp-hooks .panels > div {{ display: none }}
.lrp-hooks .panels .sides {{ display: flex; gap: 3em; flex-wrap: wrap }}
"""


def fragment(shown: Diagram) -> str:
    """Write a part of a page.

    Args:
        shown: What there is to show.

    Returns:
        One ``div`` that brings its own style.
    """
    own = f"u{hashlib.sha256(repr(shown).encode('utf-8', 'replace')).hexdigest()[:8]}"
    drawn = [flow for flow in shown.flows if _is_drawn(shown, flow)][:DRAWN]
    left = len(shown.flows) - len(drawn)
    rest = f" The {len(drawn)} strongest flows are drawn of {len(shown.flows)}."
    return styled(
        f"<style>{' '.join(_STYLE.split())}{_rules(shown, drawn, own)}</style>"
        f'<div class="{own}"><p>{_head(shown)}</p>'
        '<p class="soft">Relevance flows from the tokens below to the output on top; '
        "widths are its size, vermilion speaks for the output and blue against it. "
        f"Point at a node for what flows into it and out of it.{rest if left else ''}"
        f'</p><div class="panels">{_panels(shown)}</div>'
        f'<div class="circuit" role="region" aria-label="circuit" tabindex="0">'
        f"{_drawing(shown, drawn)}</div></div>"
    )


def _head(shown: Diagram) -> str:
    terms = {"model": shown.model, "rules": shown.rules, "target": shown.target}
    known = [
        f'<span class="soft">{term}</span> {isolated(name)}'
        for term, name in terms.items()
        if name
    ]
    output = signed(shown.output, decimals(shown.output))
    return " ".join([*known, f'<span class="soft">output</span> {output}'])


def _is_drawn(shown: Diagram, flow: Flow) -> bool:
    """Leave out what is too thin to be seen."""
    return abs(flow.flow) > 1e-3 * (abs(shown.flows[0].flow) or 1.0)


def _rules(shown: Diagram, drawn: Sequence[Flow], own: str) -> str:
    """Write which flows and which panel show when which node is pointed at."""
    # Where none is pointed at, the output, which comes last, shows.
    idle = f".{own}:not(:has(.v:is(:hover,:focus)))"
    found = [f"{idle} .d{len(shown.spots) - 1}{{display:block}}"]
    for number in range(len(shown.spots)):
        at = f".{own}:has(.v{number}:is(:hover,:focus))"
        found.append(f"{at} .d{number}{{display:block}}")
        found.append(f"{at} .e{number}{{opacity:.9!important}}")
    return "".join(found)


def _places(shown: Diagram) -> list[tuple[float, float]]:
    """Return where each node stands: those of one place beside each other."""
    cells: dict[tuple[int, float], list[int]] = defaultdict(list)
    for number, spot in enumerate(shown.spots):
        cells[spot.row, spot.column].append(number)
    starts, tops = _starts(cells), _tops(shown, cells)
    places = [(0.0, 0.0)] * len(shown.spots)
    for (row, column), members in cells.items():
        for i, number in enumerate(members):
            line, place = divmod(i, PER_LINE)
            x = starts[column] + place * (NODE_WIDTH + 6) + NODE_WIDTH / 2
            places[number] = x, tops[row] + line * (NODE_HEIGHT + 5)
    return places


def _starts(cells: _Cells) -> dict[float, float]:
    """Return where each column begins."""
    widths: dict[float, int] = defaultdict(int)
    for (_, column), members in cells.items():
        widths[column] = max(widths[column], min(len(members), PER_LINE))
    starts, x = {}, float(LEFT)
    for column in sorted(widths):
        starts[column] = x
        x += widths[column] * (NODE_WIDTH + 6) + 14
    return starts


def _tops(shown: Diagram, cells: _Cells) -> dict[int, float]:
    """Return where each row begins; one without kept nodes is low."""
    lines, low = [1] * len(shown.rows), [True] * len(shown.rows)
    for (row, _), members in cells.items():
        lines[row] = max(lines[row], -(-len(members) // PER_LINE))
        low[row] &= all(shown.spots[n].kind == "rest" for n in members)
    tops, y = {}, float(TOP)
    for row in reversed(range(len(shown.rows))):
        tops[row] = y
        y += LOW if low[row] else HIGH + (lines[row] - 1) * (NODE_HEIGHT + 5)
    return tops


def _drawing(shown: Diagram, drawn: Sequence[Flow]) -> str:
    """Return the picture."""
    places = _places(shown)
    width = max(x for x, _ in places) + NODE_WIDTH
    height = max(y for _, y in places) + TOP
    scale = max((abs(flow.flow) for flow in drawn), default=1.0)
    paths = "".join(_path(flow, places, scale) for flow in reversed(drawn))
    nodes = "".join(_node(shown, n, places[n]) for n in range(len(shown.spots)))
    lines = {spot.row: places[n][1] for n, spot in reversed([*enumerate(shown.spots)])}
    rows = "".join(
        f'<text class="row" x="4" y="{lines[row]:.0f}">{escape(name)}</text>'
        for row, name in enumerate(shown.rows)
        if row in lines
    )
    return (
        f'<svg width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}">{rows}{paths}{nodes}</svg>'
    )


def _path(flow: Flow, places: Sequence[tuple[float, float]], scale: float) -> str:
    (x, y), (u, v) = places[flow.source], places[flow.target]
    y, v = y - NODE_HEIGHT / 2, v + NODE_HEIGHT / 2
    bend = max(20.0, (y - v) / 2)
    size = max(0.4, THICK * abs(flow.flow) / scale)
    kind = "p" if flow.flow > 0 else "n"
    return (
        f'<path class="{kind} e{flow.source} e{flow.target}" stroke-width="{size:.2f}" '
        f'd="M{x:.0f} {y:.0f}C{x:.0f} {y - bend:.0f} {u:.0f} {v + bend:.0f} '
        f'{u:.0f} {v:.0f}"/>'
    )


def _node(shown: Diagram, number: int, place: tuple[float, float]) -> str:
    spot, (x, y) = shown.spots[number], place
    sign = "pos" if spot.relevance > 0 else "neg" if spot.relevance < 0 else "none"
    label = one_line(spot.label, 7)
    return (
        f'<g class="v v{number} {sign} {spot.kind}" tabindex="0" role="img" '
        f'aria-label="{escape(_summary(shown, spot))}">'
        f'<rect x="{x - NODE_WIDTH / 2:.0f}" y="{y - NODE_HEIGHT / 2:.0f}" '
        f'width="{NODE_WIDTH}" height="{NODE_HEIGHT}" rx="4"/>'
        f'<text x="{x:.0f}" y="{y:.0f}">{escape(label)}</text></g>'
    )


def _summary(shown: Diagram, spot: Spot) -> str:
    places = decimals(shown.output)
    at = spot.activation
    active = "" if at is None else f", activation {signed(at, decimals(at))}"
    return f"{spot.title}: relevance {signed(spot.relevance, places)}{active}"


def _panels(shown: Diagram) -> str:
    """Return the numbers of every node, which show when it is pointed at."""
    into: dict[int, list[Flow]] = defaultdict(list)
    out: dict[int, list[Flow]] = defaultdict(list)
    for flow in shown.flows:
        into[flow.target].append(flow)
        out[flow.source].append(flow)
    return "".join(
        f'<div class="d{n}"><b>{isolated(_summary(shown, spot))}</b>'
        f'<div class="sides">{_side(shown, "in", into[n], True)}'
        f"{_side(shown, 'out', out[n], False)}</div></div>"
        for n, spot in enumerate(shown.spots)
    )


def _side(shown: Diagram, name: str, flows: Sequence[Flow], source: bool) -> str:
    """Return the strongest flows on one side of a node, and their sum."""
    if not flows:
        return ""
    places = decimals(shown.output)
    rows = "".join(
        f'<tr><th scope="row">{isolated(shown.spots[n].title)}</th>'
        f"<td>{signed(flow.flow, places)}</td></tr>"
        for flow in flows[:LISTED]
        for n in [flow.source if source else flow.target]
    )
    more = len(flows) - LISTED
    if more > 0:
        left = sum(flow.flow for flow in flows[LISTED:])
        rows += (
            f'<tr><th scope="row">{more} more</th><td>{signed(left, places)}</td></tr>'
        )
    total = signed(sum(flow.flow for flow in flows), places)
    return (
        f"<table><caption>{name}</caption>{rows}"
        f'<tr class="sum"><th scope="row">sum</th><td>{total}</td></tr></table>'
    )
