"""Texts to batches: what a model takes, and the tokens that its scores belong to."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ..errors import TextError
from .devices import device_of
from .given import Text
from .tokenising import check_text, tokenised

__all__ = [
    "Encoded",
    "added_ids",
    "check_text",
    "encode",
    "is_language_model",
    "padding_id",
    "position_limit",
    "read_tokens",
    "writes_text",
]


@dataclass(frozen=True, eq=False)
class Encoded:
    """A batch with its tokens.

    Args:
        batch: What the model takes.
        tokens: ``B`` lists of tokens, without the padding at the end.
        special: ``B`` lists of booleans: did the tokenizer add the token?
        texts: The ``B`` texts or pairs, if they are known.
        encodings: What the tokenizer made of each text.
        segments: ``B`` lists that tell which text of a pair each token is of, 0 or 1;
            None where there is one text.
        choices: C, where each example is C pairs and the batch is ``[B, C, T]``: then
            the lists are those of ``B * C`` pairs. None where it is not.
        decoder: What a decoder has said so far, with its tokens; None where there is
            none.
    """

    batch: Any
    tokens: list[list[str]]
    special: list[list[bool]]
    texts: Sequence[Text] | None = None
    encodings: Sequence[Any] = ()
    segments: list[list[int]] | None = None
    choices: int | None = None
    decoder: Encoded | None = None

    def chosen(self, batch: Any, rows: Sequence[int]) -> Encoded:
        """Choose among the texts.

        Args:
            batch: What the model takes then.
            rows: The text of each row.

        Returns:
            The batch of those.
        """

        def of(lists: Any) -> Any:
            return [lists[row] for row in rows] if lists else lists

        return Encoded(
            batch,
            of(self.tokens),
            of(self.special),
            of(self.texts),
            of(self.encodings),
            of(self.segments),
        )


def encode(
    model: nn.Module, tokenizer: Any, texts: Sequence[Text], bounded: bool = True
) -> Encoded:
    """Tokenise texts, and pairs of texts, and pad them on the right.

    Args:
        model: The model that is to take them; it bounds their length.
        tokenizer: A Hugging Face tokenizer.
        texts: At least one.
        bounded: Whether each is to fit in the model's positions. Defaults to ``True``.

    Returns:
        The batch, on the model's device, of what the model's ``forward`` names. A
        language model with a decoder starts to decode.

    Raises:
        TextError: If the model takes no text; or if a text is blank, no valid Unicode,
            becomes no token at all, or is longer than the model has positions.
    """
    takes = getattr(model, "main_input_name", "input_ids")
    if takes != "input_ids":
        raise TextError(
            f"the inputs are texts, but a {type(model).__name__} takes {takes!r}. Pass "
            "tensors."
        )
    limit = position_limit(model) if bounded else None
    rows = tokenised(tokenizer, texts, limit)
    paired = any(isinstance(text, tuple) for text in texts)
    return Encoded(
        batch=_batch(model, tokenizer, rows),
        tokens=[_names(tokenizer, row["input_ids"]) for row in rows],
        special=[list(map(bool, row["special_tokens_mask"])) for row in rows],
        texts=texts,
        encodings=rows,
        segments=(
            [_segments(tokenizer, *pair) for pair in zip(rows, texts, strict=True)]
            if paired
            else None
        ),
    )


def read_tokens(tokenizer: Any, inputs: Any) -> Encoded | None:
    """Find the tokens of a batch that was made elsewhere.

    Args:
        tokenizer: The Hugging Face tokenizer that made it.
        inputs: A tensor, a tuple of tensors or a mapping of keyword arguments.

    Returns:
        The same batch with its tokens, or ``None`` if there are no token ids in it.
    """
    first = inputs[0] if isinstance(inputs, tuple) and inputs else inputs
    ids = inputs.get("input_ids") if isinstance(inputs, Mapping) else first
    if not isinstance(ids, Tensor) or ids.dim() != 2 or ids.is_floating_point():
        return None
    mask = inputs.get("attention_mask") if isinstance(inputs, Mapping) else None
    if not isinstance(mask, Tensor) or mask.shape != ids.shape:
        mask = torch.ones_like(ids)
    added = added_ids(tokenizer)
    kept = [
        row[: last + 1]
        for row, last in zip(ids.tolist(), _last_attended(mask), strict=True)
    ]
    return Encoded(
        batch=inputs,
        tokens=[_names(tokenizer, row) for row in kept],
        special=[[i in added for i in row] for row in kept],
    )


def added_ids(tokenizer: Any) -> set[int]:
    """Find the tokens that stand for no part of a text.

    Args:
        tokenizer: A Hugging Face tokenizer, or None, which has none.

    Returns:
        Its special ids, but for the unknown token, which stands for a word of the
        text, unless it begins or ends texts as well.
    """
    if tokenizer is None:
        return set()
    roles = ("bos", "eos", "pad", "cls", "sep", "mask")
    ends = {getattr(tokenizer, f"{role}_token_id", None) for role in roles}
    unknown = {getattr(tokenizer, "unk_token_id", None)}
    return set(tokenizer.all_special_ids) - (unknown - ends)


def position_limit(model: nn.Module) -> int | None:
    """Find the longest text that a model has positions for.

    Args:
        model: Any module; only a Hugging Face model says how many it has, and a
            sentence encoder how many of them it reads.

    Returns:
        The number of tokens, or ``None`` where nothing bounds it.
    """
    read, limit = getattr(model, "max_seq_length", None), _positions(model)
    known = [each for each in (read, limit) if isinstance(each, int) and each > 0]
    return min(known, default=None)


def _positions(model: nn.Module) -> int | None:
    for name, module in model.named_modules():
        leaf = name.rpartition(".")[2]
        if leaf == "position_embeddings" and isinstance(module, nn.Embedding):
            # The positions of RoBERTa's family start behind the padding index.
            offset = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - offset
    config = getattr(model, "config", None)
    config = getattr(config, "text_config", config)  # of a tower
    return getattr(config, "max_position_embeddings", None)


def is_language_model(model: nn.Module) -> bool:
    """Tell whether a model's outputs are tokens.

    Args:
        model: Any module; only a Hugging Face model says so.

    Returns:
        Whether it has an output embedding.
    """
    head = getattr(model, "get_output_embeddings", None)
    return head is not None and head() is not None


def writes_text(model: nn.Module) -> bool:
    """Tell whether a model's outputs are the tokens that come next.

    Args:
        model: Any module.

    Returns:
        Whether it is a language model, and none that fills masks alone.
    """
    return is_language_model(model) and getattr(model, "can_generate", lambda: True)()


def _segments(tokenizer: Any, found: Any, text: Text) -> list[int]:
    """Tell which text each token is of; special ones go with the text before them."""
    length = len(found["input_ids"])
    if isinstance(text, str):
        return [0] * length
    if getattr(found, "is_fast", False):
        parts = found.sequence_ids(0)
    elif len(set(found.get("token_type_ids", ()))) == 2:
        return list(found["token_type_ids"])
    else:  # the texts part where special tokens are, or else where the first ends
        special = found["special_tokens_mask"]
        start = special.index(0)
        gap = start + len(tokenizer(text[0], add_special_tokens=False)["input_ids"])
        gap = special.index(1, start) if 1 in special[start:-1] else gap
        parts = [0 if place < gap else 1 for place in range(length)]
    segments, last = [], 0
    for part in parts:
        last = last if part is None else part
        segments.append(last)
    return segments


def _names(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Return the tokens of ids; an id that the tokenizer does not know by number."""
    names = tokenizer.convert_ids_to_tokens(list(ids))
    return [str(i) if n is None else n for i, n in zip(ids, names, strict=True)]


def _batch(
    model: nn.Module, tokenizer: Any, rows: Sequence[Mapping[str, list[int]]]
) -> Any:
    """Return what the model takes: the keys that its forward names, or just the ids.

    Raises:
        TextError: If texts differ in length, and the model takes no attention mask.
    """
    parameters = inspect.signature(model.forward).parameters
    kinds = {parameter.kind for parameter in parameters.values()}
    wraps = "input_ids" not in parameters and inspect.Parameter.VAR_KEYWORD in kinds
    names = [name for name in rows[0] if name in parameters or wraps]
    if "attention_mask" not in names and len({len(r["input_ids"]) for r in rows}) > 1:
        raise TextError(
            f"the texts differ in length, and {type(model).__name__}.forward takes no "
            "attention_mask. Explain them one by one."
        )
    filler = {"input_ids": padding_id(model, tokenizer)}
    device = device_of(model)
    batch = {
        name: pad_sequence(
            [torch.tensor(row[name]) for row in rows],
            batch_first=True,
            padding_value=filler.get(name, 0),
        ).to(device)
        for name in ("input_ids", *names)
        if name != "special_tokens_mask"
    }
    if "input_ids" not in names:
        return batch["input_ids"]
    start = getattr(getattr(model, "config", None), "decoder_start_token_id", None)
    if start is not None and is_language_model(model):
        batch["decoder_input_ids"] = torch.full((len(rows), 1), start, device=device)
    return batch


def padding_id(model: nn.Module, tokenizer: Any) -> int:
    """Find the padding id: some models tell padding by it, not by the mask.

    Args:
        model: The model that is to take it.
        tokenizer: Its tokenizer.

    Returns:
        The id; 0 where neither names one.
    """
    config = getattr(model, "config", None)
    for owner in (tokenizer, config):
        found = getattr(owner, "pad_token_id", None)
        if isinstance(found, int):
            return found
    return 0


def _last_attended(mask: Tensor) -> list[int]:
    """Return the last attended position of each example."""
    positions = torch.arange(mask.shape[1], device=mask.device)
    last: list[int] = torch.where(mask != 0, positions, -1).amax(1).tolist()
    return last
