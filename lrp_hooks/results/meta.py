"""What is known of an explanation besides its numbers."""

from __future__ import annotations

from typing import TypedDict

__all__ = ["Meta"]


class Meta(TypedDict, total=False):
    """The keys of ``meta`` that are shown; others are for those who wrote them.

    Attributes:
        special: Of each example, whether each token is special.
        labels: The names of classes or tokens.
        subwords: The mark by which the tokenizer tells parts of words.
        pieces: Of each example, the text that each token stands for, white space
            included.
        segments: Of each example, which text of a pair each token is of.
        choices: Of each example, the tokens of each choice; ``special`` has flags of
            each choice then.
        boxes: Where in each picture what is explained lies: left, top, right and bottom
            as shares of its width and height.
        patches: Height and width of the model's own patches, in pixels, of each input
            that is an image.
        sounds: What each entry of an input is that goes on in time: ``"samples"`` or
            ``"frames"``.
        seconds: How long each entry of such an input is, where that is known.
        task: What the model's output was taken for.
        extra: Names of columns behind the tokens.
        rules: The rule set.
        class_specific: Whether scores are those of the target; where not, the target
            only says which output is reported.
        additive: Whether scores sum to what they should, of methods that can make
            sizes of them.
        prediction: What the model says of each example.
        convergence_delta: The sum of each example's scores less what it should be,
            where methods integrate.
    """

    special: list[list[bool]] | list[list[list[bool]]] | None
    labels: dict[int, str]
    subwords: str | None
    pieces: list[list[str]] | None
    segments: list[list[int]] | None
    choices: list[list[list[str]]]
    boxes: list[list[float]]
    sounds: dict[str, str]
    seconds: dict[str, float]
    patches: dict[str, list[int]]
    task: str
    extra: list[str]
    rules: str
    class_specific: bool
    additive: bool
    prediction: list[str]
    convergence_delta: list[float]
