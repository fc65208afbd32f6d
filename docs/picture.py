"""Draw the README's picture: ``python docs/picture.py``."""

import sys
from pathlib import Path

import matplotlib

from lrp_hooks import explain
from lrp_hooks.sentiment import sentiment_model

TEXT = "a gripping, funny film with a weak ending"
PATH = Path(__file__).resolve().parent / "_static" / "explanation.svg"


def draw(path: Path) -> None:
    """Explain the README's sentence, and draw that.

    Args:
        path: Where the SVG is written: the same bytes whenever it is drawn.
    """
    model, tokenizer = sentiment_model()
    figure = explain(model, TEXT, tokenizer=tokenizer).plot()
    with matplotlib.rc_context({"svg.hashsalt": "lrp_hooks"}):
        figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else PATH)
