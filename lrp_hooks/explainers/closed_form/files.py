"""Trained classifiers with their words, in one file; texts as their documents."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ...errors import ArgumentError, TextError
from ...support.files import write_whole
from ...support.numbers import is_whole
from .classifier import CLASS_TOKEN, UNKNOWN_TOKEN, AttentionClassifier
from .heads import check_model, factor

__all__ = ["document", "from_state_dict", "load_classifier", "save_classifier", "split"]

FIRST_WORD = 2
"""Ids 0 and 1 are the class token and the unknown one."""

_SHORTEST = 2
"""The class token and a word."""


def from_state_dict(
    state: Mapping[str, Any],
    *,
    max_length: int = 256,
    scale: bool = True,
    positions: bool = True,
) -> AttentionClassifier:
    """Build the classifier that trained weights belong to.

    Args:
        state: ``embedding.weight`` ``[V, D]`` and, for each head i,
            ``heads.i.{query,key,value,classifier}.weight``: tensors, or arrays.
        max_length: ``T``. Defaults to ``256``.
        scale: As ``AttentionClassifier`` takes it. Defaults to ``True``.
        positions: Likewise. Defaults to ``True``.

    Returns:
        The classifier in the weights' dtype, at least float32.

    Raises:
        ArgumentError: If weights are missing or do not fit.
    """
    if not isinstance(state, Mapping):
        raise ArgumentError(
            f"state is a {type(state).__name__}; it must be a dictionary of weights by "
            "name, as state_dict() returns it."
        )
    try:
        parts = {
            str(name): part if isinstance(part, Tensor) else torch.tensor(part)
            for name, part in state.items()
        }
        model = _shaped(parts, max_length, scale, positions)
        model.load_state_dict({n: p.to(model.positions) for n, p in parts.items()})
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ArgumentError(
            f"the weights are none of an AttentionClassifier: {str(error)[:200]}. They "
            "must be embedding.weight and heads.i.{query,key,value,classifier}.weight."
        ) from error
    return model.eval()


def _shaped(
    state: Mapping[str, Tensor], max_length: int, scale: bool, positions: bool
) -> AttentionClassifier:
    """Build a classifier.

    Returns:
        One of the weights' sizes and dtype.

    Raises:
        ValueError: If a weight that tells a size is no matrix.
    """
    names = ("embedding.weight", "heads.0.query.weight", "heads.0.value.weight")
    for name in names:
        if state[name].dim() != 2:
            raise ValueError(f"{name} has the shape {list(state[name].shape)}")
    table, inner, values = (state[name].shape for name in names)
    model = AttentionClassifier(
        table[0],
        len({name.split(".")[1] for name in state if name.startswith("heads.")}),
        table[1],
        inner[0],
        max_length,
        value_dim=values[0],
        scale=scale,
        positions=positions,
    )
    return model.to(torch.promote_types(state[names[0]].dtype, torch.float32))


def save_classifier(
    model: AttentionClassifier, words: Sequence[str], path: str | PathLike[str]
) -> None:
    """Write a classifier and its vocabulary into one ``.safetensors`` file.

    Args:
        model: The classifier.
        words: The word of each id from 2 on, all of them: distinct, and as a text's
            words are read, letters and digits in lower case.
        path: The file. One of another model, of other words, or in a folder that is not
            there, is refused.
    """
    check_model(model)
    _check_words(model, words)
    metadata = {
        "words": json.dumps(list(words)),
        "max_length": str(model.max_length),
        "scale": json.dumps(factor(model) != 1.0),
        "positions": json.dumps(bool(model.positions.any())),
    }
    state = {name: part.contiguous() for name, part in model.state_dict().items()}
    write_whole({path: safetensors.torch.save(state, metadata)})


def load_classifier(
    path: str | PathLike[str],
) -> tuple[AttentionClassifier, list[str]]:
    """Read what ``save_classifier`` wrote.

    Args:
        path: The file.

    Returns:
        The classifier, and the word of each id from 2 on.

    Raises:
        ArgumentError: If the file cannot be read, or holds something else.
    """
    if not Path(path).is_file():
        what = "a folder" if Path(path).is_dir() else "not there"
        raise ArgumentError(
            f"{str(path)!r} is {what}; a model file is one .safetensors file with the "
            "classifier's weights and its words, as "
            "closed_form.save_classifier(model, words, path) writes it. For models of "
            "other architectures use lrp_hooks.explain, or lrp-hooks explain --model."
        )
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        words, options = _described(metadata)
    except _UNREADABLE as error:
        raise ArgumentError(
            f"{str(path)!r} holds no classifier with its words "
            f"({type(error).__name__}: {str(error)[:120]}). Write one with "
            "closed_form.save_classifier(model, words, path)."
        ) from error
    model = from_state_dict(state, **options)
    _check_words(model, words)
    return model, words


_UNREADABLE = (
    OSError,
    safetensors.SafetensorError,
    KeyError,
    RecursionError,
    TypeError,
    ValueError,
)


def split(text: str) -> list[str]:
    """Return a text's words: letters and digits, in lower case."""
    return re.findall(r"[^\W_]+", text.lower())


def document(text: str, words: Sequence[str], max_length: int = 256) -> Tensor:
    """Turn a text into a document of the classifier.

    Args:
        text: The text. What goes beyond ``max_length`` is cut, as in the paper.
        words: The word of each id from 2 on; others are the unknown token.
        max_length: ``T``, at least 2: the class token and a word. Defaults to ``256``.

    Returns:
        Ids ``[T]``: the class token, words and padding with the unknown token.

    Raises:
        ArgumentError: If ``words`` are no list, or ``max_length`` has room for none.
        TextError: If the text has no word that is known.
    """
    _check_list(words)
    if not is_whole(max_length) or max_length < _SHORTEST:
        raise ArgumentError(
            f"max_length={max_length!r} must be a whole number from 2 on, the class "
            "token and a word; give that of the classifier, model.max_length."
        )
    index = {word: i for i, word in enumerate(words, FIRST_WORD)}
    found = [index.get(w, UNKNOWN_TOKEN) for w in split(text)][: max_length - 1]
    if set(found) <= {UNKNOWN_TOKEN}:
        raise TextError(
            f"the text {text[:60]!r} has no word of the classifier's vocabulary of "
            f"{len(words)}."
        )
    padding = [UNKNOWN_TOKEN] * (max_length - 1 - len(found))
    return torch.tensor([CLASS_TOKEN, *found, *padding])


def _described(metadata: Mapping[str, str]) -> tuple[list[str], dict[str, Any]]:
    """Read what stands beside the weights."""
    options = {name: json.loads(metadata[name]) for name in ("scale", "positions")}
    words = json.loads(metadata["words"])
    if not isinstance(words, list):
        raise ValueError(f"its words are a {type(words).__name__}, no list")
    return words, {"max_length": int(metadata["max_length"]), **options}


def _check_list(words: object) -> None:
    """Refuse what has no words in their order.

    Raises:
        ArgumentError: If it is a single string, say, or a mapping.
    """
    ordered = hasattr(words, "__len__") and hasattr(words, "__getitem__")
    if not ordered or isinstance(words, str | bytes | Mapping):
        raise ArgumentError(
            f"words is a {type(words).__name__}; it must be a list, the word of each "
            "id from 2 on."
        )


def _check_words(model: AttentionClassifier, words: Sequence[str]) -> None:
    """Refuse other words than one for each id, as texts are read.

    Raises:
        ArgumentError: If there are more or fewer, or one is no word or comes twice.
    """
    _check_list(words)
    wanted = model.embedding.num_embeddings - FIRST_WORD
    if len(words) != wanted:
        raise ArgumentError(
            f"words has {len(words)} entries, and the classifier {wanted} ids of words "
            "beside the class token and the unknown one. Give each id its word."
        )
    seen: set[str] = set()
    for i, word in enumerate(words):
        if not isinstance(word, str) or split(word) != [word]:
            raise ArgumentError(
                f"words[{i}]={word!r} is in no text as texts are read; a word is a "
                "string of letters and digits in lower case."
            )
        if word in seen:
            raise ArgumentError(
                f"words[{i}]={word!r} stands at words[{list(words).index(word)}], too; "
                "each id must have a word of its own."
            )
        seen.add(word)
