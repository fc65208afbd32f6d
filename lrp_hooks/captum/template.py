"""Which token of a filled template belongs to which segment."""

from __future__ import annotations

import re
from typing import Any

import torch
from captum.attr import TextTemplateInput
from torch import Tensor

from ..errors import ArgumentError

__all__ = ["segments"]

_OPEN, _CLOSE = "\ue000", "\ue001"  # private use: no text has them


def segments(inp: TextTemplateInput, tokenizer: Any) -> Tensor:
    """Find the share of each token that belongs to each feature of a template.

    Args:
        inp: The template and its values.
        tokenizer: A tokenizer that tells where tokens stand in the text.

    Returns:
        [T, features]: rows sum to 1, or are 0 for text outside all segments; a token
        across segments is shared by characters.

    Raises:
        ArgumentError: If the tokenizer does not tell.
    """
    text: str = inp.to_model_input()
    if not getattr(tokenizer, "is_fast", False):
        raise ArgumentError(
            f"{type(tokenizer).__name__} does not tell where its tokens stand in the "
            "text; take the model's fast tokenizer, or a TextTokenInput."
        )
    places = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    features = _features(inp, text)
    shares = torch.zeros(len(places), inp.n_itp_features, dtype=torch.float64)
    for row, (start, end) in zip(shares, places, strict=True):
        for feature in features[start:end]:
            if feature is not None:
                row[feature] += 1
    return shares / shares.sum(1, keepdim=True).clamp(min=1)


def _features(inp: TextTemplateInput, text: str) -> list[int | None]:
    """Return the feature that each character of the filled template belongs to."""
    marked = [f"{_OPEN}{i}{_OPEN}{value}{_CLOSE}" for i, value in enumerate(inp.values)]
    filled = (
        inp.format_fn(**dict(zip(inp.dict_keys, marked, strict=True)))
        if inp.dict_keys
        else inp.format_fn(*marked)
    )
    found: list[int | None] = []
    parts = re.split(f"{_OPEN}(\\d+){_OPEN}|{_CLOSE}", filled)
    for part, opened in zip(parts[::2], [None, *parts[1::2]], strict=True):
        feature = None if opened is None else int(opened)
        if feature is not None and inp.mask is not None:
            feature = inp.formatted_mask[feature]
        found += [feature] * len(part)
    plain = "".join(parts[::2])
    if plain != text:
        raise ArgumentError(
            "inp is a template that changes its values, so it does not show where they "
            "stand in the text; put them in as they are, or take a TextTokenInput."
        )
    return found
