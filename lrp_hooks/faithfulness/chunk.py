"""A few texts, on which all methods are put to the test."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .. import explainers
from ..errors import ArgumentError, LrpHooksError
from ..explainers.explain import answer, asked
from ..results.explanation import Explanation
from ..results.relevance import Relevance
from ..texts.encoding import added_ids, encode
from .fidelity import correlate, mispredict
from .infidelity import disagree
from .metrics import METRICS, curves
from .occlusion import Occlusion
from .plan import Plan
from .stability import conservation_error, sensitivity

__all__ = ["Part", "evaluate_chunk"]

Part = dict[str, Any]
"""What a portion of texts brought: ``"rows"``, ``"failures"``, ``"seconds"`` by method,
and ``"shown"``, the number of perturbed inputs that the model was shown."""


def evaluate_chunk(
    model: nn.Module, tokenizer: Any, plan: Plan, rows: Sequence[int]
) -> Part:
    """Put all methods to the test on a few texts.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        plan: What to do.
        rows: Which texts.

    Returns:
        What it brought, JSON-able.
    """
    bench = _Bench(model, tokenizer, plan, rows)
    part: Part = {"rows": [], "failures": {}, "seconds": {"metrics": 0.0}}
    for label, options in plan.methods.items():
        started = time.process_time()
        try:
            explanation = bench.explain(options)
            explained = time.process_time()
            part["rows"] += bench.rows(label, explanation)
        except LrpHooksError as error:
            part["failures"][label] = str(error)
            continue
        part["seconds"][label] = explained - started
        part["seconds"]["metrics"] += time.process_time() - explained
    part["shown"] = bench.shown
    return part


class _Bench:
    """A few texts, on which methods are measured one after the other."""

    def __init__(
        self, model: nn.Module, tokenizer: Any, plan: Plan, rows: Sequence[int]
    ) -> None:
        self.model, self.tokenizer, self.plan, self.texts = model, tokenizer, plan, rows
        encoded = encode(model, tokenizer, [plan.texts[row] for row in rows])
        self.batch = encoded.batch
        self.width = max(map(len, encoded.tokens))
        special = added_ids(tokenizer)
        self.occlusions = {
            given: Occlusion(
                model, self.batch, _token(tokenizer, given), special_ids=special
            )
            for given in sorted({*plan.replacements.values()})
        }
        self.labels = None
        if plan.labels is not None:
            self.labels = torch.tensor([plan.labels[row] for row in rows])
        self.target = self._target()

    @property
    def shown(self) -> int:
        return sum(occlusion.shown for occlusion in self.occlusions.values())

    def _target(self) -> Tensor:
        if self.plan.target == "label" and self.labels is not None:
            return self.labels
        occlusion = next(iter(self.occlusions.values()))
        whole = torch.ones_like(occlusion.free)
        return occlusion.logits(whole[:, None])[:, 0].argmax(1)

    def explain(self, options: Mapping[str, Any]) -> Explanation:
        own = {key: value for key, value in options.items() if key != "complete"}
        method = own.pop("method", "lrp")
        question = asked(self.model, self.batch, self.tokenizer, self.target)
        return answer(question, method, own, decoded=True)

    def rows(self, label: str, explanation: Explanation) -> list[dict[str, Any]]:
        """Return the entries of one method."""
        options = self.plan.methods[label]
        scores = self._scores(explanation, options)
        found = []
        for sign in self.plan.signs:
            own = scores.abs() if sign == "absolute" else scores
            measured = self._curves(own) | self._numbers(own, explanation, options)
            found += [
                {
                    "row": row,
                    "method": label,
                    "sign": sign,
                    "metric": metric,
                    "score": score[b].item(),
                    "values": values[b].tolist(),
                }
                for metric, (score, values) in measured.items()
                for b, row in enumerate(self.texts)
            ]
        return found

    def _scores(self, explanation: Explanation, options: Mapping[str, Any]) -> Tensor:
        scores = explanation.scores
        if options.get("complete") is not None:
            if not isinstance(explanation, Relevance):
                raise ArgumentError(
                    f"complete={options['complete']!r} shares out a ledger, and "
                    f"{explanation.method} has none. Leave it out."
                )
            scores = explanation.complete(options["complete"])
        assert isinstance(scores, Tensor)
        return scores[:, : self.width].detach().cpu().double()

    def _curves(self, scores: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        found: dict[str, tuple[Tensor, Tensor]] = {}
        for given, occlusion in self.occlusions.items():
            names = [name for name in self._metrics(given) if name in METRICS]
            predicted = [name for name in names if name != "accuracy"]
            every = {}
            if predicted:
                every = curves(occlusion, scores, self.target, predicted)
            if "accuracy" in names:
                every |= curves(occlusion, scores, self.labels, ("accuracy",))
            found |= {name: (c.score, c.values) for name, c in every.items()}
        return found

    def _numbers(
        self, scores: Tensor, explanation: Explanation, options: Mapping[str, Any]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Return metrics without a curve."""
        found: dict[str, tuple[Tensor, Tensor]] = {}
        nothing = torch.zeros(len(scores), 0)
        for given, occlusion in self.occlusions.items():
            for name in self._metrics(given):
                if name in _OF_PARTS:
                    measure = partial(_OF_PARTS[name], occlusion, scores, self.target)
                    found[name] = (measure(**self._seeded(name)), nothing)
        if "conservation_error" in self.plan.metrics:
            own = conservation_error(_with(explanation, scores))
            found["conservation_error"] = (own, nothing)
        if "sensitivity" in self.plan.metrics:
            found["sensitivity"] = (self._sensitivity(options), nothing)
        return found

    def _seeded(self, name: str) -> dict[str, int]:
        return {} if name == "leave_one_out_correlation" else {"seed": self.plan.seed}

    def _sensitivity(self, options: Mapping[str, Any]) -> Tensor:
        own = {k: v for k, v in options.items() if k not in {"method", "complete"}}
        explainer = explainers.named(options["method"])(self.model, **own)
        return sensitivity(explainer, self.batch, self.target, seed=self.plan.seed)

    def _metrics(self, given: str) -> list[str]:
        return [name for name, own in self.plan.replacements.items() if own == given]


_OF_PARTS: dict[str, Any] = {
    "leave_one_out_correlation": correlate,
    "removal_error": mispredict,
    # Scores of different methods have no common unit.
    "infidelity": partial(disagree, normalize=True),
}


def _with(explanation: Explanation, scores: Tensor) -> Explanation:
    return Explanation(scores=scores, output=explanation.output.detach().cpu())


def _token(tokenizer: Any, given: str) -> int | str:
    return given if given == "delete" else getattr(tokenizer, f"{given}_token_id")
