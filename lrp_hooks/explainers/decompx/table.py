"""The vectors of one forward pass, put together from tangents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...attribution.backward import gradients
from ...attribution.passes import Forward, select_target
from ...attribution.readout import class_logits
from ...attribution.tangents import Pushing
from ...engine.subject import Subject
from ...errors import UnsupportedModelError
from .backward import check_attended, extra_column, give, is_all
from .biases import LINEAR
from .biases import RULES as BIAS_RULES
from .decomposition import Settings
from .explanation import DecompXExplanation
from .head import of_head
from .sites import Sites, share_by_vectors
from .sources import Heads, Source, tokens_of
from .value_bias import BIAS, ValueBias

__all__ = ["Asked", "Table"]

_AT_ONCE = 1 << 24
"""How many numbers of vectors are made at a time."""
_ALL_SHARED = {"none", *BIAS_RULES} - {"equal", "first", "token"}
"""Bias rules after which nothing is left to share."""


@dataclass(frozen=True)
class Asked:
    """What is asked of a decomposition.

    Attributes:
        stages: Names of stages, and of modules.
        vectors: Whether vectors are kept whole.
        include_classifier: Whether to go on to the logits.
        source: What is decomposed into; None for tokens.
    """

    stages: tuple[str, ...]
    vectors: bool
    include_classifier: bool
    source: Source | None = None


class Table:
    """The vectors of one forward pass."""

    def __init__(
        self,
        model: nn.Module,
        forward: Forward,
        settings: Settings,
        asked: Asked,
        bias: ValueBias | None,
    ) -> None:
        """Record the backward pass that tangents go through.

        Args:
            model: The model.
            forward: Its forward pass.
            settings: The variant.
            asked: What is asked for.
            bias: The first layer's value bias, where it follows attention.
        """
        self.model = model
        self.forward, self.settings, self.asked = forward, settings, asked
        self.reads = dict(forward.reads)
        if isinstance(asked.source, Heads):
            name = asked.source.found(forward.seen)
            self.reads = {name: forward.seen.pop(name)}
        detached = {name: x.detach() for name, x in self.reads.items()}
        source = asked.source
        mask = forward.call.mask
        self.parts = source.parts(detached) if source else tokens_of(detached, mask)
        if bias is not None and bias.leaf is not None and bias.values is not None:
            self.reads[BIAS] = bias.leaf
            self.parts.of[BIAS] = bias.parts(len(self.parts.names))
        if settings.bias in LINEAR:
            self.pushing = Pushing(forward.seen, self.reads)
        else:
            self._share_by_vectors()

    def _share_by_vectors(self) -> None:
        """Give every source its part of the constants, as parts of where they stand."""
        collector = self.forward.collector
        assert isinstance(collector, Sites)
        attended = self._columns_attended()
        self.reads |= collector.outputs
        self.pushing = Pushing({**self.forward.seen, **collector.outputs}, self.reads)
        shared = share_by_vectors(
            self.settings.bias, collector, self.pushing, dict(self.parts.of), attended
        )
        self.parts.of.update(shared)

    def explanation(self, subject: Subject, target: Any) -> DecompXExplanation:
        """Put together what was asked for.

        Args:
            subject: The instrumented model.
            target: See `DecompX`.

        Returns:
            The attributions, and the vectors of the stages asked for.
        """
        stages = self._stages()
        if self.asked.include_classifier:
            scores, output, chosen, biases = self._scores(subject, target)
        else:
            scores, biases, chosen = self._taken(subject), None, None
            output = scores.sum(1)
        extra = {} if self.asked.source else extra_column(self.settings)
        if self.asked.source:
            extra = {"sources": [*self.parts.names, "(rest)"]}
        mask = self.forward.call.mask
        if not self.asked.source:
            check_attended(scores, self._columns_attended())
        return DecompXExplanation(
            scores=scores,
            output=output,
            target=chosen,
            method="decompx",
            tokens=[extra["sources"]] * len(output) if self.asked.source else None,
            attended=None if mask is None or self.asked.source else mask.detach() != 0,
            biases=biases,
            aggregated=stages.pop("aggregated", None),
            layers=stages,
            meta={
                "path": "tangents",
                "bias": self.settings.bias,
                **extra,
                "read": list(self.forward.reads),
                "model": type(subject.model).__name__,
            },
        )

    def _stages(self) -> dict[str, Tensor]:
        """Return the vectors, or their norms, of the stages asked for."""
        asked, blocks = self.asked.stages, self.forward.blocks
        modules = [name for name in asked if name in self.forward.seen]
        kept = blocks if "encoder" in asked else ()
        last = blocks[-1:] if "aggregated" in asked else ()
        found = self._decomposed(list(dict.fromkeys([*modules, *kept, *last])))
        stages = {name: found[name] for name in modules}
        if kept:
            stages["encoder"] = self._stacked([found[name] for name in kept])
        if last:
            stages["aggregated"] = found[last[0]]
        return stages

    def _stacked(self, blocks: Sequence[Tensor]) -> Tensor:
        """Return blocks as one tensor.

        Raises:
            UnsupportedModelError: If they have other places, or other widths.
        """
        shapes = {tuple(block.shape) for block in blocks}
        if len(shapes) > 1:
            raise UnsupportedModelError(
                f"stages='encoder' puts the blocks of {type(self.model).__name__} into "
                f"one tensor, and they have the shapes {sorted(shapes)}. Take names of "
                f"modules instead: {', '.join(map(repr, self.forward.blocks))}."
            )
        return torch.stack(list(blocks))

    def _decomposed(
        self, names: Sequence[str], whole: bool = False
    ) -> dict[str, Tensor]:
        """Return vectors [B, T, K, D] or norms [B, T, K] of hidden states."""
        whole = whole or self.asked.vectors
        rest = self._constants()
        for name in names if self.settings.bias in _ALL_SHARED else ():
            left = self._without_padding(rest[name])
            self._check_shared(left, self.forward.seen[name])
        columns: dict[str, list[Tensor]] = {name: [] for name in names}
        for tangents, weights in self._chunks():
            arrived = self.pushing.push(tangents, only=names)
            for name in names:
                vectors = arrived[name].movedim(0, -2)
                if weights is not None:
                    given = weights.unsqueeze(-1) * rest[name].unsqueeze(-2)
                    vectors = torch.add(vectors, given)
                columns[name].append(vectors if whole else vectors.norm(dim=-1))
        if self._has_rest:
            for name in names:
                own = rest[name].unsqueeze(-2)
                columns[name].append(own if whole else own.norm(dim=-1))
        found = {name: torch.cat(each, 2) for name, each in columns.items()}
        return {name: self._without_padding(each) for name, each in found.items()}

    def _without_padding(self, vectors: Tensor) -> Tensor:
        """Zero what stands at padding, [B, T, ...]."""
        mask = self.forward.call.mask
        if mask is None or mask.shape != vectors.shape[:2]:
            return vectors
        return vectors * mask.to(vectors).view(*mask.shape, *(1,) * (vectors.ndim - 2))

    @property
    def _has_rest(self) -> bool:
        return self.asked.source is not None or self.settings.bias == "token"

    def _constants(self) -> dict[str, Tensor]:
        """Return what of each hidden state no source brings."""
        total = {
            name: part.sum(0, keepdim=True) for name, part in self.parts.of.items()
        }
        arrived = self.pushing.push(total, only=list(self.forward.seen))
        return {n: h.detach() - arrived[n][0] for n, h in self.forward.seen.items()}

    def _chunks(self) -> Any:
        """Return tangents of some sources at a time, with their share of constants."""
        count = len(self.parts.names)
        numbers = sum(h.numel() for h in self.forward.seen.values())
        size = self.settings.chunk or max(1, _AT_ONCE // (4 * max(1, numbers)))
        weights = None if self._has_rest else self._weights()
        for start in range(0, count, size):
            rows = slice(start, start + size)
            tangents = {name: part[rows] for name, part in self.parts.of.items()}
            yield tangents, None if weights is None else weights[:, None, rows]

    def _weights(self) -> Tensor | None:
        """Return the share of the constants that goes to each source, [B, K]."""
        if self.settings.bias in _ALL_SHARED:
            return None
        mask = self._columns_attended()
        ones = next(iter(self.parts.of.values())).new_ones(len(mask))
        given = give(torch.zeros_like(mask), ones, mask, self.settings.bias)
        return given

    def _columns_attended(self) -> Tensor:
        """Return 1 at sources that are no padding, [B, K]."""
        call, count = self.forward.call, len(self.parts.names)
        like = next(iter(self.parts.of.values()))
        found = like.new_ones(call.batch, count)
        masks = [call.mask, call.kwargs.get("decoder_attention_mask")]
        place = 0
        for mask, read in zip(masks, self.forward.reads.values(), strict=False):
            if mask is not None and mask.shape == read.shape[:2]:
                found[:, place : place + read.shape[1]] = mask.to(like)
            place += read.shape[1]
        return found

    def _scores(
        self, subject: Subject, target: Any
    ) -> tuple[Tensor, Tensor, Any, Tensor | None]:
        """Return scores, outputs, the target, and what all constants have."""
        if is_all(target):
            logits = class_logits(
                self.forward.output,
                self.forward.call.batch,
                self.forward.call.output_mask,
                self.forward.call.batch_dim,
            )
            each = [self._attributed(column) for column in logits.unbind(1)]
            scores, rest = (torch.stack(x, -1) for x in zip(*each, strict=True))
            return scores, logits.detach(), "all", rest
        selected = select_target(subject, self.forward, target)
        scores, rest = self._attributed(selected.scalar)
        return scores, selected.scalar.detach(), selected.target, rest

    def _attributed(self, scalar: Tensor) -> tuple[Tensor, Tensor]:
        """Contract the sources with one gradient: scores [B, K], constants [B]."""
        grads = gradients(scalar, self.reads, torch.ones_like(scalar))
        scores = scalar.new_zeros(len(scalar), len(self.parts.names))
        for name, part in self.parts.of.items():
            if name in grads:
                terms = (part * grads[name]).reshape(len(part), len(scalar), -1)
                scores += terms.sum(2).T
        rest = scalar.detach() - scores.sum(1)
        if self.asked.source:
            return torch.cat([scores, rest[:, None]], 1), rest
        if self.settings.bias in _ALL_SHARED:
            self._check_shared(rest, scalar)
            return scores, rest
        mask = self._columns_attended()
        return give(scores, rest, mask, self.settings.bias), rest

    def _check_shared(self, rest: Tensor, whole: Tensor) -> None:
        """Refuse vectors that leave constants out.

        Raises:
            UnsupportedModelError: If they do.
        """
        near = torch.finfo(rest.dtype).eps ** 0.6 * whole.detach().abs().amax()
        if self.settings.bias != "none" and bool((rest.abs() > near).any()):
            raise UnsupportedModelError(
                f"bias={self.settings.bias!r} cannot share all constants of "
                f"{type(self.model).__name__}, which overwrites what they were added "
                "to, or adds them where no rule sees it. Take bias='equal', 'first', "
                "'token' or 'none', which work on any architecture."
            )

    def _taken(self, subject: Subject) -> Tensor:
        """Return the norms of vectors at the tokens that the head takes, [B, K].

        Of several tokens they are those of the mean of their vectors.
        """
        name = self.forward.blocks[-1]
        vectors = self._decomposed([name], whole=True)[name]
        hidden = {name: self.forward.seen[name]}
        scalar = of_head(subject, self.forward)
        (grad,) = gradients(scalar, hidden, torch.ones_like(scalar)).values()
        rows = self._without_padding((grad.abs().sum(-1) > 0).to(vectors))
        mean = torch.einsum("bt,btkd->bkd", rows, vectors) / rows.sum(1)[:, None, None]
        norms: Tensor = mean.norm(dim=-1)
        return norms
