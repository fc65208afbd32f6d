"""How long a text may be."""

from __future__ import annotations

from dataclasses import dataclass

from .refusal import Refusal

__all__ = ["Limit"]

MOST_CHARACTERS = 50  # for each token, which no written language comes near


@dataclass(frozen=True)
class Limit:
    """So many tokens, and what is said of more.

    Attributes:
        most: How many.
        what: What is too long then, up to the verb.
        who: Who does not explain it.
        advice: What to do.
    """

    most: int
    what: str
    who: str
    advice: str

    def check_text(self, text: str, more: int = 0) -> None:
        """Refuse what is too long in any case: a tokenizer is not troubled with it.

        Args:
            text: What is read.
            more: How many tokens come on top.
        """
        self._check(len(text.split()) + more, "words")
        self._check(len(text), "characters", each=MOST_CHARACTERS)

    def check_tokens(self, count: int) -> None:
        """Refuse more tokens.

        Args:
            count: How many there are.
        """
        self._check(count, "tokens")

    def _check(self, length: int, unit: str, each: int = 1) -> None:
        """Refuse more than ``most`` tokens of ``each`` units.

        Raises:
            Refusal: If there are more.
        """
        if length > self.most * each:
            raise Refusal(
                413,
                f"{self.what} {length:,} {unit}; {self.who} explains at most "
                f"{self.most} tokens (words or parts of words) at once. {self.advice}",
            )
