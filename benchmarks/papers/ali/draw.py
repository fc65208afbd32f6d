"""Draw what is conserved: ``python -m benchmarks.papers.ali.draw``.

The sum of relevance against the explained logit, a point a sentence of SST-2, for each
rule set, as the paper's figure does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...command import without_arguments
from ..page import results

HERE = Path(__file__).parent
SETTING, WHERE = "sst2", "embedding LayerNorm"
METHODS = ("GI", "LRP (AH)", "LRP (LN)", "LRP (AH+LN)")
FIGURE = HERE / "conservation.png"


def main() -> None:
    """Draw the figure from the results, if they have what it shows."""
    found = results(HERE).get(SETTING)
    if found is not None:
        draw(found["conservation"], FIGURE)


def draw(conserved: dict[str, Any], path: Path) -> None:
    """Draw one panel a method.

    Args:
        conserved: ``"output"`` and ``"sum | method @ read-out"``, a number an example.
        path: Where to.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 2.8), layout="constrained")
    panels = figure.subplots(1, len(METHODS), sharex=True, sharey=True)
    output = conserved["output"]
    ends = min(output), max(output)
    for axes, method in zip(panels, METHODS, strict=True):
        axes.plot(ends, ends, color="0.6", linewidth=0.8)
        axes.plot(output, conserved[f"sum | {method} @ {WHERE}"], ".", markersize=2)
        axes.set_title(method, fontsize=10)
        axes.set_xlabel("logit")
    panels[0].set_ylabel("sum of relevance")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    without_arguments(__doc__)
    main()
