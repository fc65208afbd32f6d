"""One surrogate for a whole model, over the vocabulary of many documents."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ...attribution.inputs import Call
from ...attribution.passes import eval_mode
from ...attribution.readout import select
from ...engine.subject import Subject
from ...errors import ArgumentError, TextError
from ...support.numbers import is_whole
from ...support.seeds import check_seed
from ...texts.devices import device_of
from ...texts.encoding import added_ids
from .document import Text
from .explanation import SlalomWarning
from .learning import learn
from .probe import Probe, last_logits, log_odds
from .recipe import Recipe
from .sampling import sample
from .surrogate import Surrogate

__all__ = ["VocabularySurrogate", "fit_vocabulary"]

SAMPLES_A_TOKEN = 4


@dataclass(frozen=True, eq=False)
class VocabularySurrogate(Surrogate):
    """A surrogate with its fidelity.

    Args:
        fit: As ``SlalomExplanation.fit``.
    """

    fit: dict[str, Any] = field(default_factory=dict)


def fit_vocabulary(
    model: nn.Module,
    documents: Sequence[str] | Sequence[Sequence[int]],
    tokenizer: Any = None,
    *,
    target: Any,
    n_samples: int | None = None,
    seed: int = 0,
) -> VocabularySurrogate:
    """Fit one surrogate to a model, for all texts of the documents' vocabulary.

    Short sequences mix tokens of all documents, deletions leave tokens of one out.
    The time of the fit grows with the cube of the vocabulary: a thousand distinct
    tokens take minutes.

    Args:
        model: A classifier or language model that takes token ids.
        documents: Texts, which need a tokenizer, or lists of token ids.
        tokenizer: A Hugging Face tokenizer. Defaults to ``None``: nothing is special.
        target: The class whose log-odds are predicted; a label or a ``Contrast`` will
            do, too.
        n_samples: The most perturbed texts to show to the model, besides the documents
            themselves. Defaults to ``None``: four for each distinct token.
        seed: One seed, one answer. Defaults to ``0``.

    Returns:
        The surrogate of the vocabulary, with save and load.

    Raises:
        ArgumentError: If texts come without a tokenizer, a target is missing or a
            function, an id is none of the model's, or ``n_samples`` or ``seed`` is no
            number that will do.
    """
    generator = torch.Generator().manual_seed(check_seed(seed))
    if target is None or callable(target):
        raise ArgumentError(
            f"target={target!r} must be one class, label or Contrast for all documents."
        )
    text = _concatenate(model, documents, tokenizer)
    number = _number(n_samples, len(text.vocabulary))
    device = device_of(model)
    ids = torch.tensor([text.ids], device=device)
    probe = Probe(model, Call((ids,), {}, ids), 0)
    samples = sample(text, "mixed", number, generator)
    with eval_mode(model):
        logits = last_logits(probe.outputs(samples.sequences[:1]))
        chosen = _only(select(logits, target, model, 1, None).target)
        others = probe.log_odds(samples.sequences[1:], chosen)
    outputs = torch.cat([log_odds(logits, chosen).cpu(), others])
    learned = learn(samples, outputs, Recipe())
    if not learned.informative:
        warnings.warn(learned.verdict, SlalomWarning, stacklevel=2)
    found = learned.surrogate
    fit = {**learned.fit, "model_calls": probe.shown}
    fit["informative"] = learned.informative
    return VocabularySurrogate(found.ids, found.values, found.importances, fit)


def _number(n_samples: int | None, n_types: int) -> int:
    """Return how many sequences to draw.

    Raises:
        ArgumentError: If fewer were asked for than it takes.
    """
    minimum = n_types + 1
    if n_samples is None:
        return SAMPLES_A_TOKEN * minimum
    if not is_whole(n_samples) or n_samples < minimum:
        raise ArgumentError(
            f"n_samples={n_samples!r} must be a whole number, or None for four for "
            f"each distinct token; of {n_types} the minimum is {minimum}."
        )
    return n_samples


def _concatenate(model: nn.Module, documents: Sequence[Any], tokenizer: Any) -> Text:
    """Return documents behind each other.

    Raises:
        ArgumentError: If texts come without a tokenizer, or ids are none of the
            model's.
        TextError: If there is no document, or one without an ordinary token.
    """
    if isinstance(documents, (str, Tensor)) or not len(documents):
        raise TextError("documents must be a list of at least one text.")
    if tokenizer is None and any(isinstance(d, str) for d in documents):
        raise ArgumentError(
            "documents are texts, and tokenizer is None. Pass the model's tokenizer, "
            "or lists of token ids."
        )
    rows = [
        tokenizer(d)["input_ids"] if isinstance(d, str) else list(map(int, d))
        for d in documents
    ]
    special = added_ids(tokenizer)
    for number, row in enumerate(rows, start=1):
        if all(i in special for i in row):
            raise TextError(f"document {number} has no ordinary token: {row[:20]}.")
    _check_ids(model, rows)
    ids = [i for row in rows for i in row]
    starts = [sum(map(len, rows[:k])) for k in range(len(rows))]
    places = [
        list(range(start, start + len(row)))
        for start, row in zip(starts, rows, strict=True)
    ]
    return Text(ids, [i in special for i in ids], places)


def _check_ids(model: nn.Module, rows: Sequence[Sequence[int]]) -> None:
    """Refuse ids that the model's table cannot hold, where it has one.

    Raises:
        ArgumentError: If there is one; the message names it.
    """
    size = getattr(Subject(model).input_embedding, "num_embeddings", None)
    most = sys.maxsize if size is None else size
    table = "ids begin at 0"
    if size is not None:
        table = f"the model's vocabulary has {size} ids, 0 to {size - 1}"
    for number, row in enumerate(rows, start=1):
        for i in row:
            if not 0 <= i < most:
                raise ArgumentError(
                    f"document {number} has the id {i}, but {table}; use the tokenizer "
                    "that the model was trained with."
                )


def _only(target: Any) -> Any:
    """Return the target of the one example."""
    if isinstance(target, Tensor):
        return target[0]
    return type(target)(target.a[0], target.b[0])
