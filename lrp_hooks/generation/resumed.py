"""Explanations that were interrupted, taken up again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..attribution.readout import Contrast
from ..errors import ArgumentError
from .explanation import GenerationExplanation
from .table import Table, known_rows
from .written import Written

__all__ = ["known_ids", "take_up"]

_COUNTED = ("read", "chunk", "forward_passes", "backward_passes", "gradient_bytes")


def known_ids(resume: object) -> list[int]:
    """Return what a model wrote before it was interrupted.

    Args:
        resume: See `explain_generation`.

    Returns:
        The ids of all generated tokens, those without a row last.

    Raises:
        ArgumentError: If it is no explanation of a model's tokens.
    """
    if not isinstance(resume, GenerationExplanation) or "words" in resume.meta:
        raise ArgumentError(
            f"resume is a {type(resume).__name__}; it must be the "
            "GenerationExplanation that an interrupted explain_generation() left "
            "(error.partial), not merged to words."
        )
    return [*_targets(resume.target).tolist(), *resume.meta.get("rest", [])]


def take_up(
    resume: GenerationExplanation,
    text: Written,
    others: Tensor | None,
    table: Table,
) -> None:
    """Enter the rows that are done.

    Args:
        resume: What was done.
        text: What is to be explained.
        others: The tokens of a contrast, [G].
        table: Takes the rows; its ``meta`` says the rule set.

    Raises:
        ArgumentError: If they are rows of something else.
    """
    ids, done = known_ids(resume), len(resume.output)
    prompt = [column.token for column in text.columns[: text.start]]
    known = resume.tokens[0][: resume.prompt] if resume.tokens else None
    rivals = resume.target.b if isinstance(resume.target, Contrast) else None
    same = {
        "prompt": known == prompt,
        "continuation": ids == text.generated,
        "contrast": _alike(rivals, None if others is None else others[:done]),
        "rules": resume.meta.get("rules") == table.meta["rules"],
    }
    other = [name for name, alike in same.items() if not alike]
    if other:
        raise ArgumentError(
            f"resume holds rows of another {other[0]}; pass the arguments that they "
            "were made with, or leave resume out."
        )
    width = text.start + done - 1
    assert isinstance(resume.scores, Tensor)
    table.enter(known_rows(resume.scores, resume.ledger, width))
    table.meta |= {k: resume.meta[k] for k in _COUNTED if k in resume.meta}


def _targets(target: Any) -> Tensor:
    found: Tensor = target.a if isinstance(target, Contrast) else target
    return found


def _alike(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return torch.equal(one.cpu(), other.cpu())
