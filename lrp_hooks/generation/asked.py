"""What is asked of a text that a model wrote, and the explanation that it becomes."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.inputs import is_encoder_decoder
from ..attribution.instrument import Instrumentation
from ..attribution.readout import Contrast
from ..results.prefixes import Prefixes
from ..texts.devices import device_of
from ..texts.encoding import read_tokens
from ..texts.spans import vocabulary_mark
from .explanation import GenerationExplanation
from .passes import relevance_of_each
from .table import Rows, Table
from .tokens import contrast_ids
from .written import Column, Written

__all__ = ["Asked"]


@dataclass(frozen=True, eq=False)
class Asked:
    """What is explained of a text, of which some rows are an explanation already.

    Attributes:
        model: The model that wrote it.
        tokenizer: Its tokenizer.
        text: What it wrote.
        targets: The tokens whose logits are explained, [G].
        others: The tokens of a contrast, [G], if there is one.
    """

    model: nn.Module
    tokenizer: Any
    text: Written
    targets: Tensor
    others: Tensor | None

    @classmethod
    def of(
        cls, model: nn.Module, tokenizer: Any, text: Written, contrast: Any
    ) -> Asked:
        """Read the tokens of a text, and of a contrast.

        Args:
            model: See `Asked`.
            tokenizer: See `Asked`.
            text: See `Asked`.
            contrast: See `explain_generation`.

        Returns:
            What is asked.
        """
        device = device_of(model)
        targets, others = torch.tensor(text.generated, device=device), None
        if contrast is not None:
            across, count = is_encoder_decoder(model), len(text.generated)
            found = contrast_ids(tokenizer, contrast, count, text.vocabulary, across)
            others = torch.tensor(found, device=device)
        return cls(model, tokenizer, text, targets, others)

    def rows(
        self, lrp: Instrumentation, chunk: int | None, table: Table
    ) -> Generator[range]:
        """Make the rows; see `relevance_of_each`.

        Args:
            lrp: The model's instrumentation.
            chunk: See `relevance_of_each`.
            table: See `relevance_of_each`.

        Returns:
            The numbers of the rows that come.
        """
        text, tokens = self.text, (self.targets, self.others)
        given = (self.model, lrp, text.inputs, *tokens, chunk, table, text.wrt)
        return relevance_of_each(*given)

    def explanation(self, rows: Rows) -> GenerationExplanation:
        """Return rows with what they are about.

        Args:
            rows: The first of them, or all.

        Returns:
            The explanation of so many tokens.
        """
        count, text = len(rows.scores), self.text
        columns = text.columns[: text.start + count]
        places = torch.arange(len(columns), device=rows.scores.device)
        numbers = torch.arange(count, device=places.device)
        targets = self.targets[:count]
        others = None if self.others is None else self.others[:count]
        positions = rows.ledger.positions
        assert isinstance(positions, Prefixes)
        widened = replace(positions, width=len(columns))
        return GenerationExplanation(
            scores=_widen(rows.scores),
            output=rows.ledger.output,
            target=targets if others is None else Contrast(targets, others),
            method="lrp",
            tokens=[[column.token for column in columns]] * count,
            attended=places < text.start + numbers[:, None],
            prompt=text.start,
            ledger=replace(rows.ledger, positions=widened),
            meta=self._meta(columns, targets, others, rows.meta),
        )

    def _meta(
        self,
        columns: Sequence[Column],
        targets: Tensor,
        others: Tensor | None,
        meta: Mapping[str, Any],
    ) -> dict[str, Any]:
        count = len(targets)
        named = targets if others is None else torch.cat([targets, others])
        names = read_tokens(self.tokenizer, named[None])
        assert names is not None
        rest = self.targets[count:].tolist()
        return {
            "model": type(self.model).__name__,
            "labels": dict(zip(named.tolist(), names.tokens[0], strict=True)),
            "special": [[column.special for column in columns]] * count,
            "subwords": vocabulary_mark(self.tokenizer),
            "pieces": [[column.piece for column in columns]] * count,
            **self.text.meta,
            **meta,
            **({"rest": rest} if rest else {}),
        }


def _widen(values: Tensor) -> Tensor:
    """Add the column of the last token, which comes after every explained one."""
    return torch.nn.functional.pad(values, (0, 1))
