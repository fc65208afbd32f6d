"""Relevance of prompts for what a language model writes, as Captum's own class."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import torch
from captum.attr import (
    LLMAttributionResult,
    LLMGradientAttribution,
    TextTemplateInput,
    TextTokenInput,
)
from torch import Tensor, nn

from ..attribution.inputs import bind, is_encoder_decoder
from ..attribution.readout import find_logits
from ..engine.subject import Subject
from ..errors import ArgumentError, TextError, UnsupportedModelError
from ..generation.tokens import contrast_ids
from ..texts.encoding import is_language_model, position_limit
from .base import wrapped
from .relevance import LayerRelevance
from .template import segments

__all__ = ["LLMRelevance"]


class LLMRelevance(LLMGradientAttribution):  # type: ignore[misc]
    """Relevance of a prompt's tokens for each token that a language model writes.

    Row t explains the raw logit of token t after the prompt and the tokens before it,
    not its log-probability, of which no share can be conserved; or the difference of
    two logits.
    """

    SUPPORTED_METHODS = (LayerRelevance,)
    SUPPORTED_INPUTS = (TextTokenInput, TextTemplateInput)

    def __init__(self, attr_method: LayerRelevance | nn.Module, tokenizer: Any) -> None:
        """Take a method, or the model itself.

        Args:
            attr_method: A `LayerRelevance` on the model and one layer that returns
                [1, T, D]; or the model, read at its input embedding.
            tokenizer: The model's tokenizer.

        Raises:
            UnsupportedModelError: If the model writes no text, or names no embedding.
        """
        if isinstance(attr_method, nn.Module):
            _check_writes(attr_method)
            embedding = Subject(attr_method).input_embedding
            if embedding is None:
                raise UnsupportedModelError(
                    f"{type(attr_method).__name__} names no input embedding; pass "
                    "LayerRelevance(model, layer) with the layer to read."
                )
            attr_method = LayerRelevance(attr_method, embedding)
        _check_method(attr_method)
        _check_writes(attr_method.forward_func)
        super().__init__(attr_method, tokenizer)
        self._limit = position_limit(self.model)

    @classmethod
    def get_name(cls) -> str:
        """Return the readable name."""
        return "LLM Relevance"

    @wrapped
    def attribute(
        self,
        inp: TextTokenInput | TextTemplateInput,
        target: str | Tensor | None = None,
        gen_args: dict[str, Any] | None = None,
        contrast: str | int | Sequence[str | int] | Tensor | None = None,
        **kwargs: Any,
    ) -> LLMAttributionResult:
        """Explain each token of a response.

        Args:
            inp: The prompt. Of a template each segment gets the relevance of its
                tokens, and the text around segments is not shown.
            target: The response, as text or token ids [N]; None to have it generated.
            gen_args: Arguments of the model's ``generate``, if it is.
            contrast: Explain each token rather than this one, by its text or id; or
                one for each token of the response. Of several tokens the first counts.
            **kwargs: Arguments of `LayerRelevance.attribute`.

        Returns:
            ``token_attr`` is [N, features], ``seq_attr`` its sum over tokens.

        Raises:
            ArgumentError: If ``inp`` is of another kind.
        """
        if not isinstance(inp, self.SUPPORTED_INPUTS):
            raise ArgumentError(
                f"inp is a {type(inp).__name__}; it must be a TextTokenInput or a "
                "TextTemplateInput of captum.attr."
            )
        if isinstance(target, str | Tensor):
            target = self._response(target)
        if isinstance(inp, TextTemplateInput):
            shares = segments(inp, self.tokenizer)
            tokens = TextTokenInput(inp.to_model_input(), self.tokenizer)
        else:
            shares, tokens = None, inp
        self._check_fits(tokens.inp_tensor)
        ready = copy(self)
        ready.attr_method = copy(self.attr_method)
        ready.attr_method.forward_func = _Logit(self, contrast)
        with self.attr_method.active():
            found = super(LLMRelevance, ready).attribute(
                tokens, target, gen_args, **kwargs
            )
        return found if shares is None else _by_segment(found, inp, shares)

    def _response(self, target: str | Tensor) -> Tensor:
        """Return the ids of a given response, at least one."""
        if isinstance(target, str):
            ids = self.tokenizer.encode(target, add_special_tokens=False)
            target = torch.tensor(ids, dtype=torch.long)
        if not target.numel():
            raise TextError("target has no token in it; pass at least one word.")
        return target.flatten()

    def _check_fits(self, ids: Tensor) -> None:
        """Refuse tokens that the model has no embedding or position for."""
        bind(Subject(self.model), ids.to(self.device))
        if self._limit is not None and ids.shape[1] > self._limit:
            raise TextError(
                f"the text has {ids.shape[1]} tokens, but the model has {self._limit} "
                "positions; shorten it."
            )


class _Logit:
    """The forward function: the logit of a token of the response, or a difference."""

    def __init__(self, owner: LLMRelevance, contrast: Any) -> None:
        self.owner = owner
        self.contrast = contrast
        self.rivals: list[int] = []

    def __call__(
        self, present: Tensor, inp: TextTokenInput, response: Tensor, index: int
    ) -> Tensor:
        prompt = inp.to_model_input(present)
        before = response[:index].to(prompt).expand(len(prompt), -1)
        ids = torch.cat([prompt, before], 1).to(self.owner.device)
        self.owner._check_fits(ids)
        logits = find_logits(self.owner.model(ids))
        if logits.ndim != 3 or logits.shape[:2] != ids.shape:
            raise UnsupportedModelError(
                f"the model's logits have shape {tuple(logits.shape)} for "
                f"{ids.shape[1]} tokens; a language model has [1, {ids.shape[1]}, V]."
            )
        return self._chosen(logits[:, -1], response, index)

    def _chosen(self, logits: Tensor, response: Tensor, index: int) -> Tensor:
        _check_vocabulary(response, logits.shape[1])
        own = logits[:, int(response[index])]
        if self.contrast is None:
            return own
        if not self.rivals:
            self.rivals = contrast_ids(
                self.owner.tokenizer, self.contrast, len(response), logits.shape[1]
            )
        return own - logits[:, self.rivals[index]]


def _check_method(method: Any) -> None:
    if not isinstance(method, LayerRelevance):
        raise ArgumentError(
            f"attr_method is a {type(method).__name__}; it must be a LayerRelevance or "
            "the model. For Captum's own methods take captum.attr."
            "LLMGradientAttribution."
        )
    if not isinstance(method.forward_func, nn.Module):
        raise ArgumentError(
            "attr_method is a LayerRelevance on a method; build it on the model, which "
            "is to generate and to tell its device."
        )
    if not isinstance(method.layer, nn.Module):
        raise ArgumentError(
            "attr_method is a LayerRelevance on several layers; build it on one, such "
            "as the module after which token and position embeddings are added up."
        )


def _check_writes(model: nn.Module) -> None:
    """Refuse models that say of themselves that they write no text."""
    writes = getattr(model, "can_generate", None)
    silent = hasattr(model, "get_output_embeddings") and not is_language_model(model)
    if silent or (writes is not None and not writes()) or is_encoder_decoder(model):
        raise UnsupportedModelError(
            f"{type(model).__name__} is no decoder with a language-model head; take a "
            "...ForCausalLM model, or LayerRelevance for other outputs."
        )


def _check_vocabulary(ids: Tensor, size: int) -> None:
    if not 0 <= int(ids.min()) <= int(ids.max()) < size:
        raise ArgumentError(
            f"target holds the token ids {int(ids.min())} to {int(ids.max())}, but the "
            f"model's vocabulary has {size}; use the tokenizer it was trained with."
        )


def _by_segment(
    found: LLMAttributionResult, inp: TextTemplateInput, shares: Tensor
) -> LLMAttributionResult:
    """Sum the relevance of tokens, [N, T], to that of a template's segments."""
    summed = inp.format_attr(found.token_attr @ shares.to(found.token_attr))
    return LLMAttributionResult(
        seq_attr=summed.sum(0),
        token_attr=summed,
        input_tokens=inp.values,
        output_tokens=found.output_tokens,
        inp=inp,
    )
