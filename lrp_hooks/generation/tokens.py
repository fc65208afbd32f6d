"""The token ids of a prompt, of what follows it, and of what is asked instead."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import ArgumentError, LrpHooksWarning, TargetError, TextError
from ..support import marks
from ..texts.spans import vocabulary_mark

__all__ = [
    "Prompt",
    "Text",
    "as_ids",
    "as_messages",
    "contrast_ids",
    "fill_template",
    "forced",
    "read_prompt",
    "whole_numbers",
]


@dataclass(frozen=True)
class Prompt:
    """What is given to the model.

    Args:
        text: The text, a chat template filled in.
        special: Whether the tokenizer adds its special tokens; a template has its own.
        encoding: What the tokenizer made of it.
    """

    text: str
    special: bool
    encoding: Any

    @property
    def ids(self) -> list[int]:
        """Its token ids."""
        return list(self.encoding["input_ids"])


@dataclass(frozen=True)
class Text:
    """A prompt and what follows it.

    Args:
        known: The prompt, with what follows it where that was given as a text.
        ids: All token ids, those of ``known`` first.
        start: How many of them are the prompt's.
        merged: How many of the prompt's last tokens became others when the text that
            follows was tokenised with it.
    """

    known: Prompt
    ids: list[int]
    start: int
    merged: int = 0

    @property
    def generated(self) -> list[int]:
        """The ids of the tokens to explain."""
        return self.ids[self.start :]


def read_prompt(tokenizer: Any, prompt: Any, chat: bool) -> Prompt:
    """Tokenise a prompt.

    Args:
        tokenizer: A Hugging Face tokenizer.
        prompt: A text, or messages (mappings with ``"role"`` and ``"content"``).
        chat: Whether a text is the user's message in a chat.

    Returns:
        The prompt; that of a chat ends where the assistant's answer begins.

    Raises:
        TextError: If it is neither, is blank or is no valid Unicode.
    """
    is_text = isinstance(prompt, str)
    messages = as_messages(prompt)
    if not _are_messages(messages):
        raise TextError(
            f"prompt is {_brief(prompt)}; it must be a text, or a list of messages "
            'such as [{"role": "user", "content": "Hello"}].'
        )
    for message in messages:
        _check_text(message["content"])
    if is_text and not chat:
        text = prompt
    else:
        text = fill_template(tokenizer, messages)
    special = is_text and not chat
    found = Prompt(text, special, _encoded(tokenizer, text, special))
    if not found.ids:
        raise TextError(f"the prompt has no token in it: {_brief(prompt)}.")
    return found


def as_messages(prompt: Any) -> Any:
    """Return a text as the message of a user in a chat, and messages as they are.

    Args:
        prompt: A text, or messages.

    Returns:
        Messages.
    """
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def _are_messages(messages: Any) -> bool:
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        return False
    return all(
        isinstance(m, Mapping) and isinstance(m.get("content"), str) and "role" in m
        for m in messages
    )


def _check_text(text: str) -> None:
    if not text.strip():
        raise TextError(f"the prompt is blank: {text!r}. Pass at least one word.")
    _check_unicode("prompt", text)


def _check_unicode(argument: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TextError(
            f"{argument} is no valid Unicode: {text[error.start]!a} at character "
            f"{error.start}. Was it read with the wrong encoding?"
        ) from error


def fill_template(tokenizer: Any, messages: Any) -> str:
    """Write a chat as its model was trained on it.

    Args:
        tokenizer: The model's tokenizer.
        messages: Mappings with ``"role"`` and ``"content"``.

    Returns:
        A text that ends where the assistant's answer begins.

    Raises:
        TextError: If the tokenizer has no template.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise TextError(
            "prompt is a chat, but the tokenizer has no chat template. Pass the text "
            "as the model was trained on it, or set tokenizer.chat_template."
        )
    filled: str = tokenizer.apply_chat_template(
        list(messages), tokenize=False, add_generation_prompt=True
    )
    return filled


def _encoded(tokenizer: Any, text: str, special: bool) -> Any:
    return tokenizer(text, add_special_tokens=special, truncation=False, verbose=False)


def forced(tokenizer: Any, prompt: Prompt, continuation: Any) -> Text:
    """Put a given text behind a prompt.

    Args:
        tokenizer: The tokenizer of the prompt.
        prompt: The prompt.
        continuation: Token ids, or a text, which is tokenised together with the
            prompt's: it begins at the first token that differs from the prompt's own.

    Returns:
        All ids.

    Raises:
        TextError: If there is no token to explain, or none before the first one.
    """
    if not isinstance(continuation, str):
        ids = whole_numbers(continuation, "continuation")
        return Text(prompt, [*prompt.ids, *ids], len(prompt.ids))
    _check_unicode("continuation", continuation)
    text = prompt.text + continuation
    whole = replace(
        prompt, text=text, encoding=_encoded(tokenizer, text, prompt.special)
    )
    ids = whole.ids
    pairs = enumerate(zip(ids, prompt.ids, strict=False))
    shared = min(len(ids), len(prompt.ids))
    start = next((i for i, (a, b) in pairs if a != b), shared)
    if start == len(ids):
        raise TextError(
            f"continuation={continuation!r} adds no token to the prompt, so there is "
            "nothing to explain."
        )
    if start == 0:
        raise TextError(
            f"continuation={continuation!r} changes the prompt's first token, so "
            "nothing stands before what is to be explained. Pass token ids."
        )
    return Text(whole, ids, start, len(prompt.ids) - start)


def whole_numbers(values: Any, argument: str) -> list[int]:
    """Return token ids as a list.

    Args:
        values: Whole numbers, or a tensor of them.
        argument: What they are called in messages.

    Returns:
        The numbers.

    Raises:
        ArgumentError: If they are something else.
        TextError: If there is none.
    """
    if isinstance(values, Tensor):
        values = values.reshape(-1).tolist()
    if not isinstance(values, Sequence) or not all(map(_is_whole, values)):
        raise ArgumentError(
            f"{argument} is {_brief(values)}; it must be a text or whole numbers, the "
            "ids of tokens."
        )
    if not values:
        raise TextError(f"{argument} has no token id in it. Pass at least one.")
    return [int(value) for value in values]


def _is_whole(value: object) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def contrast_ids(
    tokenizer: Any, contrast: Any, count: int, vocabulary: int, target: bool = False
) -> list[int]:
    """Find the tokens that are asked for instead of the generated ones.

    Args:
        tokenizer: The model's tokenizer.
        contrast: A token as text or id, or one for each generated token.
        count: How many tokens were generated.
        vocabulary: How many tokens the model knows.
        target: Whether a text is read as one of the target language, where the
            tokenizer tells. Defaults to ``False``.

    Returns:
        ``count`` ids. Of a text of several tokens the first one counts.

    Raises:
        TargetError: If a contrast is no token, or their number is wrong.
    """
    if isinstance(contrast, Tensor):
        contrast = contrast.tolist()
    several = isinstance(contrast, Sequence) and not isinstance(contrast, str)
    values = list(contrast) if several else [contrast] * count
    if len(values) != count:
        raise TargetError(
            f"contrast has {len(values)} entries for {count} generated tokens; pass "
            f"one token for all, or {count} of them."
        )
    known: dict[Any, int] = {}
    for value in values:
        if value not in known:
            known[value] = _contrast_id(tokenizer, value, vocabulary, target)
    return [known[value] for value in values]


def _contrast_id(tokenizer: Any, contrast: Any, vocabulary: int, target: bool) -> int:
    if isinstance(contrast, str):
        return _token_of(tokenizer, contrast, target)
    if not _is_whole(contrast):
        raise TargetError(
            f"contrast={contrast!r} is a {type(contrast).__name__}; it must be a "
            "token, as text or as its id."
        )
    if not 0 <= contrast < vocabulary:
        raise TargetError(
            f"contrast={contrast} is out of range; the model knows {vocabulary} "
            f"tokens, 0 to {vocabulary - 1}."
        )
    return int(contrast)


def _token_of(tokenizer: Any, text: str, target: bool) -> int:
    """Return the token of a text that is one, else the first one of its tokens."""
    _check_unicode("contrast", text)
    given = {"text_target": text} if target else {"text": text}
    made = tokenizer(**given, add_special_tokens=False, truncation=False, verbose=False)
    ids = list(made["input_ids"])
    names = [str(name) for name in tokenizer.convert_ids_to_tokens(ids)]
    # Some vocabularies tell the space before a word as a token of its own.
    mark = vocabulary_mark(tokenizer)
    while len(ids) > 1 and not marks.pieces(names[:1], [False], mark)[0].strip():
        ids, names = ids[1:], names[1:]
    if not ids:
        raise TargetError(f"contrast={text!r} has no token in it. Pass a word.")
    whole = tokenizer.get_vocab().get(text)
    if whole is None and ids[0] == getattr(tokenizer, "unk_token_id", None):
        raise TargetError(
            f"contrast={text!r} is unknown to the tokenizer, which reads {names[0]!r}. "
            "Pass a token of its vocabulary."
        )
    if len(ids) > 1 and whole is not None:
        return int(whole)
    if len(ids) > 1:
        warnings.warn(
            f"contrast={text!r} is {len(ids)} tokens, {' '.join(map(repr, names))}; "
            f"the first one, {names[0]!r} (id {ids[0]}), is compared with.",
            LrpHooksWarning,
            stacklevel=2,
        )
    return int(ids[0])


def _brief(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}..."


def as_ids(ids: Sequence[int], device: torch.device) -> Tensor:
    """Return ids as one example.

    Args:
        ids: Token ids.
        device: Where the model is.

    Returns:
        [1, N].
    """
    return torch.tensor([ids], device=device)
