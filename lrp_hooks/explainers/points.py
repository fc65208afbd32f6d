"""Where gradients are taken: values read in one forward pass, put back in others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..attribution.finite import check_output
from ..attribution.inputs import Call, advising
from ..attribution.reader import Reader
from ..attribution.readout import select
from ..attribution.sharing import shared
from ..engine.foreign import depends
from ..engine.subject import Subject
from ..errors import ArgumentError
from .calls import attended, changed, target_of

__all__ = ["Group", "Points", "read_values"]

Group = tuple[Tensor, Tensor]
"""Rows [G] of a batch, and the positions [G, k] of each that hold no padding."""


class Points:
    """The explained scalar as a function of values read inside the model.

    Padding is no part of that function: a point of a row holds the row's other
    positions alone, so that what is done to it cannot depend on padding.

    Attributes:
        names: The modules or inputs that are read, R of them.
        values: What was read there, [B, ...] each.
        selected: The explained scalars of the batch.
        attended: False at padding, [B, T], or None where there is no mask.
        shown: How many sequences the model was shown so far.
    """

    def __init__(
        self, subject: Subject, call: Call, wrt: str | Sequence[str] | None, target: Any
    ) -> None:
        """Run the model once.

        Args:
            subject: The model, in eval mode.
            call: Its call.
            wrt: Where values are read, see `Instrumentation.attribute`.
            target: What is explained.
        """
        self.subject, self.call, self.wrt = subject, call, wrt
        given = (call.args, call.kwargs, wrt)
        with advising(call):
            reads, output = shared("read", subject.model, given, self._read)
            self.selected = select(
                output, target, subject.model, call.batch, call.output_mask
            )
        check_output(subject, call, self.selected.scalar)
        for name, leaf in reads.items():
            _check_read(name, leaf, self.selected.scalar, call.batch)
        self.names = tuple(reads)
        self.values = tuple(leaf.detach() for leaf in reads.values())
        self.attended = attended(subject.model, call)
        self.shown = call.batch

    def map(
        self, function: Callable[[tuple[Tensor, ...], Group], Any], alone: bool = False
    ) -> list[Tensor]:
        """Apply a function to the rows, those of as many attended positions together.

        Args:
            function: Takes what `packed` makes of the values of a group, and the group;
                returns tensors in the same shapes.
            alone: Whether each row is a group of its own.

        Returns:
            What it returned, [B, ...] each as the values are; 0 at padding.
        """
        whole = [
            torch.zeros(v.shape, dtype=torch.promote_types(v.dtype, torch.float32))
            for v in self.values
        ]
        for rows, places in self._groups(alone):
            found = function(self.packed(self.values, (rows, places)), (rows, places))
            for into, own in zip(whole, found, strict=True):
                index = (rows[:, None], places) if self._has_places(into) else (rows,)
                into[index] = own.detach()
        return whole

    def packed(self, values: Sequence[Tensor], group: Group) -> tuple[Tensor, ...]:
        """Take the rows and attended positions of a group.

        Args:
            values: [B, ...] each, in the shapes of what was read.
            group: The group.

        Returns:
            Leaves on the CPU [G, k, ...], in at least float32; whole rows where there
            is no position for each token.
        """
        rows, places = group
        found = []
        for value in values:
            own = value.detach().cpu()[rows]
            if self._has_places(value):
                own = own[torch.arange(len(rows))[:, None], places]
            wide = own.to(torch.promote_types(own.dtype, torch.float32))
            found.append(wide.clone().requires_grad_())
        return tuple(found)

    def scalar(self, *given: Tensor) -> Tensor:
        """Run the model from other values; Captum's forward function.

        Args:
            *given: R tensors [N, k, ...] as `packed` makes them, the rows [N] that they
                belong to, and the places [N, k].

        Returns:
            The explained scalar of each, [N].
        """
        *points, rows, places = given
        call = changed(self.subject.model, self.call, lambda _, t: t[rows.to(t.device)])
        values = {}
        for name, read, point in zip(self.names, self.values, points, strict=True):
            new = point.to(read.device, read.dtype)
            if self._has_places(read):
                at = (torch.arange(len(rows))[:, None], places)
                new = read[rows.to(read.device)].index_put(at, new)
            values[name] = new
        self.shown += len(rows)
        output = _Placer(self.subject, call, self.wrt, values).forward()
        target = target_of(self.selected.target, rows)
        model = self.subject.model
        return select(output, target, model, len(rows), call.output_mask).scalar

    def _read(self) -> tuple[dict[str, Tensor], Any]:
        """Return the leaves that are read, and what the model returns."""
        reader = Reader(self.subject, self.call, self.wrt, ())
        output = reader.forward()
        return reader.reads, output

    def _groups(self, alone: bool) -> list[Group]:
        nowhere = torch.zeros(self.call.batch, 0, dtype=torch.bool)
        kept = nowhere if self.attended is None else self.attended.cpu()
        by_count: dict[tuple[int, int], list[int]] = {}
        for row, count in enumerate(kept.sum(1).tolist()):
            by_count.setdefault((count, row if alone else 0), []).append(row)
        return [
            (torch.tensor(rows), torch.stack([kept[r].nonzero()[:, 0] for r in rows]))
            for rows in by_count.values()
        ]

    def _has_places(self, value: Tensor) -> bool:
        if self.attended is None or value.ndim == 4:  # images have channels there
            return False
        return value.shape[:2] == self.attended.shape


class _Placer(Reader):
    """Puts given values where `Reader` would put leaves."""

    def __init__(
        self,
        subject: Subject,
        call: Call,
        wrt: str | Sequence[str] | None,
        values: dict[str, Tensor],
    ) -> None:
        super().__init__(subject, call, wrt, ())
        self.values = values

    def _put(self, name: str, value: Tensor) -> Tensor:
        return self.values[name]


def read_values(
    subject: Subject, call: Call, wrt: str | Sequence[str] | None
) -> tuple[Tensor, ...]:
    """Read what a call brings where gradients are taken.

    Args:
        subject: The model.
        call: Its call.
        wrt: As for `Points`.

    Returns:
        The values, [B, ...] each.
    """
    reader = Reader(subject, call, wrt, ())
    reader.forward()
    return tuple(leaf.detach() for leaf in reader.reads.values())


def _check_read(name: str, leaf: Tensor, scalar: Tensor, batch: int) -> None:
    if leaf.shape[:1] != (batch,):
        raise ArgumentError(
            f"wrt={name!r} has an output of shape {tuple(leaf.shape)}, which does not "
            f"start with the {batch} examples; name a module whose output does."
        )
    if not depends(scalar, [leaf]):
        raise ArgumentError(
            f"no gradient reaches wrt={name!r}: the explained output does not depend "
            "on it, or something cuts the graph (detach(), no_grad(), an argmax, or "
            "another module of wrt= behind it). Take it out, or name one behind it."
        )
