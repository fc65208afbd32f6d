"""The examples that a circuit is of: single calls, and the roles of their positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.inputs import Call, bind, is_encoder_decoder
from ..attribution.readout import Contrast
from ..engine.subject import Subject
from ..errors import ArgumentError
from ..tasks.asked import by_name
from ..tasks.vocabulary import token_named
from ..texts.encoding import Encoded, encode, read_tokens, writes_text
from ..texts.given import as_texts

__all__ = ["Example", "Examples", "read_examples"]


@dataclass(frozen=True, eq=False)
class Example:
    """One example.

    Attributes:
        inputs: What the model is called with: a tuple or a mapping.
        target: What is explained of it.
        roles: The number of the role of each of its T positions, [T].
        outside: Modules whose positions are no tokens of the input: a decoder's.
    """

    inputs: Any
    target: Any
    roles: Tensor
    outside: frozenset[str] = frozenset()

    def roles_of(self, positions: Tensor, count: int, module: str = "") -> Tensor:
        """Return the roles of rows; where positions are others, they stay apart.

        Args:
            positions: The positions of rows, [R].
            count: How many positions there are.
            module: Where they are.

        Returns:
            [R].
        """
        known = count == len(self.roles) and module not in self.outside
        return self.roles[positions] if known else positions

    def places(self, count: int) -> Tensor:
        """Return the roles of all positions.

        Args:
            count: How many there are.

        Returns:
            [count].
        """
        return self.roles_of(torch.arange(count), count)


@dataclass(frozen=True, eq=False)
class Examples:
    """Examples of one template.

    Attributes:
        each: B examples.
        labels: What stands at each role, P of them.
    """

    each: list[Example]
    labels: list[str]


def read_examples(
    model: nn.Module,
    inputs_or_text: Any,
    tokenizer: Any,
    target: Any,
    positions: Sequence[Sequence[str]] | None,
) -> Examples:
    """Read what a circuit is to be found of.

    Args:
        model: The model.
        inputs_or_text: See `find_circuit`.
        tokenizer: See `find_circuit`.
        target: See `find_circuit`.
        positions: See `find_circuit`.

    Returns:
        The examples.
    """
    encoded = _encoded(model, inputs_or_text, tokenizer)
    inputs = inputs_or_text if encoded is None else encoded.batch
    call = bind(Subject(model), inputs)
    tokens = None if encoded is None else encoded.tokens
    counts = _counts(call, tokens)
    if positions is not None:
        labels, roles = _by_label(positions, counts)
    else:
        labels, roles = _by_place(tokens, counts)
    if tokenizer is not None and writes_text(model):
        target = by_name(target, partial(token_named, tokenizer))
    outside = _outside(model)
    each = [
        Example(
            _row(call, b, counts[b]), _target(target, b, call.batch), roles[b], outside
        )
        for b in range(call.batch)
    ]
    return Examples(each, labels)


def _outside(model: nn.Module) -> frozenset[str]:
    """Return the modules of an encoder-decoder that are not its encoder's."""
    find: Any = getattr(model, "get_encoder", None)
    if not is_encoder_decoder(model) or find is None:
        return frozenset()
    own = set(find().modules())
    return frozenset(name for name, m in model.named_modules() if m not in own)


def _encoded(model: nn.Module, given: Any, tokenizer: Any) -> Encoded | None:
    texts = as_texts(given)
    if texts is not None:
        if tokenizer is None:
            raise ArgumentError(
                "inputs_or_text is text, which needs a tokenizer; pass tokenizer=."
            )
        return encode(model, tokenizer, texts)
    return None if tokenizer is None else read_tokens(tokenizer, given)


def _counts(call: Call, tokens: list[list[str]] | None) -> list[int]:
    """Return how many positions each example has, without padding at its end."""
    main = call.main
    if tokens is not None:
        return [len(row) for row in tokens]
    if call.mask is not None:
        last = torch.arange(call.mask.shape[1], device=call.mask.device) + 1
        return (last * (call.mask != 0)).amax(1).tolist()
    has_positions = main.ndim == 3 or (main.ndim == 2 and not main.is_floating_point())
    return [main.shape[1] if has_positions else 0] * call.batch


def _by_place(
    tokens: list[list[str]] | None, counts: list[int]
) -> tuple[list[str], list[Tensor]]:
    """Let each position be a role; of several texts, what differs is named by all."""
    if len(set(counts)) > 1:
        raise ArgumentError(
            f"the examples have {', '.join(map(str, counts))} tokens; a circuit of "
            "several needs as many in each. Find one of each text, or pass positions= "
            "with a label for each token."
        )
    roles = [torch.arange(count) for count in counts]
    if tokens is None:
        return [str(i) for i in range(counts[0])], roles
    columns = [dict.fromkeys(column) for column in zip(*tokens, strict=True)]
    names = ["|".join([*column][:3]) + "|…" * (len(column) > 3) for column in columns]
    return names, roles


def _by_label(
    positions: Sequence[Sequence[str]], counts: list[int]
) -> tuple[list[str], list[Tensor]]:
    """Let each label be a role."""
    lengths = [len(row) for row in positions]
    if lengths != counts:
        raise ArgumentError(
            f"positions labels {lengths} tokens of the examples, which have {counts}; "
            "pass a list of labels for each example, one for each token."
        )
    numbers: dict[str, int] = {}
    roles = [
        torch.tensor([numbers.setdefault(str(label), len(numbers)) for label in row])
        for row in positions
    ]
    return list(numbers), roles


def _row(call: Call, b: int, count: int) -> Any:
    """Return what the model is called with for one example, padding cut off."""
    shape = call.main.shape[:2]
    cut = call.main.ndim >= 2 and 0 < count < call.main.shape[1]

    def one(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.ndim or len(value) != call.batch:
            return value
        row = value[b : b + 1]
        return row[:, :count] if cut and value.shape[:2] == shape else row

    if call.kwargs:
        return {key: one(value) for key, value in call.kwargs.items()}
    return tuple(map(one, call.args))


def _target(target: Any, b: int, batch: int) -> Any:
    """Return the target of one example."""
    if isinstance(target, Contrast):
        return Contrast(_target(target.a, b, batch), _target(target.b, b, batch))
    several = isinstance(target, list | tuple) or (
        isinstance(target, Tensor) and target.ndim == 1
    )
    if not several:
        return target
    if len(target) != batch:
        raise ArgumentError(
            f"target names {len(target)} classes for {batch} examples; pass one for "
            "each."
        )
    return target[b : b + 1] if isinstance(target, Tensor) else [target[b]]
