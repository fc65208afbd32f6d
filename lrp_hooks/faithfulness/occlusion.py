"""A model's logits for inputs in which some places are taken away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.inputs import Call
from ..attribution.passes import prepared
from ..attribution.readout import class_logits
from ..attribution.rows import most_rows
from ..attribution.spots import Spots
from ..engine.subject import Subject
from ..errors import ArgumentError, NonFiniteError
from ..explainers.calls import changed, target_of
from ..explainers.features import DELETE, filler_of, keep_rows
from ..tasks import Task, pose
from ..tasks.kinds import of_classes
from .checks import classes_of
from .places import check_free, check_grid, find_padding, find_special

__all__ = ["Occlusion"]

_TOKENS_AT_ONCE = 4096
_FLOATS_AT_ONCE = 64  # examples
_SPECIAL = ("keep", "perturb")


class Occlusion:
    """Shows a model parts of a batch, and remembers what it said.

    A place is a token, an element of a vector, the position of an embedding, or a
    cell of an image, which is replaced as a whole. Equal inputs are shown once, and
    inputs of about the same length together.

    Attributes:
        free: The places that may be taken away, boolean ``[B, P]``.
        padding: The places that hold padding, boolean ``[B, P]``.
        blank: The places that stay as they are where everything is taken away, though
            they may be taken away, ``[B, P]``: published padding.
        shown: How many inputs the model was shown so far.
    """

    def __init__(
        self,
        model: nn.Module,
        batch: Any,
        replace_with: Any,
        *,
        grid: Sequence[int] | None = None,
        special_tokens: str = "keep",
        special_ids: Iterable[int] = (),
        published: bool = False,
        target: Any = None,
    ) -> None:
        """Understand a batch.

        The model is called only where the target is to be looked for in its output.

        Args:
            model: Any classifier; it may return a plain tensor.
            batch: Token ids ``[B, T]``, floats, a tuple, or a mapping of keyword
                arguments. A ``special_tokens_mask`` in it is not shown to the model.
            replace_with: A token id, or ``"delete"``: cut tokens out; a number or a
                tensor for float inputs.
            grid: The shape of the places, without the batch: that of the scores.
                Defaults to ``None``: a place for each token or position.
            special_tokens: ``"keep"`` special tokens, or ``"perturb"`` them.
            special_ids: Their ids, beside those that ``special_tokens_mask`` names.
            published: As in the code of Ali et al. 2022: padding and special tokens
                are places like any others, and the model sees no attention mask.
            target: What is read off the output, as for `explain`: a class, or a
                position and a label, a span, a function. Defaults to ``None``: all
                classes of the whole example.

        Raises:
            ArgumentError: If an argument is not as described.
        """
        if special_tokens not in _SPECIAL:
            raise ArgumentError(
                f"special_tokens={special_tokens!r} must be one of "
                f"{', '.join(map(repr, _SPECIAL))}."
            )
        batch, marked = _without(batch, "special_tokens_mask")
        posed = pose(model, None, batch, None, target) if target is not None else None
        self._own = posed.target if posed and callable(posed.target) else None
        self.model, self._subject, self._batch = model, Subject(model), batch
        with prepared(self._subject, batch) as call:
            self.grid = tuple(call.main.shape[1:2] if grid is None else grid)
            check_grid(call, self.grid)
            self._filler = self._find_filler(call, replace_with)
            self.padding = find_padding(model, call, self.grid)
            special = torch.zeros_like(self.padding)
            if special_tokens == "keep" and not published:
                special = find_special(call, self.grid, marked, special_ids)
        self.blank = torch.zeros_like(self.padding)
        if published:
            self._batch, mask = _without(batch, "attention_mask")
            if mask is None and bool(self.padding.any()):
                raise ArgumentError(
                    "published=True shows the model no attention mask, but one stands "
                    f"in a {type(batch).__name__}; pass a mapping of arguments."
                )
            self.blank, self.padding = self.padding, self.blank
        self.free = ~self.padding & ~special
        check_free(self.free)
        self.shown = 0
        self._known: dict[tuple[int, bytes], Tensor] = {}

    def __len__(self) -> int:
        """Return B."""
        return len(self.free)

    @property
    def reading(self) -> str:
        """What the numbers are that `logits` returns; see `Said.reading`."""
        task = None if self._own is not None else of_classes(self._config)
        if self._own is not None or task is Task.REGRESSION:
            return "output"
        return "sigmoid" if task is Task.MANY_LABELS else "softmax"

    @property
    def _config(self) -> Any:
        return getattr(self.model, "config", None)

    def classes(self, target: Any, n_classes: int) -> Tensor:
        """Understand a target.

        Args:
            target: The class of each example, or one for all, or a label.
            n_classes: C.

        Returns:
            The column of `logits` for each example, ``[B]``.
        """
        if self._own is not None:
            return torch.zeros(len(self), dtype=torch.long)
        return classes_of(target, len(self), n_classes, self.model)

    def check_batch(self, scores: Tensor) -> None:
        """Refuse scores of other inputs.

        Args:
            scores: They must be ``[B, *grid]``.

        Raises:
            ArgumentError: If they are not.
        """
        wanted = (len(self), *self.grid)
        if tuple(scores.shape) != wanted:
            raise ArgumentError(
                f"scores has shape {tuple(scores.shape)}; these inputs need {wanted}."
            )

    def logits(self, kept: Tensor) -> Tensor:
        """Show the model what is left of each example.

        Args:
            kept: The places that stay, boolean ``[B, K, P]``.

        Returns:
            ``[B, K, C]`` in float64 on the CPU.
        """
        batch, steps, places = kept.shape
        rows = torch.arange(batch).repeat_interleave(steps)
        return self.logits_of(rows, kept.reshape(-1, places)).reshape(batch, steps, -1)

    def logits_of(self, rows: Tensor, kept: Tensor) -> Tensor:
        """Show the model what is left of some examples.

        Args:
            rows: The example that each input is made of, ``[N]``.
            kept: The places that stay, boolean ``[N, P]``.

        Returns:
            ``[N, C]`` in float64 on the CPU.
        """
        kept = kept.cpu()
        keys = [
            (row, places.numpy().tobytes())
            for row, places in zip(rows.tolist(), kept, strict=True)
        ]
        new = {
            key: places
            for key, places in zip(keys, kept, strict=True)
            if key not in self._known
        }
        self._show(new)
        return torch.stack([self._known[key] for key in keys])

    def _show(self, new: Mapping[tuple[int, bytes], Tensor]) -> None:
        """Run the model on inputs that it has not seen, and remember its logits."""
        with prepared(self._subject, self._batch) as call, torch.no_grad():
            for keys in self._groups(call, new):
                rows = torch.tensor([row for row, _ in keys])
                kept = torch.stack([new[key] for key in keys])
                part = self._call(call, rows, kept).fresh()
                output = self.model(*part.args, **part.kwargs)
                found = self._read(output, rows, part)
                self._remember(keys, found.detach().cpu().double())

    def _read(self, output: Any, rows: Tensor, part: Call) -> Tensor:
        """Return what is read off the output for some rows, ``[N, C]``."""
        if self._own is None:
            return class_logits(output, len(rows), part.output_mask)
        if self._filler is None and isinstance(self._own, Spots):
            raise ArgumentError(
                "replace_with='delete' moves the tokens behind, so that a target at a "
                "position is another one; pass the id of a token that stands for "
                "nothing."
            )
        scalar: Tensor = target_of(self._own, rows)(output)
        if scalar.shape != rows.shape:
            raise ArgumentError(
                f"the target function returned {tuple(scalar.shape)} for {len(rows)} "
                "rows; it must return one number for each."
            )
        return scalar[:, None]

    def _remember(self, keys: Sequence[tuple[int, bytes]], found: Tensor) -> None:
        finite = found.isfinite().all(1)
        if not bool(finite.all()):
            row = keys[int((~finite).nonzero()[0])][0]
            raise NonFiniteError(
                f"the model's logits are not finite for example {row} with some of its "
                "places taken away. Choose another replace_with, or run in a wider "
                "dtype (model.float())."
            )
        self._known.update(zip(keys, found, strict=True))
        self.shown += len(keys)

    def _groups(
        self, call: Call, new: Mapping[tuple[int, bytes], Tensor]
    ) -> list[list[tuple[int, bytes]]]:
        """Return inputs that are run together: those of about the same length."""
        ends = torch.where(~self.padding, torch.arange(self.padding.shape[1]), 0)
        lengths = (ends.amax(1) + 1).tolist()
        apart: dict[Any, list[tuple[int, bytes]]] = {}
        for key in sorted(new, key=lambda key: lengths[key[0]]):
            # What is cut to different lengths cannot stand in one batch.
            cut = (key[0], int(new[key].sum())) if self._filler is None else None
            apart.setdefault(cut, []).append(key)
        tokens = not call.main.is_floating_point()
        groups: list[list[tuple[int, bytes]]] = []
        for keys in apart.values():
            group: list[tuple[int, bytes]] = []
            for key in keys:
                room = _TOKENS_AT_ONCE // lengths[key[0]] if tokens else _FLOATS_AT_ONCE
                if len(group) >= max(1, most_rows(self.model, room)):
                    groups.append(group)
                    group = []
                group.append(key)
            groups.append(group)
        return groups

    def _call(self, call: Call, rows: Tensor, kept: Tensor) -> Call:
        """Return the call of what is left of some rows."""
        if self._filler is None:
            return self._cut(call, int(rows[0]), kept)
        filler = self._filler
        end = self._end(call, rows)

        def change(_: str, value: Tensor) -> Tensor:
            own = value[rows.to(value.device)]
            if value is call.main:
                stay = self._spread(kept, value)
                own = torch.where(
                    stay, own, filler if filler.ndim == 0 else filler[rows]
                )
            return own if end is None else own[:, :end]

        return changed(self.model, call, change)

    def _cut(self, call: Call, row: int, kept: Tensor) -> Call:
        """Return the call of a row whose other places are cut out."""
        left = kept & ~self.padding[row]
        if not bool(left.any()):
            raise ArgumentError(
                f"replace_with={DELETE!r} leaves nothing of example {row}, which has "
                "no special tokens that stay. Replace tokens by an id instead."
            )
        return keep_rows(self.model, call, row, left, None)

    def _end(self, call: Call, rows: Tensor) -> int | None:
        """Return where padding of all rows begins, or None if nothing can be cut."""
        values = (*call.args, *call.kwargs.values())
        shapes = {value.shape for value in values if isinstance(value, Tensor)}
        decodes = any(name.startswith("decoder") for name in call.kwargs)
        if decodes or not bool(self.padding.any()) or shapes != {call.main.shape}:
            return None
        return int((~self.padding[rows]).any(0).nonzero().max()) + 1

    def _spread(self, kept: Tensor, main: Tensor) -> Tensor:
        """Return which elements of the main input stay, [N, ...]."""
        stay = kept.reshape(-1, *self.grid).to(main.device)
        if main.ndim == 4:
            for axis, size in enumerate(main.shape[2:], start=1):
                stay = stay.repeat_interleave(size // stay.shape[axis], dim=axis)
            return stay[:, None]
        return stay.reshape(*stay.shape, *[1] * (main.ndim - stay.ndim))

    def _find_filler(self, call: Call, given: Any) -> Tensor | None:
        tokens = not call.main.is_floating_point()
        if tokens and isinstance(given, str) and given == DELETE:
            return None
        return filler_of(self._subject, call, None, "replace_with", given)


def _without(batch: Any, name: str) -> tuple[Any, Any]:
    """Take an argument out of a batch."""
    if not isinstance(batch, Mapping) or name not in batch:
        return batch, None
    rest = {key: value for key, value in batch.items() if key != name}
    return rest, batch[name]
