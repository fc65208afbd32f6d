"""SLALOM for the texts of a batch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...attribution.passes import eval_mode
from ...attribution.readout import Contrast, Selected, select
from ...errors import ArgumentError, NonFiniteError
from ...support.numbers import is_whole
from ...support.seeds import check_seed
from ..base import Explainer, check_option
from .black_box import BlackBox, called
from .explanation import SlalomExplanation, SlalomWarning
from .learning import FITS, Learned, learn
from .probe import Probe, last_logits, log_odds
from .recipe import Recipe
from .sampling import SAMPLINGS, sample
from .scores import SCORES
from .texts import Batch, read_batch

__all__ = ["Slalom"]

DEFAULT_SAMPLES = {"mixed": 128, "short": 500, "deletion": 500}
SAMPLES_A_TOKEN = 3
"""Samples for each distinct token, at least, if their number is not given."""


class Slalom(Explainer):
    """A softmax-linked additive log-odds model, fitted to perturbed texts.

    It explains the log-odds of the target: of two classes the difference of the
    logits, of more the logit minus the log-sum-exp of the others, of a single output
    that output itself. The model is only called, never looked into; ``predict`` may
    stand for one behind an interface. Linear regressions on the same perturbations are
    fitted as well, and the verdict says where one of them predicts better.

    Leemann et al. 2025, https://arxiv.org/abs/2405.13536. SLALOM-eff is
    ``sampling="short", fit="sgd"``, SLALOM-fidel ``sampling="deletion", fit="als"``.
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        tokenizer: Any = None,
        *,
        sampling: str = "mixed",
        fit: str = "gauss-newton",
        n_samples: int | None = None,
        score: str = "product",
        seed: int = 0,
        predict: Callable[[list[str]], Any] | None = None,
        fix_importances: bool = False,
        learning_rate: float | None = None,
        epochs: int | None = None,
    ) -> None:
        """Remember the model and how to fit its surrogate.

        Args:
            model: A classifier or language model that takes token ids. Defaults to
                ``None``: there is ``predict``.
            tokenizer: Tells special tokens and padding. Defaults to ``None``: nothing
                is special.
            sampling: ``"mixed"``: short sequences and deletions; ``"short"``: random
                triples alone; ``"deletion"``: deletions alone, which leave values and
                importances unidentified; 1 to 10 tokens go, or, with a published
                ``fit``, 0 to 5 as published. Defaults to ``"mixed"``.
            fit: ``"gauss-newton"``, ``"sgd"`` or ``"als"``. Defaults to
                ``"gauss-newton"``.
            n_samples: The most perturbed texts to show to the model, held-out ones
                included; at least the number of distinct tokens + 1. Defaults to
                ``None``: 128, for the published samplings 500, or three for each
                distinct token if that is more.
            score: ``"product"``: v exp(s); ``"value"``: v; ``"importance"``: s;
                ``"removal"``: what leaving a token out would take away. Defaults to
                ``"product"``.
            seed: One seed, one answer. Defaults to ``0``.
            predict: In place of a model: a function from ``N`` texts to log-odds
                ``[N]``, or logits or log-probabilities ``[N, C]``. The explainer then
                takes texts, and words are what blanks part.
            fix_importances: Whether importances stay equal, and values alone are
                fitted. Defaults to ``False``.
            learning_rate: Of ``fit="sgd"``. Defaults to ``None``: the authors' 5e-3,
                3e-2 for deletions.
            epochs: Of ``fit="sgd"``. Defaults to ``None``: the authors' 60, 100 for
                deletions.

        Raises:
            ArgumentError: If an option has a value that is not allowed, or there is not
                just one of model and ``predict``.
        """
        super().__init__(called(model, tokenizer, predict))
        check_option(self, "sampling", sampling, SAMPLINGS)
        check_option(self, "fit", fit, FITS)
        check_option(self, "score", score, SCORES)
        if n_samples is not None and not is_whole(n_samples):
            raise ArgumentError(
                f"n_samples={n_samples!r} must be a whole number, or None for a number "
                "that fits the text."
            )
        if tokenizer is not None and not hasattr(tokenizer, "all_special_ids"):
            raise ArgumentError(
                f"tokenizer is a {type(tokenizer).__name__} without all_special_ids. "
                "Pass a Hugging Face tokenizer, or None if nothing is special."
            )
        self.tokenizer = tokenizer
        self.sampling, self.fit, self.score = sampling, fit, score
        self.n_samples, self.seed = n_samples, check_seed(seed)
        self.recipe = Recipe(fit, fix_importances, learning_rate, epochs)

    def __call__(self, inputs: Any, target: Any = None) -> SlalomExplanation:
        """Explain the log-odds of one output of each example.

        Args:
            inputs: Token ids as a tensor, a tuple of tensors or a mapping of keyword
                arguments. Whatever else has a place for each token goes along with it.
                With ``predict``: a text, or a list of texts.
            target: A class or token id, one for each example, a label, a ``Contrast``,
                or a function of the model's output, which is explained as it is.
                Defaults to ``None``: the arg-max.

        Returns:
            Values, importances, scores, the surrogate and its held-out fidelity.
        """
        if isinstance(self.model, BlackBox):
            inputs = self.model.read(inputs)
        batch = read_batch(self.model, self.tokenizer, inputs)
        numbers = [
            self._number(len(t.vocabulary), b) for b, t in enumerate(batch.texts)
        ]
        probes = [Probe(self.model, batch.call, b) for b in range(len(batch.texts))]
        with eval_mode(self.model):
            selected = self._whole(batch, probes, target)
            learned = [
                self._learn(batch, probe, selected, n)
                for probe, n in zip(probes, numbers, strict=True)
            ]
        return self._explanation(batch, probes, selected, learned)

    def _number(self, n_types: int, b: int) -> int:
        """Return how many sequences to draw for a text.

        Raises:
            ArgumentError: If fewer were asked for than it takes.
        """
        if self.n_samples is None:
            return max(DEFAULT_SAMPLES[self.sampling], SAMPLES_A_TOKEN * (n_types + 1))
        if self.n_samples < n_types + 1:
            raise ArgumentError(
                f"n_samples={self.n_samples} is too few for example {b}, which has "
                f"{n_types} distinct tokens; the minimum is {n_types + 1}."
            )
        return self.n_samples

    def _whole(self, batch: Batch, probes: Sequence[Probe], target: Any) -> Selected:
        """Return the log-odds of the whole texts, and of what.

        Raises:
            NonFiniteError: If one is NaN or infinite.
        """
        outputs = [
            probe.outputs([tuple(text.documents[0])])
            for probe, text in zip(probes, batch.texts, strict=True)
        ]
        if callable(target) and not isinstance(target, Contrast):
            chosen = [select(o, target, self.model, 1, None).scalar for o in outputs]
            selected = Selected(torch.cat(chosen).detach(), target)
        else:
            logits = torch.cat([last_logits(output) for output in outputs])
            found = select(logits, target, self.model, len(outputs), None).target
            odds = [log_odds(row[None], _row(found, b)) for b, row in enumerate(logits)]
            selected = Selected(torch.cat(odds), found)
        if not bool(selected.scalar.isfinite().all()):
            raise NonFiniteError(
                f"the log-odds of the examples are {selected.scalar.tolist()}, which "
                "no surrogate can be fitted to. Check the model's weights, run in a "
                "wider dtype (model.float()), or explain a class of finite logit."
            )
        return selected

    def _learn(self, batch: Batch, probe: Probe, selected: Selected, n: int) -> Learned:
        """Fit one example's surrogate, and warn if it is not to be relied on."""
        generator = torch.Generator().manual_seed(self.seed)
        published = self.fit != "gauss-newton"
        text = batch.texts[probe.row]
        samples = sample(text, self.sampling, n, generator, published)
        outputs = probe.log_odds(
            samples.sequences[1:], _row(selected.target, probe.row)
        )
        whole = selected.scalar[probe.row : probe.row + 1].detach().cpu().double()
        learned = learn(samples, torch.cat([whole, outputs]), self.recipe)
        if not learned.informative or learned.fit["r2"] <= 0:
            warnings.warn(
                f"example {probe.row}: {learned.verdict}", SlalomWarning, stacklevel=4
            )
        return learned

    def _explanation(
        self,
        batch: Batch,
        probes: Sequence[Probe],
        selected: Selected,
        learned: Sequence[Learned],
    ) -> SlalomExplanation:
        """Put the examples' surrogates together."""
        like = selected.scalar.new_zeros((), dtype=batch.dtype)
        table = _table(batch, learned, self.score)
        return SlalomExplanation(
            scores=table["scores"].to(like),
            values=table["values"].to(like),
            importances=table["importances"].to(like),
            output=selected.scalar.to(like),
            target=selected.target,
            method="slalom",
            attended=batch.attended,
            surrogates=[one.surrogate for one in learned],
            fit=_fit(probes, learned),
            verdicts=[one.verdict for one in learned],
            linear=[one.linear for one in learned],
            tokens=_words(self.model, batch),
            vocabulary=_vocabulary(self.model),
            score=self.score,
            known=table["known"].to(like.device),
        )


def _table(batch: Batch, learned: Sequence[Learned], score: str) -> dict[str, Tensor]:
    """Read off the surrogates what stands at the positions of each example.

    Returns:
        By the names of fields of `SlalomExplanation`, ``[B, T]``.
    """
    shape = batch.call.main.shape
    names = {"scores": score, "values": "value", "importances": "importance"}
    table = {name: torch.zeros(shape, dtype=torch.float64) for name in names}
    table["known"] = torch.zeros(shape, dtype=torch.bool)
    for row, (text, one) in enumerate(zip(batch.texts, learned, strict=True)):
        places = text.documents[0]
        ids = torch.tensor([text.ids[p] for p in places])
        for field, name in names.items():
            table[field][row, places] = SCORES[name](one.surrogate, ids)
        table["known"][row, places] = torch.isin(ids, one.surrogate.ids)
        if not one.informative and len(text.vocabulary) > 1:
            table["scores"][row] = 0
    return table


def _fit(probes: Sequence[Probe], learned: Sequence[Learned]) -> dict[str, Any]:
    """Return the entries of one example, or those of several as tensors."""
    rows = [
        {**one.fit, "model_calls": probe.shown, "informative": one.informative}
        for probe, one in zip(probes, learned, strict=True)
    ]
    if len(rows) == 1:
        return rows[0]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {n: torch.tensor([row.get(n, torch.nan) for row in rows]) for n in names}


def _words(model: nn.Module, batch: Batch) -> list[list[str]] | None:
    """Return the words of texts, where a function reads texts."""
    if not isinstance(model, BlackBox):
        return None
    return [
        [model.words[text.ids[p]] for p in text.documents[0]] for text in batch.texts
    ]


def _vocabulary(model: nn.Module) -> list[str] | None:
    """Return the words that a function of texts was asked of, by id."""
    return list(model.words) if isinstance(model, BlackBox) else None


def _row(target: Any, b: int) -> Any:
    """Return one example's target."""
    if isinstance(target, Contrast):
        return Contrast(target.a[b], target.b[b])
    return target[b] if isinstance(target, Tensor) else target
