"""The two sides of a similarity: each text is explained, and both are joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ArgumentError
from ..results.explanation import Explanation
from ..results.joining import Joint, join
from ..tasks import Posed
from ..tasks.bi_encoders import SentenceEncoder, named_similarity, pose_sides
from ..texts.encoding import Encoded
from ..texts.given import Text
from ..texts.spans import pieces_of_each, vocabulary_mark

__all__ = ["Sides", "check_encodes", "sides"]


@dataclass(frozen=True, eq=False)
class Sides:
    """Pairs of texts as an encoder reads them, one by one.

    Attributes:
        posed: What is asked of each text, those of a pair together.
        joints: How the texts of each pair make a whole.
        similarity: The name of what is explained.
    """

    posed: list[Posed]
    joints: list[Joint]
    similarity: str

    def joined(self, found: Sequence[Explanation]) -> Explanation:
        """Join the answers.

        Args:
            found: One to each question, in their order.

        Returns:
            An explanation of the pairs: each side has half of what it has alone.
        """
        return join(found, self.joints, self.similarity, parts="sides")


def sides(
    model: SentenceEncoder, tokenizer: Any, pairs: Sequence[Text], target: Any
) -> Sides:
    """Ask about the similarity of texts.

    Args:
        model: The encoder.
        tokenizer: Its tokenizer.
        pairs: Two texts each.
        target: See `explain`.

    Returns:
        What is asked of each text.
    """
    similarity = named_similarity(model)
    asked = pose_sides(model, tokenizer, pairs, target)
    mark = vocabulary_mark(tokenizer)
    return Sides(
        posed=[posed for pair in asked for posed in pair],
        joints=[_joint([_encoded(posed) for posed in pair], mark) for pair in asked],
        similarity=similarity,
    )


def check_encodes(prompts: object, stride: object) -> None:
    """Refuse what a model that makes a vector of a text cannot be asked.

    Args:
        prompts: Prompts with choices, or None.
        stride: See `explain`.

    Raises:
        ArgumentError: If there are choices, or a stride.
    """
    if prompts is not None:
        raise ArgumentError(
            "the inputs are a text with a list of others, but a sentence encoder "
            "compares two texts. Pass a list of pairs: [(text, other), ...]."
        )
    if stride is not None:
        raise ArgumentError(
            f"stride={stride!r} reads a text in windows, but a sentence encoder makes "
            "one vector of a text. Leave stride= out, and shorten the text."
        )


def _encoded(posed: Posed) -> Encoded:
    assert posed.encoded is not None
    return posed.encoded


def _joint(pair: Sequence[Encoded], mark: str | None) -> Joint:
    tokens, others = (side.tokens[0] for side in pair)
    (*pieces, last), own = (pieces_of_each(side, mark)[0] for side in pair)
    length = len(tokens)
    return Joint(
        tokens=[*tokens, *others],
        special=[flag for side in pair for flag in side.special[0]],
        segments=[n for side in pair for n in (side.segments or [[]])[0]],
        pieces=[*pieces, f"{last}\n", *own],  # the second begins a line of its own
        places=[list(range(length)), list(range(length, length + len(others)))],
        said={"tokens": [[0, length], [length, length + len(others)]]},
    )
