"""What is perturbed, what never is, and what is put in place of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.inputs import Call
from ..engine.subject import Subject
from ..errors import ArgumentError, TextError
from ..support.numbers import is_whole
from ..texts.encoding import added_ids
from .calls import attended, changed, real_tokens

__all__ = ["DELETE", "Features", "filler_of", "find_features", "keep_rows"]

DELETE = "delete"
_TOKENS = {"mask": "mask_token_id", "unk": "unk_token_id", "pad": "pad_token_id"}
_OTHERS = {"replace_with": DELETE, "baseline": "zero"}
_PATCHES = 14  # along the longer side of an image: patches of 16 in 224 pixels


@dataclass(frozen=True)
class Features:
    """The features of a batch.

    Attributes:
        labels: The feature that a place belongs to, counted from 0 in each example, -1
            where nothing is perturbed: [B, T] for tokens and embeddings, [B, C, T] for
            those of choices, [B, H, W] for images, else in the shape of the input.
        attended: False at padding, [B, T], or None where there is no mask.
    """

    labels: Tensor
    attended: Tensor | None

    def count(self, row: int) -> int:
        """Count the features of an example.

        Args:
            row: The example.

        Returns:
            Their number, d.
        """
        return int(self.labels[row].max()) + 1

    def spread(self, row: int, kept: Tensor, rest: float) -> Tensor:
        """Give each place the value of its feature.

        Args:
            row: The example.
            kept: One value a feature, [N, d].
            rest: The value of places that are never perturbed.

        Returns:
            One value a place, [N, ...].
        """
        padded = torch.cat([kept, kept.new_full((len(kept), 1), rest)], 1)
        return padded[:, self.labels[row]]

    def shared(self, row: int, scores: Tensor) -> Tensor:
        """Share the score of each feature evenly among its places.

        Args:
            row: The example.
            scores: One value a feature, [d].

        Returns:
            One value a place, of the same sum; 0 where nothing is perturbed.
        """
        labels = self.labels[row]
        places = labels[labels >= 0].bincount(minlength=len(scores)).to(scores)
        return self.spread(row, (scores / places)[None], rest=0.0)[0]


def find_features(
    model: nn.Module, call: Call, tokenizer: Any, patch: int | None
) -> Features:
    """Find what is perturbed in a batch.

    Args:
        model: The model.
        call: Its call.
        tokenizer: Tells special tokens; ``None``: nothing is special.
        patch: The side of an image's patches; ``None``: a fourteenth of the image.

    Returns:
        Tokens or positions but for special ones and padding, patches of images, or
        elements of vectors.

    Raises:
        ArgumentError: If the inputs have another shape.
        TextError: If an example has no feature.
    """
    main, mask = call.main, real_tokens(model, call)
    if len(call.floats) > 1:
        raise ArgumentError(
            f"inputs holds {len(call.floats)} float tensors, {', '.join(call.floats)}; "
            "one is perturbed at a time. Wrap the model so that the others are fixed."
        )
    if main.is_floating_point() and main.ndim == 4:
        return Features(_patches(main, patch), None)
    ids = not main.is_floating_point()
    if main.ndim not in ((2, 3) if ids else (1, 2, 3)):
        raise ArgumentError(
            f"inputs is {main.dtype} of shape {tuple(main.shape)}; token ids [B, T], "
            "or [B, C, T] of choices, vectors [B, N], embeddings [B, T, D] or images "
            "[B, C, H, W] are perturbed."
        )
    places = main.shape if ids else main.shape[:2]
    free = torch.ones(places, dtype=torch.bool)
    if mask is not None:
        free &= mask.cpu()
    if ids:
        free &= ~torch.isin(main.cpu(), _special_ids(tokenizer))
    free = free.reshape(call.batch, -1)
    for row, any_free in enumerate(free.any(1).tolist()):
        if not any_free:
            raise TextError(
                f"example {row} has nothing to perturb: each of its positions is "
                "padding or a special token. Pass a text of at least one word."
            )
    labels = torch.where(free, free.long().cumsum(1) - 1, -1)
    return Features(labels.reshape(places), attended(model, call))


def filler_of(
    subject: Subject, call: Call, tokenizer: Any, option: str, given: Any
) -> Tensor:
    """Find what is put in place of a feature.

    Args:
        subject: The model.
        call: Its call.
        tokenizer: Knows the ids of tokens, or ``None``.
        option: The option that says so, for messages.
        given: Its value, see ``LeaveOneOut``; not ``"delete"``.

    Returns:
        A token id or a number, [], or a tensor that broadcasts to the input.

    Raises:
        ArgumentError: If it does not fit the inputs.
    """
    main = call.main
    if not main.is_floating_point():
        number = _token_id(subject, tokenizer, option, given)
        return torch.tensor(number, device=main.device)
    value = 0.0 if given is None else given
    if isinstance(value, str) or not isinstance(value, int | float | Tensor):
        raise ArgumentError(
            f"{option}={given!r} is no choice for float inputs; it must be a "
            f"number, or a tensor that broadcasts to their shape, {tuple(main.shape)}."
        )
    filler = torch.as_tensor(value).to(main)
    if not _broadcasts(filler, main):
        raise ArgumentError(
            f"{option} has shape {tuple(filler.shape)}; it must broadcast to that "
            f"of the inputs, {tuple(main.shape)}."
        )
    return filler if filler.ndim == 0 else filler.expand(main.shape)


def keep_rows(
    model: nn.Module,
    call: Call,
    row: int,
    keep: Tensor,
    filler: Tensor | None,
) -> Call:
    """Make the call of perturbed copies of an example.

    Args:
        model: The model.
        call: The call of the batch.
        row: The example.
        keep: The places that stay, boolean [N, ...]; where there is no filler, as many
            in each of the N.
        filler: What is put in the other places; ``None``: they are cut out.

    Returns:
        The call of N examples.
    """
    if filler is None:
        columns = [one.nonzero()[:, 0] for one in keep]
        return _cut(model, call, row, torch.stack(columns))

    def change(_: str, value: Tensor) -> Tensor:
        # Models that fold the choices of an example view them as they lie in memory.
        copies = value[row].expand(len(keep), *value.shape[1:]).contiguous()
        if value is not call.main:
            return copies
        kept = keep.to(value.device)
        if value.ndim == 4:  # an image's patches have all its channels
            kept = kept[:, None]
        elif value.ndim > kept.ndim:
            kept = kept[..., None]
        other = filler if filler.ndim == 0 else filler[row]
        return torch.where(kept, copies, other)

    return changed(model, call, change)


def _cut(model: nn.Module, call: Call, row: int, places: Tensor) -> Call:
    """Return the call of an example's columns, ``places`` [N, L]."""
    length = call.main.shape[1]
    mask = attended(model, call)
    real = torch.ones(length).bool() if mask is None else mask[row].cpu()

    def change(name: str, value: Tensor) -> Tensor:
        own = value[row]
        if "mask" in name and length in value.shape[2:]:
            raise ArgumentError(
                f"replace_with='delete' cannot cut a token out of {name!r} of shape "
                f"{tuple(value.shape)}; replace tokens by an id instead."
            )
        if value.shape[1:2] != (length,) or name.startswith("decoder"):
            return own.expand(len(places), *own.shape)
        at = places.to(value.device)
        if name != "position_ids":
            return own[at]
        # What is left closes up: it stands where the text's first tokens stood.
        left = real[places].to(value.device)
        firsts = own[real.to(value.device)][(left.cumsum(1) - 1).clamp(min=0)]
        return torch.where(left, firsts, own[at])

    return changed(model, call, change)


def _patches(images: Tensor, patch: int | None) -> Tensor:
    """Return the patch that each pixel belongs to, [B, H, W]."""
    height, width = images.shape[2:]
    side = -(-max(height, width) // _PATCHES) if patch is None else patch
    rows, columns = torch.arange(height) // side, torch.arange(width) // side
    grid = rows[:, None] * (int(columns[-1]) + 1) + columns
    return grid.expand(len(images), height, width)


def _special_ids(tokenizer: Any) -> Tensor:
    """Return the ids that are never perturbed."""
    return torch.tensor(sorted(added_ids(tokenizer)), dtype=torch.long)


def _token_id(subject: Subject, tokenizer: Any, option: str, given: Any) -> int:
    """Return the id that a token is replaced by."""
    owner, names = tokenizer, tuple(_TOKENS)
    if tokenizer is None:
        owner, names = getattr(subject.model, "config", None), ("pad",)
    found = {name: getattr(owner, _TOKENS[name], None) for name in names}
    known = {name: i for name, i in found.items() if isinstance(i, int)}
    number = next(iter(known.values()), None) if given is None else given
    if isinstance(given, str):
        number = known.get(given)
    rows = getattr(subject.input_embedding, "num_embeddings", None)
    if not is_whole(number) or (rows is not None and not 0 <= int(number) < rows):  # type: ignore[arg-type]
        limit = "" if rows is None else f" below {rows}"
        choices = [*map(repr, [*known, _OTHERS[option]]), f"a token id{limit}"]
        hint = "" if known else " Pass an id, or tokenizer=, which names some."
        raise ArgumentError(
            f"{option}={given!r} names no token to put in place of others; it must be "
            f"one of {', '.join(choices)}.{hint}"
        )
    return int(number)  # type: ignore[arg-type]


def _broadcasts(value: Tensor, to: Tensor) -> bool:
    try:
        value.expand(to.shape)
    except RuntimeError:
        return False
    return True
