"""Relevance read where an answer reads its prompt: at keys and values of its tokens.

The tokens that write an answer know of the prompt only what each layer has kept of it
for attention. These keys and values are a cut through the model: their relevance, that
of the answer's own tokens and that of constants sum to the output. What a token had
gathered from those before it counts as that token's. The prompt runs without a graph,
so that a backward pass costs what it costs for the answer alone.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.backward import relevance_of
from ..attribution.copies import held_tensors, snapshot
from ..attribution.passes import eval_mode
from ..errors import ArgumentError, UnsupportedModelError

__all__ = ["PromptCache", "check_wrt", "prompt_cache"]

_PARTS = ("keys", "values")


@dataclass(frozen=True, eq=False)
class PromptCache:
    """What a model's layers keep of a prompt.

    Attributes:
        kept: The model's own cache, with leaves in it.
        leaves: Keys and values of all layers, ``[1, H, K, D]``, of the last K tokens.
        count: P, how many tokens the prompt has.
    """

    kept: Any
    leaves: list[Tensor]
    count: int

    @contextmanager
    def lent(self, model: nn.Module) -> Generator[None]:
        """Let a model go on behind the prompt, in every call of this thread.

        Args:
            model: The model.

        Yields:
            Nothing.
        """
        thread = threading.get_ident()

        def lend(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
            if threading.get_ident() != thread:
                return None
            return args, {**kwargs, "past_key_values": snapshot(self.kept)}

        handle = model.register_forward_pre_hook(lend, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def relevance(self, grads: Sequence[Tensor]) -> Tensor:
        """Sum the relevance of keys and values by token.

        Args:
            grads: The gradient of each leaf.

        Returns:
            ``[P]`` in float64, on the CPU.
        """
        tokens = torch.zeros(self.count, dtype=torch.float64)
        for leaf, grad in zip(self.leaves, grads, strict=True):
            own = relevance_of(leaf, grad).double().sum((0, 1, 3)).cpu()
            tokens[self.count - len(own) :] += own  # a window keeps the last ones
        return tokens


def check_wrt(wrt: Any, method: str, low_memory: bool, beside: bool) -> None:
    """Refuse a place to read relevance at that is none, or not with other options.

    Args:
        wrt: See `explain_answer`.
        method: See there.
        low_memory: See there.
        beside: Whether the prompt is more than a text.

    Raises:
        ArgumentError: If they do not go together.
    """
    if wrt not in {"tokens", "cache"}:
        raise ArgumentError(f"wrt={wrt!r} must be 'tokens' or 'cache'.")
    if wrt == "tokens":
        return
    if method != "lrp":
        raise ArgumentError(
            f"wrt='cache' says where relevance is read, and method={method!r} has "
            "none. Leave wrt= out, or use method='lrp'."
        )
    if low_memory:
        raise ArgumentError(
            "wrt='cache' records no graph of the prompt, which low_memory=True would "
            "make smaller. Leave low_memory= out."
        )
    if beside:
        raise ArgumentError(
            "wrt='cache' reads the tokens of a text, and the prompt has a picture or a "
            "sound beside it. Use wrt='tokens'."
        )


def prompt_cache(model: nn.Module, ids: Tensor) -> PromptCache:
    """Run a model over a prompt, and keep what its layers keep.

    Args:
        model: A decoder.
        ids: The prompt, ``[1, P]``.

    Returns:
        Its keys and values as leaves.

    Raises:
        UnsupportedModelError: If the model does not keep keys and values of tokens.
    """
    takes = inspect.signature(model.forward).parameters
    passes_on = any(p.kind is p.VAR_KEYWORD for p in takes.values())  # peft's
    kept = None
    if passes_on or {"past_key_values", "use_cache"} <= takes.keys():
        given = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        with eval_mode(model), torch.no_grad():
            out = model(input_ids=ids, use_cache=True, **given)
        kept = getattr(out, "past_key_values", None)
    layers = getattr(kept, "layers", None)
    if not layers:
        raise UnsupportedModelError(_refused(model, f"returned {type(kept).__name__}"))
    leaves = []
    for layer in layers:
        for part in _PARTS:
            value = getattr(layer, part, None)
            if not isinstance(value, Tensor) or not 0 < value.shape[2] <= ids.shape[1]:
                found = _refused(model, f"keeps a {type(layer).__name__}")
                raise UnsupportedModelError(found)
            leaves.append(value.detach().requires_grad_())
            setattr(layer, part, leaves[-1])
    known = set(map(id, leaves))
    if any(t.is_floating_point() and id(t) not in known for t in held_tensors(kept)):
        found = _refused(model, "keeps states of whole prompts, too")
        raise UnsupportedModelError(found)
    return PromptCache(kept, leaves, ids.shape[1])


def _refused(model: nn.Module, found: str) -> str:
    return (
        "wrt='cache' reads the keys and values that a model keeps of each token; "
        f"{type(model).__name__} {found}. Use wrt='tokens'."
    )
