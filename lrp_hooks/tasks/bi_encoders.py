"""Bi-encoders: two texts by one encoder, and the similarity of their vectors.

The similarity of two vectors is linear in each of them. A side is explained with the
vector of the other held fixed, so its scores and sources sum to the similarity; that of
both is the mean of the two, since a product belongs to each of its factors by half.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ..errors import ArgumentError, TargetError, TextError
from ..texts.encoding import Encoded, encode
from ..texts.given import Text
from .asked import Asked, Posed
from .kinds import Task

__all__ = ["SentenceEncoder", "named_similarity", "pose_sides", "sentence_encoder"]

_SIMILARITIES = {"cosine": "cosine similarity", "dot": "dot product"}
_COMPARED = "compared_embedding"


class SentenceEncoder(nn.Module):
    """A sentence encoder that takes what its tokenizer returns as keyword arguments."""

    def __init__(self, encoder: nn.Module) -> None:
        """Remember the encoder.

        Args:
            encoder: A ``SentenceTransformer``, or a module like it.
        """
        super().__init__()
        self.encoder = encoder

    @property
    def max_seq_length(self) -> int | None:
        """How many tokens of a text the encoder reads; None where nothing says it."""
        return getattr(self.encoder, "max_seq_length", None)

    def forward(self, **features: Any) -> dict[str, Any]:
        """Encode texts.

        Args:
            **features: What the tokenizer returned, ``[B, T]`` each.

        Returns:
            What the encoder returns, of which ``"sentence_embedding"`` is ``[B, D]``;
            and with it the vector that similarities are products of.
        """
        output = dict(self.encoder(dict(features)))
        width = getattr(self.encoder, "truncate_dim", None)
        vector = output["sentence_embedding"][:, :width]
        if _similarity_of(self.encoder) == "cosine":
            # In the model, so that a rule set decides what becomes of the norm.
            vector = nn.functional.normalize(vector, dim=-1)
        return {**output, _COMPARED: vector}


def sentence_encoder(model: nn.Module) -> SentenceEncoder | None:
    """Tell a sentence encoder, which brings tokenizer and similarity, from others.

    Args:
        model: Any module.

    Returns:
        The encoder as a module that takes keyword arguments; None for another model.
    """
    reads = any(callable(getattr(model, n, None)) for n in ("preprocess", "tokenize"))
    brings = hasattr(model, "tokenizer") and hasattr(model, "similarity_fn_name")
    return SentenceEncoder(model) if reads and brings else None


def named_similarity(model: SentenceEncoder) -> str:
    """Name the similarity that an encoder was made for.

    Args:
        model: The encoder.

    Returns:
        Its name.

    Raises:
        ArgumentError: If it is no product of two vectors.
    """
    name = _similarity_of(model.encoder)
    if name not in _SIMILARITIES:
        raise ArgumentError(
            f"model.similarity_fn_name={name!r} is no product of two vectors, so it "
            "has no parts that belong to tokens; it must be "
            f"{' or '.join(map(repr, _SIMILARITIES))}. Set it to one of these."
        )
    return _SIMILARITIES[name]


def pose_sides(
    model: SentenceEncoder, tokenizer: Any, pairs: Sequence[Text], target: Any
) -> list[tuple[Posed, Posed]]:
    """Ask of each text of each pair what makes it similar to the other.

    Args:
        model: The encoder.
        tokenizer: Its tokenizer.
        pairs: Two texts each.
        target: Must be None.

    Returns:
        Of each pair the questions about its sides, one text each.

    Raises:
        TargetError: If there is a target.
        TextError: If there are single texts among the pairs.
    """
    if target is not None:
        raise TargetError(
            "target must be left out for a pair of texts, whose similarity is "
            "explained. A function of the encoder's output explains one text alone."
        )
    single = [number for number, pair in enumerate(pairs) if isinstance(pair, str)]
    if single:
        raise TextError(
            f"text {single[0] + 1} of {len(pairs)} is no pair, but others are. Pass a "
            "second text with each, (text, other), or with none."
        )
    _check_prompt(model.encoder)
    posed = []
    for number, pair in enumerate(pairs):
        which = f"pair {number + 1}" if len(pairs) > 1 else "the pair"
        posed.append(_sides(model, tokenizer, pair, which))
    return posed


def _sides(
    model: SentenceEncoder, tokenizer: Any, pair: Any, which: str
) -> tuple[Posed, Posed]:
    sides = []
    for number, text in enumerate(pair):
        try:
            side = encode(model, tokenizer, [text])
        except TextError as error:
            name = ("first", "second")[number]
            raise TextError(f"of {which}, its {name} text: {error}") from error
        segments = [[number] * len(side.tokens[0])]
        sides.append(replace(side, segments=segments))
    first, second = sides
    return (
        _posed(first, _vector(model, tokenizer, second)),
        _posed(second, _vector(model, tokenizer, first)),
    )


def _vector(model: SentenceEncoder, tokenizer: Any, side: Encoded) -> Tensor:
    asked = Asked(model, tokenizer, side.batch, side, None)
    vector: Tensor = asked.output[_COMPARED][0]
    return vector.detach()


def _posed(side: Encoded, other: Tensor) -> Posed:
    return Posed(side.batch, side, _similarity_to(other), Task.SIMILARITY)


def _similarity_to(other: Tensor) -> Callable[[Any], Tensor]:
    def similarity(output: Any) -> Tensor:
        product: Tensor = output[_COMPARED] @ other
        return product

    return similarity


def _similarity_of(encoder: nn.Module) -> str:
    name = getattr(encoder, "similarity_fn_name", None)
    return str(getattr(name, "value", name))


def _check_prompt(encoder: Any) -> None:
    """Refuse an encoder that reads more than the text that it is given."""
    name = getattr(encoder, "default_prompt_name", None)
    prompt = (getattr(encoder, "prompts", None) or {}).get(name)
    if prompt:
        raise ArgumentError(
            f"model.default_prompt_name={name!r} writes {prompt!r} before each text, "
            "which would have scores as well. Write it into the texts yourself, and "
            "set model.default_prompt_name = None."
        )
