"""Explanations of windows joined to one of the text that the windows were cut from.

The two texts of a similarity are joined like windows that have no token in common.

All is a mean over the windows of an example, so that what adds up in each window adds
up in the whole: a token has the sum of its scores divided by the number of windows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from ..errors import ArgumentError
from .explanation import Explanation
from .ledger import Ledger, wide
from .relevance import Relevance

__all__ = ["Joint", "join"]

_OF_TOKENS = ("special", "segments", "pieces")
_COUNTED = "model_calls"


@dataclass(frozen=True, eq=False)
class Joint:
    """How the windows of one example make a whole.

    Attributes:
        tokens: The whole's tokens.
        special: Did the tokenizer add the token?
        segments: Which text of a pair each token is of; None where there is one text.
        pieces: The text that each token stands for.
        places: For each explained window the position of each of its tokens.
        said: What ``.meta["windows"]``, or what takes its place, says of the windows.
    """

    tokens: list[str]
    special: list[bool]
    segments: list[int] | None
    pieces: list[str]
    places: list[list[int]]
    said: dict[str, Any]


def join(
    found: Sequence[Explanation],
    joints: Sequence[Joint],
    target: Any,
    parts: str = "windows",
) -> Explanation:
    """Join explanations of windows.

    Args:
        found: Of one window each, those of an example together.
        joints: How the windows of each example make a whole.
        target: What was explained, by the positions of the whole.
        parts: What ``.meta`` calls the windows. Defaults to ``"windows"``.

    Returns:
        One explanation with a row for each joint: `Relevance` where all are, so that
        the ledger is the mean of the windows' ledgers; otherwise the scores alone.

    Raises:
        ArgumentError: If windows explain several outputs, or something that is neither
            by token nor of one shape in all windows.
    """
    if any(each.output.ndim != 1 for each in found):
        raise ArgumentError(
            "windows are joined for one output, and target='all' explains all. Pass "
            "one class."
        )
    fold = _Fold(joints, found[0].meta.get("extra", ()))
    output = fold.mean("output", [each.output for each in found])
    lengths = torch.tensor([len(joint.tokens) for joint in joints])
    known = found[0].tokens is not None
    fields: dict[str, Any] = {
        "scores": fold.all("scores", [each.scores for each in found]),
        "output": output,
        "target": target,
        "method": found[0].method,
        "tokens": [joint.tokens for joint in joints] if known else None,
        "attended": (torch.arange(fold.width) < lengths[:, None]).to(output.device),
        "meta": _meta(found, joints, parts),
    }
    relevances = [each for each in found if isinstance(each, Relevance)]
    if len(relevances) < len(found):
        return Explanation(**fields)
    return Relevance(
        **fields,
        values=fold.all("values", [each.values for each in relevances]),
        layers=fold.named("layers", [each.layers for each in relevances]),
        ledger=_ledger(fold, [each.ledger for each in relevances]),
    )


class _Fold:
    """Takes means over the windows of each example, by token where there are tokens."""

    def __init__(self, joints: Sequence[Joint], extra: Sequence[object]) -> None:
        self.places = [joint.places for joint in joints]
        self.width = max(len(joint.tokens) for joint in joints)
        self.extra = len(extra)

    def all(self, name: str, parts: Sequence[Tensor | dict[str, Tensor]]) -> Any:
        """Return the means of tensors, or of those of each name."""
        if all(isinstance(part, Tensor) for part in parts):
            return self.mean(name, [p for p in parts if isinstance(p, Tensor)])
        return self.named(name, [p for p in parts if isinstance(p, dict)])

    def named(
        self, what: str, parts: Sequence[Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Return the mean for each name; what a window does not have is 0 in it."""
        names = dict.fromkeys(name for part in parts for name in part)
        return {
            name: self.mean(f"{what} of {name!r}", [part.get(name) for part in parts])
            for name in names
        }

    def mean(self, what: str, parts: Sequence[Tensor | None]) -> Tensor:
        """Return the mean over the windows of each example, ``[B, ...]``."""
        like = next(part for part in parts if part is not None)
        axis, more = self._axis(what, parts)
        shape = list(like.shape[1:])
        if axis is not None:
            shape[axis] = self.width + more
        total = torch.zeros(len(self.places), *shape, dtype=torch.float64)
        behind = range(self.width, self.width + more)
        rest = iter(parts)
        for row, places in enumerate(self.places):
            for at, part in zip(places, islice(rest, len(places)), strict=True):
                if part is None:
                    continue
                share = wide(part)[0] / len(places)
                if axis is None:
                    total[row] += share
                else:
                    index = torch.tensor([*at, *behind])
                    total[row].index_add_(axis, index, share)
        return total.to(like)

    def _axis(
        self, what: str, parts: Sequence[Tensor | None]
    ) -> tuple[int | None, int]:
        """Return which axis of an example counts tokens, and the columns behind them.

        Raises:
            ArgumentError: If none does, and shapes differ.
        """
        lengths = [len(at) for places in self.places for at in places]
        given = [
            (p.shape[1:], n)
            for p, n in zip(parts, lengths, strict=True)
            if p is not None
        ]
        axis = 1 if len(given[0][0]) == 3 else 0  # [B, H, T, D] of heads
        for more in (0, self.extra):
            if all(len(s) > axis and s[axis] == n + more for s, n in given):
                return axis, more
        if len({shape for shape, _ in given}) > 1:
            raise ArgumentError(
                f"{what} have the shapes {sorted({(1, *s) for s, _ in given})} in "
                "windows, which are not by token, and cannot be joined. Read something "
                "else, or explain the windows one by one."
            )
        return None, 0


def _ledger(fold: _Fold, ledgers: Sequence[Ledger]) -> Ledger:
    return Ledger(
        inputs=fold.mean("inputs", [each.inputs for each in ledgers]),
        sources=fold.named("sources", [each.sources for each in ledgers]),
        positions=fold.named("positions", [each.positions for each in ledgers]),
        output=fold.mean("output", [each.output for each in ledgers]),
    )


def _meta(
    found: Sequence[Explanation], joints: Sequence[Joint], parts: str
) -> dict[str, Any]:
    """Return what holds of all windows, and under their name what is of each."""
    first = found[0].meta
    meta = {k: v for k, v in first.items() if all(_has(e.meta, k, v) for e in found)}
    if _COUNTED in first:
        meta[_COUNTED] = sum(each.meta[_COUNTED] for each in found)
    own = [k for k in first if k not in {*meta, *_OF_TOKENS}]
    for key in _OF_TOKENS:
        if key in first:
            meta[key] = [getattr(joint, key) for joint in joints]
    meta[parts] = [
        {
            **joint.said,
            "outputs": [each.output.item() for each in windows],
            **{key: [each.meta.get(key) for each in windows] for key in own},
            **_verdicts(windows),
        }
        for joint, windows in _by_joint(found, joints)
    ]
    return meta


def _by_joint(
    found: Iterable[Explanation], joints: Sequence[Joint]
) -> Iterator[tuple[Joint, list[Explanation]]]:
    rest = iter(found)
    for joint in joints:
        yield joint, list(islice(rest, len(joint.places)))


def _verdicts(windows: Sequence[Explanation]) -> dict[str, list[str]]:
    """Return what explanations say that they are worth, if they do."""
    said = [line for each in windows for line in getattr(each, "verdicts", [])]
    return {"verdicts": said} if said else {}


def _has(meta: Mapping[str, Any], key: str, value: object) -> bool:
    """Return whether a window's entry is another's, too."""
    mine = meta.get(key)
    if isinstance(mine, Tensor) and isinstance(value, Tensor):
        return torch.equal(mine, value)
    return type(mine) is type(value) and bool(mine == value)
