"""Log-odds of any sequences of a text's positions, in batches of one length."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ...attribution.inputs import Call
from ...attribution.readout import Contrast, find_logits
from ...attribution.rows import most_rows
from ...attribution.sharing import run_plain
from ...errors import ArgumentError, NonFiniteError, TargetError
from .document import Positions

__all__ = ["Probe", "last_logits", "log_odds"]

TOKENS_A_BATCH = 2048
BAR_DELAY = 2.0
"""Seconds of work before a progress bar appears."""


def last_logits(output: Any) -> Tensor:
    """Return the logits of sequences that have no padding.

    Args:
        output: What a model returned.

    Returns:
        ``[N, C]`` in float64: at the last position, where there is one for each.
    """
    logits = find_logits(output).detach().double()
    if logits.dim() == 3:
        logits = logits[:, -1]
    return logits.unsqueeze(1) if logits.dim() == 1 else logits


def log_odds(logits: Tensor, target: Any) -> Tensor:
    """Return the log-odds of a class against all others.

    Args:
        logits: ``[N, C]``. A single output is a log-odds already.
        target: A class, or a ``Contrast`` of two, whose log-odds against each other
            are the difference of their logits.

    Returns:
        ``[N]``.
    """
    if isinstance(target, Contrast):
        return logits[:, int(target.a)] - logits[:, int(target.b)]
    chosen = logits[:, int(target)]
    if logits.shape[1] == 1:
        return chosen
    others = logits.clone()
    others[:, int(target)] = -torch.inf
    return chosen - others.logsumexp(1)


@dataclass
class Probe:
    """A model and one example of a batch, of which it is shown any positions.

    Args:
        model: The model.
        call: The batch.
        row: Which example.
        shown: How many sequences the model was shown.
    """

    model: nn.Module
    call: Call
    row: int
    shown: int = 0

    def outputs(self, sequences: Sequence[Positions]) -> Any:
        """Show sequences of one length to the model.

        Args:
            sequences: ``N`` tuples of ``L`` positions.

        Returns:
            What the model returned.
        """
        places = torch.tensor(sequences, device=self.call.main.device)
        names = _parameter_names(self.model, len(self.call.args))
        named = zip(names, self.call.args, strict=True)
        args = [self._cut(name, value, places) for name, value in named]
        kwargs = {k: self._cut(k, v, places) for k, v in self.call.kwargs.items()}
        self.shown += len(sequences)
        return run_plain(self.model, tuple(args), kwargs)

    def log_odds(self, sequences: Sequence[Positions], target: Any) -> Tensor:
        """Ask for the log-odds of sequences.

        Args:
            sequences: ``M`` tuples of positions, of any lengths.
            target: A class, a ``Contrast`` of classes, or a function of the output.

        Returns:
            ``[M]`` in float64, on the CPU.

        Raises:
            NonFiniteError: If one is NaN or infinite.
        """
        found = torch.empty(len(sequences), dtype=torch.float64)
        bar = tqdm(total=len(sequences), disable=None, leave=False, delay=BAR_DELAY)
        with bar:
            for rows in _batches(sequences, most_rows(self.model, TOKENS_A_BATCH)):
                output = self.outputs([sequences[i] for i in rows])
                found[rows] = self._scalar(output, target, len(rows)).cpu()
                bar.update(len(rows))
        if not bool(found.isfinite().all()):
            row = int((~found.isfinite()).int().argmax())
            raise NonFiniteError(
                f"the log-odds of a perturbed text are {float(found[row])}: "
                f"{len(sequences[row])} of its tokens, in {self._dtype()}. Run in a "
                "wider dtype (model.float()), or explain a class of finite logit."
            )
        return found

    def _scalar(self, output: Any, target: Any, n: int) -> Tensor:
        """Return the explained scalar of each sequence.

        Raises:
            ArgumentError: If the target function returns another shape.
        """
        if callable(target) and not isinstance(target, Contrast):
            scalar = self._called(target, output, n)
            if not isinstance(scalar, Tensor) or tuple(scalar.shape) != (n,):
                came = getattr(scalar, "shape", type(scalar).__name__)
                raise ArgumentError(
                    f"the target function returned {came} for {n} sequences; it must "
                    f"return a tensor of shape ({n},), one number for each."
                )
            return scalar.detach().double()
        return log_odds(last_logits(output), target)

    @staticmethod
    def _called(target: Callable[[Any], Any], output: Any, n: int) -> Any:
        """Call a target function on what is left of a text.

        Returns:
            What it returned.

        Raises:
            ArgumentError: If it reads a position that is gone.
        """
        try:
            return target(output)
        except (IndexError, TargetError) as error:
            raise ArgumentError(
                f"the target function fails on {n} perturbed texts "
                f"({type(error).__name__}: {error}). SLALOM takes tokens out, which "
                "moves the others, so it cannot explain what the model says at a "
                "position; choose a method that replaces tokens, or method='lrp'."
            ) from error

    def _cut(self, name: str, value: Any, places: Tensor) -> Any:
        """Return an argument of the whole batch for the sequences in ``places``."""
        batch, length = self.call.main.shape
        if not isinstance(value, Tensor) or value.dim() == 0 or len(value) != batch:
            return value
        one = value[self.row]
        if value.shape[1:2] != (length,) or name.startswith("decoder"):
            return one.expand(len(places), *one.shape)
        if name == "position_ids":
            # What is left closes up: it stands where the text's first tokens stood.
            kept = one if self.call.mask is None else one[self.call.mask[self.row] != 0]
            start = kept[: places.shape[1]]
            return start.expand(len(places), *start.shape)
        return one[places.to(one.device)]

    def _dtype(self) -> torch.dtype:
        return next((p.dtype for p in self.model.parameters()), torch.float32)


def _batches(sequences: Sequence[Positions], most: int) -> Iterable[list[int]]:
    """Yield the indices of sequences of one length, so that nothing is padded.

    Yields:
        Indices of one batch.
    """
    lengths: dict[int, list[int]] = {}
    for i, sequence in enumerate(sequences):
        lengths.setdefault(len(sequence), []).append(i)
    for length, rows in sorted(lengths.items()):
        size = max(1, min(most, TOKENS_A_BATCH // length))
        for start in range(0, len(rows), size):
            yield rows[start : start + size]


def _parameter_names(model: nn.Module, n: int) -> list[str]:
    """Return the names of a model's first ``n`` arguments."""
    names = list(inspect.signature(model.forward).parameters)[:n]
    return names + [f"input_{i}" for i in range(len(names), n)]
