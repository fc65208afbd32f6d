"""One call for every explainer, on tensors or on texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from .. import explainers
from ..attribution.readout import Contrast
from ..errors import ArgumentError
from ..results.explanation import Explanation
from ..texts.encoding import Encoded, as_texts, encode, is_language_model, read_tokens
from ..texts.spans import pieces_of_each, vocabulary_mark

__all__ = ["explain"]


def explain(
    model: nn.Module,
    inputs_or_text: Any,
    method: str = "lrp",
    tokenizer: Any = None,
    target: Any = None,
    **options: Any,
) -> Explanation:
    """Explain one output of a model for each example.

    Args:
        model: Any module; it is left as it was.
        inputs_or_text: A text or a list of texts, which need a tokenizer; or a tensor,
            a tuple of tensors, or a mapping of keyword arguments.
        method: An explainer's class name in snake case. Defaults to ``"lrp"``.
        tokenizer: A Hugging Face tokenizer, which also names the tokens of a batch.
        target: What to explain: a class or token id, one for each example, a label,
            a ``Contrast``, or a function of the model's output. Defaults to ``None``:
            the arg-max.
        **options: Options of the explainer, for example ``rules="attnlrp"``.

    Returns:
        The explanation, with tokens and label names where they are known.

    Raises:
        ArgumentError: If a text comes without a tokenizer.
    """
    explainer_class = explainers.named(method)
    explainer_class.check_options(options)
    if tokenizer is not None and "tokenizer" in explainer_class.options():
        options.setdefault("tokenizer", tokenizer)
    texts = as_texts(inputs_or_text)
    if texts is not None and tokenizer is None:
        raise ArgumentError(
            "inputs_or_text is a text, and tokenizer is None. Pass the model's "
            "tokenizer, or token ids as a tensor."
        )
    explainer = explainer_class(model, **options)
    if texts is not None:
        encoded: Encoded | None = encode(model, tokenizer, texts)
    else:
        encoded = read_tokens(tokenizer, inputs_or_text) if tokenizer else None
    batch = inputs_or_text if encoded is None else encoded.batch
    found = explainer(batch, target=target)
    if found.images is None and isinstance(found.scores, Tensor):
        found.images = _images(batch, found.scores)
    return _annotate(found, model, tokenizer, encoded)


def _images(batch: Any, scores: Tensor) -> Tensor | None:
    """Return the only pictures in a batch, if its scores are images."""
    if scores.dim() != 3:
        return None
    several = batch.values() if isinstance(batch, Mapping) else batch
    tensors = [batch] if isinstance(batch, Tensor) else list(several)
    found = [t for t in tensors if isinstance(t, Tensor) and t.ndim == 4]
    return found[0] if len(found) == 1 and found[0].shape[1] in {1, 3} else None


def _annotate(
    explanation: Explanation, model: nn.Module, tokenizer: Any, encoded: Encoded | None
) -> Explanation:
    """Return the explanation with tokens and names added."""
    meta = dict(explanation.meta)
    labels = _labels(explanation, model, tokenizer)
    if labels:
        meta["labels"] = labels
    if encoded is None or not _fits(explanation, encoded):
        return replace(explanation, meta=meta)
    meta["special"] = encoded.special
    meta["subwords"] = vocabulary_mark(tokenizer)
    meta["pieces"] = pieces_of_each(encoded, meta["subwords"])
    return replace(explanation, tokens=encoded.tokens, meta=meta)


def _fits(explanation: Explanation, encoded: Encoded) -> bool:
    """Return whether scores, wherever they were read, have a place for each token."""
    scores = explanation.scores
    if isinstance(scores, Mapping):
        return True
    longest = max(map(len, encoded.tokens))
    by_token = scores.dim() == 2 or isinstance(explanation.target, str)
    return by_token and scores.shape[1] >= longest


def _labels(
    explanation: Explanation, model: nn.Module, tokenizer: Any
) -> dict[int, str]:
    """Return names of the targets: tokens for a language model, else its labels."""
    if not is_language_model(model):
        labels = getattr(getattr(model, "config", None), "id2label", None) or {}
        return {int(i): str(name) for i, name in labels.items()}
    ids = _ids(explanation.target) if tokenizer is not None else []
    return {i: str(tokenizer.convert_ids_to_tokens(i)) for i in ids}


def _ids(target: object) -> list[int]:
    """Return all token ids in a target."""
    if isinstance(target, Contrast):
        return _ids(target.a) + _ids(target.b)
    if isinstance(target, Tensor):
        target = target.flatten().tolist()
    several = target if isinstance(target, (list, tuple)) else [target]
    return [i for i in several if isinstance(i, int)]
