"""Sources by what happens without them: each left out, or many at random.

A check on relevance and a baseline for it. With log-probabilities y of a span after
random subsets of the sources, a linear model of which sources were there, sparse since
an answer draws on few, estimates what each is worth (ContextCite, Cohen-Wang et al.
2024; arXiv 2409.00729, section 3).
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..attribution.passes import eval_mode
from ..attribution.readout import find_logits
from ..errors import TextError
from ..generation.tokens import Prompt, as_ids
from ..support.extras import require
from ..support.passages import Passage
from ..texts.devices import device_of
from .found import Found
from .reading import Reading

__all__ = ["METHODS", "Ablating"]

METHODS = ("lrp", "ablation", "leave_one_out")
SPARSITY = 0.01
"""The weight of the Lasso's penalty, for an output per token (ContextCite's)."""


@dataclass(frozen=True, eq=False)
class Ablating:
    """An answer whose prompt is shown with some of its sources left out.

    Attributes:
        model: The plain model.
        tokenizer: Its tokenizer.
        given: The prompt.
        reading: The prompt and its answer.
        sources: S passages of the prompt.
        spans: Boolean ``[A, G]``: the tokens of each span.
        target: ``"log_probability"`` or ``"logit"``.
    """

    model: nn.Module
    tokenizer: Any
    given: Prompt
    reading: Reading
    sources: Sequence[Passage]
    spans: Tensor
    target: str

    def explained(self, method: str, calls: int, seed: int) -> Found:
        """Explain spans by ablations.

        Args:
            method: ``"ablation"`` or ``"leave_one_out"``.
            calls: How many random ablations are shown.
            seed: Of these.

        Returns:
            The scores.
        """
        whole = self.outputs(np.ones((1, len(self.sources)), dtype=bool))[0]
        if method == "leave_one_out":
            kept = ~np.eye(len(self.sources), dtype=bool)
            scores = (whole - self.outputs(kept)).T
            return Found(scores, whole, meta={"calls": 1 + len(kept)})
        kept = self._drawn(calls, seed)
        scores, intercepts = self._fitted(kept, self.outputs(kept))
        meta = {"calls": 1 + len(kept), "intercepts": intercepts}
        return Found(scores, whole, meta=meta)

    def outputs(self, kept: Any) -> Tensor:
        """Run the model for each subset of the sources.

        Args:
            kept: Boolean ``[n, S]``: which sources stay in the prompt.

        Returns:
            ``[n, A]``: the log-probability, or the sum of logits, of each span.
        """
        with eval_mode(self.model), torch.no_grad():
            return torch.stack([self._output(row) for row in kept])

    def _output(self, kept: Sequence[bool]) -> Tensor:
        answer = self.reading.ids[self.reading.start :]
        device = device_of(self.model)
        ids = as_ids([*self._prompt(kept), *answer], device)
        takes = inspect.signature(self.model.forward).parameters
        options = {"logits_to_keep": len(answer) + 1, "use_cache": False}
        given = {k: v for k, v in options.items() if k in takes}
        logits = find_logits(self.model(ids, **given))[0, -len(answer) - 1 : -1]
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.target == "log_probability":
            wide = wide.log_softmax(-1)
        chosen = wide.gather(1, torch.tensor(answer, device=device)[:, None])[:, 0]
        return self.spans.to(chosen) @ chosen

    def _prompt(self, kept: Sequence[bool]) -> list[int]:
        """Return the ids of the prompt without some sources.

        Raises:
            TextError: If nothing stands before the answer then.
        """
        if all(kept):
            return self.reading.ids[: self.reading.start]
        text, at = "", 0
        for source, stays in zip(self.sources, kept, strict=True):
            if not stays:
                text += self.reading.prompt[at : source.start]
                at = source.end
        text += self.reading.prompt[at:]
        encoding = self.tokenizer(
            text, add_special_tokens=self.given.special, truncation=False, verbose=False
        )
        ids = replace(self.given, text=text, encoding=encoding).ids
        if not ids:
            raise TextError(
                "without some of its sources nothing of the prompt is left before the "
                "answer, which a model cannot be asked for. Name sources that are not "
                "the whole prompt."
            )
        return ids

    def _drawn(self, calls: int, seed: int) -> Any:
        """Draw subsets: each source stays with probability one half."""
        draw = np.random.default_rng(seed)
        return draw.random((calls, len(self.sources))) < 0.5

    def _fitted(self, kept: Any, outputs: Tensor) -> tuple[Tensor, list[float]]:
        """Fit a sparse linear model for each span."""
        linear_model = require("sklearn.linear_model", "answers", "method='ablation'")
        centre, spread = kept.mean(0), kept.std(0)
        spread[spread == 0] = 1.0  # always there, or never: nothing is learned of it
        rows, intercepts = [], []
        lengths = self.spans.sum(1).tolist()
        for values, length in zip(outputs.double().cpu().T, lengths, strict=True):
            fit = linear_model.Lasso(alpha=SPARSITY)
            fit.fit((kept - centre) / spread, values.numpy() / length)
            weights = fit.coef_ / spread * length
            rows.append(weights)
            intercepts.append(float(fit.intercept_ * length - weights @ centre))
        return torch.tensor(np.array(rows)).to(outputs), intercepts
