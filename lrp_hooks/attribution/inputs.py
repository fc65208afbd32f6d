"""The inputs of one call: how the model is called, and where relevance is read."""

from __future__ import annotations

import inspect
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ..engine.subject import Subject
from ..errors import ArgumentError, LrpHooksError, TargetError, TextError
from .call import Call
from .content import content_of
from .copies import fields_of
from .graphs import NO_NODES, owner_of_nodes
from .readable import advice, check_loaded, check_readable, is_plain

__all__ = ["Call", "advising", "bind", "is_encoder_decoder"]


def bind(subject: Subject, inputs: Any, batch_dim: int = 0) -> Call:
    """Understand the inputs of `Instrumentation.attribute`.

    Args:
        subject: The model.
        inputs: A tensor, a tuple of tensors, or a mapping of keyword arguments; or the
            one argument of a model that takes a mapping, a dataclass or a tuple.
        batch_dim: Which axis of the main input counts the examples.

    Returns:
        The call.

    Raises:
        ArgumentError: If there is no tensor in them, or they do not fit the model.
    """
    model = subject.model
    if isinstance(inputs, Tensor):
        call = _positional(subject, (inputs,))
    elif isinstance(inputs, Mapping):
        call = _from_mapping(subject, inputs)
    elif fields_of(inputs) is not None:
        call = _as_one(model, inputs)
    elif isinstance(inputs, Sequence) and not isinstance(inputs, str):
        call = _from_sequence(subject, inputs)
    else:
        raise ArgumentError(
            f"inputs is a {type(inputs).__name__}; it must be a tensor, a tuple of "
            f"tensors, or a mapping such as a tokenizer's output.{_hint(inputs)}"
        )
    check_readable(call.main)
    if call.main.ndim == 0 or call.main.numel() == 0:
        raise ArgumentError(
            f"inputs has shape {tuple(call.main.shape)}; it must start with the number "
            "of examples and hold at least one element."
        )
    call = _along(call, batch_dim)
    _check_ids(subject, call)
    # What may be wrong, and a word of the failures that it may be the reason of.
    doubts = (
        (advice(subject, call.main), ""),
        (_undecided(subject, call), "input_ids"),
        (_unmarked(subject, call), "token"),
    )
    doubt, word = next((each for each in doubts if each[0]), ("", ""))
    return replace(call, doubt=doubt, doubtful=word)


def _from_mapping(subject: Subject, inputs: Mapping[str, Any]) -> Call:
    """Take a mapping for keyword arguments, or else for the model's one argument."""
    model, takes = subject.model, subject.signature
    known = takes is None or _fits(takes, inputs) or inputs.keys() & takes.parameters
    if not known and takes is not None and _fits(takes, {}, inputs):
        return _as_one(model, inputs)
    held = fields_of(*inputs.values()) if len(inputs) == 1 else None
    found = _keywords(model, dict(inputs) if held is None else held)
    return replace(found, kwargs=dict(inputs))


def _from_sequence(subject: Subject, inputs: Sequence[Any]) -> Call:
    """Take a sequence for positional arguments, or else for the one argument."""
    if len(inputs) == 1 and fields_of(inputs[0]) is not None:
        return _as_one(subject.model, inputs[0])
    call, takes = _positional(subject, tuple(inputs)), subject.signature
    if takes is None or _fits(takes, {}, *inputs) or not _fits(takes, {}, inputs):
        return call
    return replace(call, args=(inputs,))


def _as_one(model: nn.Module, inputs: Any) -> Call:
    """Take a mapping or a dataclass for the one argument of a model."""
    call = _keywords(model, fields_of(inputs) or {})
    return replace(call, args=(inputs,), kwargs={})


def _fits(takes: inspect.Signature, named: Mapping[str, Any], *args: Any) -> bool:
    try:
        takes.bind(*args, **named)
    except TypeError:
        return False
    return True


def _along(call: Call, batch_dim: int) -> Call:
    """Count the examples along another axis than the first."""
    whole = isinstance(batch_dim, int) and not isinstance(batch_dim, bool)
    if not whole or not 0 <= batch_dim < call.main.ndim:
        raise ArgumentError(
            f"batch_dim={batch_dim!r} must be an axis of the inputs, a whole number "
            f"from 0 to {call.main.ndim - 1}; they have shape {tuple(call.main.shape)}."
        )
    if batch_dim == 0:
        return call
    mask, output_mask = (
        m.T if m is not None and m.ndim == 2 and m.shape == call.main.shape[:2] else m
        for m in (call.mask, call.output_mask)
    )
    return replace(call, mask=mask, output_mask=output_mask, batch_dim=batch_dim)


def _hint(inputs: Any) -> str:
    """Say what explains texts, where there is none among tensors."""
    if isinstance(inputs, str) and inputs:
        return _EXPLAINS_TEXT
    table = " Of a table pass a column: table['text']."
    also = " explain() also takes texts, with their tokenizer."
    return also + table * (type(inputs).__name__ == "DataFrame")


_EXPLAINS_TEXT = (
    " Tokenise the text; lrp_hooks.explain(model, text, tokenizer=...) takes text as "
    "it is."
)


@contextmanager
def advising(call: Call) -> Generator[None]:
    """Say what a failure of the model or the target may mean.

    Any error becomes an `ArgumentError` that tells of the batch dimension where inputs
    are [B], or of their type where it is not the model's.

    Args:
        call: The call that is made.
    """
    try:
        yield
    except Exception as error:
        ours = isinstance(error, LrpHooksError | Warning)
        check_loaded(error)
        doubt = "" if ours or call.doubtful not in str(error) else call.doubt
        if call.main.ndim == 1 and (not ours or isinstance(error, TargetError)):
            doubt = (
                f"inputs of shape {tuple(call.main.shape)}, which count as "
                f"{call.batch} examples; if they are one example, add the batch "
                "dimension: inputs[None]."
            )
        if not doubt:
            raise
        kind = TargetError if ours else ArgumentError
        raise kind(
            f"{type(error).__name__}: {str(error).rstrip(' .')}. This may come from "
            f"{doubt}"
        ) from error


def _positional(subject: Subject, values: tuple[Any, ...]) -> Call:
    names = _parameter_names(subject, len(values))
    tensors = {
        n: v for n, v in zip(names, values, strict=True) if isinstance(v, Tensor)
    }
    if not tensors:
        hint = _EXPLAINS_TEXT if any(isinstance(v, str) for v in values) else ""
        raise ArgumentError(f"inputs holds no tensor; pass at least one.{hint}")
    name = next(iter(tensors))
    mask = _fitting(tensors.get("attention_mask"), tensors[name])
    return _read_by_default(
        Call(values, {}, tensors[name], tensors=tensors), name, mask
    )


def _read_by_default(call: Call, main: str, output_mask: Tensor | None) -> Call:
    """Say what is read where nobody says it: all inputs that carry content."""
    content = content_of(call.tensors, main)
    owner = owner_of_nodes(call.tensors, call.main)
    if owner is not None:
        content = {n: t for n, t in content.items() if n not in NO_NODES}
    return replace(
        call,
        owner=owner,
        floats={name: t for name, t in content.items() if is_plain(t)},
        content=tuple(content),
        mask=_fitting(call.tensors.get("attention_mask"), call.main),
        output_mask=output_mask,
    )


def _parameter_names(subject: Subject, n: int) -> list[str]:
    takes = subject.signature
    names = [] if takes is None else list(takes.parameters)[:n]
    return names + [f"input_{i}" for i in range(len(names), n)]


def _keywords(model: nn.Module, values: dict[str, Any]) -> Call:
    tensors = {name: v for name, v in values.items() if isinstance(v, Tensor)}
    if not tensors:
        raise ArgumentError(
            f"inputs holds no tensor (its keys: {', '.join(map(str, values))}); ask "
            'the tokenizer for them with return_tensors="pt".'
        )
    own = getattr(model, "main_input_name", None)
    if type(model).__name__.endswith("ForObjectDetection"):
        own = "pixel_values"  # of which an example may have several texts
    preferred = [own, "input_ids", "inputs_embeds"]
    if "edge_index" in tensors:
        preferred.insert(0, "x")
    known = next((name for name in preferred if name in tensors), None)
    name = known or next(iter(tensors))
    mask = tensors.get("attention_mask")
    decoder = "decoder_input_ids" in tensors or is_encoder_decoder(model)
    output_mask = tensors.get("decoder_attention_mask") if decoder else mask
    call = Call((), values, tensors[name], tensors=tensors)
    return _read_by_default(call, name, output_mask)


def _fitting(mask: Tensor | None, main: Tensor) -> Tensor | None:
    fits = mask is not None and mask.ndim == 2 and mask.shape == main.shape[:2]
    return mask if fits else None


def is_encoder_decoder(model: nn.Module) -> bool:
    """Tell whether a model's configuration says so.

    Args:
        model: Any model.

    Returns:
        True for sequence-to-sequence models of transformers.
    """
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))


def _undecided(subject: Subject, call: Call) -> str:
    """Name what an encoder-decoder lacks that is not told what it has written."""
    told = any(name.startswith("decoder_") for name in call.kwargs)
    if len(call.args) > 1 or told or not is_encoder_decoder(subject.model):
        return ""
    return (
        "an encoder-decoder without decoder_input_ids: pass the tokens that it has "
        "written, at first torch.tensor([[model.config.decoder_start_token_id]]). "
        "explain_generation(model, tokenizer, inputs) explains all that it writes."
    )


def _unmarked(subject: Subject, call: Call) -> str:
    """Name what a text lacks that has an image or a sound beside it."""
    config = vars(getattr(subject.model, "config", object))
    marks = {n: v for n, v in config.items() if _STANDS_FOR.fullmatch(n) and v}
    marked = any((call.main == value).any() for value in marks.values())
    if not marks or marked or not call.floats or call.main.is_floating_point():
        return ""
    return (
        f"input_ids without a token that stands for {', '.join(call.floats)} "
        f"({', '.join(f'{n}={v}' for n, v in marks.items())}). Let the model's "
        "processor make both, of a text that has its mark."
    )


_STANDS_FOR = re.compile(r"(image|video|audio)_token_(id|index)")


def _check_ids(subject: Subject, call: Call) -> None:
    """Refuse token ids that the model's tables cannot hold, before torch does."""
    ids = call.main
    if ids.is_floating_point() or ids.is_complex():
        return
    rows = getattr(subject.input_embedding, "num_embeddings", None)
    if rows is not None and not 0 <= int(ids.min()) <= int(ids.max()) < rows:
        raise ArgumentError(
            f"inputs holds the token ids {int(ids.min())} to {int(ids.max())}, but the "
            f"model's vocabulary has {rows}; use the tokenizer it was trained with."
        )
    limit = subject.n_positions
    length = call.rows.shape[2 if call.has_choices else 1] if ids.ndim > 1 else 1
    if limit is not None and length > limit:
        raise TextError(
            f"inputs has {length} tokens, but the model has {limit} "
            "positions; shorten the text (truncation=True in the tokenizer)."
        )
