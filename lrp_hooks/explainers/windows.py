"""Texts in windows: what is asked of each window, and how the answers are joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.readout import Contrast
from ..results.explanation import Explanation
from ..results.joining import Joint, join
from ..tasks.documents import Reading, pose_documents
from ..texts.encoding import Encoded
from ..texts.spans import pieces_of_each, vocabulary_mark
from ..texts.windows import Document

__all__ = ["Windowed", "windowed"]


@dataclass(frozen=True, eq=False)
class Windowed:
    """Texts as a model reads them in windows.

    Attributes:
        reading: What is asked of each window.
        joints: How the windows of each example make a whole.
    """

    reading: Reading
    joints: list[Joint]

    def joined(self, found: Sequence[Explanation]) -> Explanation:
        """Join the answers.

        Args:
            found: One to each question, in their order.

        Returns:
            An explanation of the texts.
        """
        target: Any = self.reading.target
        if target is None:
            firsts, number = [], 0
            for joint in self.joints:
                firsts.append(found[number].target)
                number += len(joint.places)
            target = _together(firsts)
        return join(found, self.joints, target)


def windowed(
    model: nn.Module,
    tokenizer: Any,
    batch: Encoded,
    documents: Sequence[Document],
    target: Any,
    stride: int,
) -> Windowed:
    """Ask about texts that are read in windows.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        batch: All texts.
        documents: Each of them with its windows.
        target: See `explain`.
        stride: How many tokens neighbouring windows have in common.

    Returns:
        What is asked of the windows.
    """
    reading = pose_documents(model, tokenizer, batch, documents, target)
    mark = vocabulary_mark(tokenizer)
    joints = [
        _joint(documents[number], chosen, stride, mark)
        for number, chosen in reading.rows
    ]
    return Windowed(reading, joints)


def _joint(
    document: Document, chosen: list[int], stride: int, mark: str | None
) -> Joint:
    whole, windows = document.whole, document.windows
    return Joint(
        tokens=whole.tokens[0],
        special=whole.special[0],
        segments=None if whole.segments is None else whole.segments[0],
        pieces=pieces_of_each(whole, mark)[0],
        places=[windows[number].places for number in chosen],
        said={
            "count": len(windows),
            "stride": int(stride),
            "tokens": [[window.start, window.stop] for window in windows],
            "explained": chosen,
        },
    )


def _together(targets: list[Any]) -> Any:
    """Return what was explained in each example as the target of a batch."""
    if all(isinstance(each, Tensor) for each in targets):
        return torch.cat(targets)
    if all(isinstance(each, Contrast) for each in targets):
        sides = ([each.a for each in targets], [each.b for each in targets])
        return Contrast(*map(_together, sides))
    return targets[0]
