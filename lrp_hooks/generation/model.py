"""What a model and its tokenizer must be, and what the model writes by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.passes import eval_mode
from ..errors import ArgumentError, TextError, UnsupportedModelError
from ..support.folders import how_to_load
from ..texts.encoding import is_language_model, position_limit

__all__ = [
    "check_causal",
    "check_ids",
    "check_length",
    "check_model",
    "check_tokenizer",
    "generated_ids",
    "greedy",
    "vocabulary",
]


def check_model(model: nn.Module) -> None:
    """Refuse a model that does not write one token after another.

    Args:
        model: The model.

    Raises:
        ArgumentError: If it is no module.
        UnsupportedModelError: If it has no language-model head.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"model is a {type(model).__name__}; it must be a torch.nn.Module."
            f"{how_to_load(model, writes=True)}"
        )
    kind = type(model).__name__
    if not is_language_model(model):
        raise UnsupportedModelError(
            f"{kind} has no language-model head, so it generates no tokens. Load it "
            "with AutoModelForCausalLM or AutoModelForSeq2SeqLM, or explain its "
            "outputs with explain()."
        )


def vocabulary(model: nn.Module) -> int:
    """Count the tokens that a model knows.

    Args:
        model: A language model.

    Returns:
        The rows of its input embedding.
    """
    table = model.get_input_embeddings()  # type: ignore[operator]
    return int(table.weight.shape[0])


def check_tokenizer(model: nn.Module, tokenizer: Any) -> None:
    """Refuse a tokenizer that was made for another model.

    Args:
        model: A language model.
        tokenizer: The tokenizer.

    Raises:
        ArgumentError: If it is none, or one of a clearly larger or smaller vocabulary.
    """
    if not callable(tokenizer) or not hasattr(tokenizer, "get_vocab"):
        raise ArgumentError(
            f"tokenizer is a {type(tokenizer).__name__}; it must be the model's "
            "Hugging Face tokenizer."
        )
    known, rows = tokenizer.vocab_size, vocabulary(model)
    # Tables are padded to round numbers, and tokens added later count on top.
    if known > rows or len(tokenizer) < rows / 2:
        raise ArgumentError(
            f"the tokenizer knows {len(tokenizer)} tokens and the model {rows}: they "
            "do not belong together. Pass the tokenizer that the model was trained "
            "with."
        )


def check_length(model: nn.Module, prompt: int, more: int) -> None:
    """Refuse a text that is longer than the model's context.

    Args:
        model: The model.
        prompt: How many tokens the prompt has.
        more: How many follow it.

    Raises:
        TextError: If they are too many together.
    """
    limit = position_limit(model)
    if limit is not None and prompt + more > limit:
        raise TextError(
            f"the prompt has {prompt} tokens and {more} follow, {prompt + more} "
            f"together, but the model's context has {limit}. Shorten the prompt or "
            "explain fewer tokens."
        )


def check_ids(ids: list[int], rows: int) -> None:
    """Refuse token ids that the model does not know.

    Args:
        ids: Token ids.
        rows: How many tokens the model knows.

    Raises:
        ArgumentError: If one is out of range.
    """
    wrong = next((i for i in ids if not 0 <= i < rows), None)
    if wrong is not None:
        raise ArgumentError(
            f"the text has the token id {wrong}, but the model knows {rows} tokens, 0 "
            f"to {rows - 1}. Pass the tokenizer that the model was trained with, and "
            "ids of its own."
        )


def check_causal(scores: Tensor, attended: Tensor, begin: int = 0) -> None:
    """Refuse a model whose tokens draw on later ones.

    Args:
        scores: [G, N].
        attended: Boolean [G, N]: which tokens stand before each generated one.
        begin: The number of the first of these tokens.

    Raises:
        UnsupportedModelError: If a score of another token is not 0.
    """
    later = (scores != 0) & ~attended
    if bool(later.any()):
        row, column = later.nonzero()[0].tolist()
        raise UnsupportedModelError(
            f"generated token {begin + row} draws on the token at {column}, which "
            "comes after it: the model is not causal, so one pass over the whole text "
            "is not that of each prefix. Explain each prefix with "
            "instrument(model).attribute()."
        )


def greedy(model: nn.Module, ids: Tensor, max_new_tokens: int) -> list[int]:
    """Let a model write: at each step the token of the largest logit.

    Args:
        model: The plain model.
        ids: The prompt, [1, P].
        max_new_tokens: At most so many; the model may end the text before.

    Returns:
        The ids of the new tokens, the one that ends the text included.

    Raises:
        TextError: If it generates nothing.
    """
    mask = torch.ones_like(ids)
    inputs = {"input_ids": ids, "attention_mask": mask}
    found = generated_ids(model, inputs, max_new_tokens)[ids.shape[1] :]
    if not found:
        raise TextError(
            "the model ended the text at once, so there is no generated token to "
            "explain. Change the prompt, or pass a continuation=."
        )
    return found


def generated_ids(
    model: nn.Module, inputs: Mapping[str, Tensor], max_new_tokens: int
) -> list[int]:
    """Let a model write, from the start: at each step the token of the largest logit.

    Args:
        model: The plain model.
        inputs: What it is given, one example.
        max_new_tokens: At most so many; the model may end the text before.

    Returns:
        The ids of a decoder's prompt, or those that an encoder-decoder's decoder was
        given to start with, and of the new tokens.

    Raises:
        UnsupportedModelError: If the model cannot generate.
    """
    if not getattr(model, "can_generate", lambda: False)():
        raise UnsupportedModelError(
            f"{type(model).__name__} cannot generate; pass what follows the prompt as "
            "continuation=."
        )
    with eval_mode(model), torch.no_grad():
        written = model.generate(  # type: ignore[operator]
            **inputs,
            max_new_tokens=max_new_tokens,
            # Some models tell what their decoders start with in this form alone.
            return_dict_in_generate=True,
            pad_token_id=_padding_id(model),
            **_GREEDY,
        )
    found: list[int] = getattr(written, "sequences", written)[0].tolist()
    return found


_GREEDY = {
    "do_sample": False,
    "num_beams": 1,
    "num_return_sequences": 1,
    # Left at a folder's own settings, these would bring warnings that nothing samples.
    "temperature": None,
    "top_p": None,
    "top_k": None,
}


def _padding_id(model: nn.Module) -> int:
    """Return the id that generate() would otherwise warn of choosing itself."""
    settings = model.generation_config
    for found in (settings.pad_token_id, settings.eos_token_id):  # type: ignore[union-attr]
        if isinstance(found, int):
            return found
    return 0
