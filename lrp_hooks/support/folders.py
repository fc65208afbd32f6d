"""What to do with the name of a folder where a model is wanted."""

from __future__ import annotations

from os import PathLike

__all__ = ["how_to_load"]

CLASSIFIER, WRITER = "AutoModelForSequenceClassification", "AutoModelForCausalLM"


def how_to_load(given: object, writes: bool = False) -> str:
    """Say how a model is loaded where its folder came in its place.

    Args:
        given: What came.
        writes: Whether a language model is wanted.

    Returns:
        A sentence after a space; ``""`` where no name of a folder came.
    """
    if not isinstance(given, str | PathLike):
        return ""
    kind = WRITER if writes else CLASSIFIER
    return (
        f" Load it: {kind}.from_pretrained(folder) of transformers, and its tokenizer, "
        "AutoTokenizer.from_pretrained(folder)."
    )
