"""Terms of a sum as bars, for tables on a page."""

from __future__ import annotations

from collections.abc import Sequence

from ..support.text import signed
from .colour import LEVELS, class_name
from .document import isolated

__all__ = ["terms_html"]


def terms_html(terms: Sequence[tuple[str, float]], places: int) -> str:
    """Write rows of a name, a number and a bar to the left or right of zero.

    Args:
        terms: Names and numbers.
        places: Decimals of the numbers.

    Returns:
        Rows of a table in a `styled` fragment.
    """
    largest = max((abs(value) for _, value in terms), default=0.0) or 1.0
    return "".join(
        f'<tr><th scope="row">{isolated(name)}</th><td>{signed(value, places)}</td>'
        f'<td><span class="track">{_bar(value / largest)}</span></td></tr>'
        for name, value in terms
    )


def _bar(share: float) -> str:
    """Return a bar; ``share`` is from -1 to 1."""
    width = min(abs(share), 1.0) * 50
    left = 50 - width if share < 0 else 50
    step = class_name(LEVELS if share > 0 else -LEVELS)
    return (
        f'<span class="bar {step}" style="left:{left:.2f}%;width:{width:.2f}%"></span>'
    )
