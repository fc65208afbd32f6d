"""Columns of language models: the next token, and what an answer drew on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count, islice
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from lrp_hooks.faithfulness import Occlusion

from ...answers.case import Case
from ...answers.data import written
from ..text.run import choose
from .encoders import Made, judge_by_curves
from .scoring import Item, Judged, Places, rivals

__all__ = ["NextToken", "answers", "left_out", "stories"]

SEED, HALVES = 0, 24


class NextToken(nn.Module):
    """A language model as a classifier of what stands behind its text."""

    def __init__(self, model: Any) -> None:
        """Wrap a model."""
        super().__init__()
        self.model = model

    def get_input_embeddings(self) -> nn.Module:
        """Return the table of tokens."""
        found: nn.Module = self.model.get_input_embeddings()
        return found

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return the logits behind texts ``[B, T]`` without padding, ``[B, V]``."""
        logits: Tensor = self.model(input_ids=input_ids, use_cache=False).logits[:, -1]
        return logits


def stories(settings: dict[str, Any], stage: str, places: Places) -> Made:
    """Stories that the model wrote, cut off somewhere, none of them twice.

    Args:
        settings: The model, how long texts are, the metrics, how many of each stage.
        stage: Whose texts.
        places: Where the model is.

    Returns:
        How many, and what makes an item.
    """
    model, tokenizer = _loaded(places.shared / "models" / settings["model"])
    first, tokens = tokenizer.bos_token_id, settings["tokens"]
    counts = [settings[name]["limit"] for name in ("search", "told")]
    written = distinct(lambda draw: _story(model, first, tokens, draw), counts)

    def item(number: int) -> Item:
        ids = written[int(stage == "told")][number]
        made = _next(model, tokenizer, ids)
        special = [tokenizer.bos_token_id]
        shown = Occlusion(made.model, ids, tokenizer.unk_token_id, special_ids=special)
        judge = judge_by_curves(shown, made.target, settings["metrics"])
        return replace(made, judge=judge)

    return settings[stage]["limit"], item


def distinct(
    write: Callable[[torch.Generator], Tensor], counts: Sequence[int]
) -> list[list[Tensor]]:
    """Write texts of several stages, none of which is another's or comes twice.

    Args:
        write: Draws a text, and goes on drawing where it is called again.
        counts: How many each of the two stages has.

    Returns:
        Texts of each stage.
    """
    known: set[tuple[int, ...]] = set()
    found: list[list[Tensor]] = []
    for stage, count_ in enumerate(counts):
        found.append([])
        for number in range(count_):
            draw = torch.Generator().manual_seed(2 * number + stage)
            while (key := tuple((ids := write(draw))[0].tolist())) in known:
                continue
            known.add(key)
            found[-1].append(ids)
    return found


def left_out(settings: dict[str, Any], stage: str, places: Places) -> Made:
    """The next token behind the beginnings of texts, and random halves of these.

    Args:
        settings: The data of each stage, and how long texts are.
        stage: Whose texts.
        places: Where the model is.

    Returns:
        How many, and what makes an item.
    """
    model, tokenizer = _loaded(places.decoder)
    chosen, _, _ = choose(settings[stage], {"seed": SEED}, places.shared, tokenizer)

    def item(number: int) -> Item:
        ids = tokenizer(chosen[number], return_tensors="pt")["input_ids"]
        ids = ids[:, : settings["tokens"]]
        made = _next(model, tokenizer, ids)
        shown = Occlusion(made.model, ids, tokenizer.eos_token_id)
        judge = _judge_by_halves(shown, made.target[0], number)
        return replace(made, judge=judge)

    return len(chosen), item


def answers(settings: dict[str, Any], stage: str, places: Places) -> Made:
    """Facts among others, which the model is asked for and answers.

    Args:
        settings: The task, and how many of each stage.
        stage: Prompts of the two have different seeds.
        places: Where the model is.

    Returns:
        How many, and what makes an item.
    """
    model, tokenizer = _loaded(places.decoder)
    seed, task = SEED + 1 + int(stage == "told"), settings["task"]
    right = (
        case
        for case in (Case(model, tokenizer, written(task, n, seed)) for n in count())
        if case.is_right
    )
    cases = list(islice(right, settings[stage]["limit"]))

    def item(number: int) -> Item:
        case = cases[number]
        kept, truth = case.halves(HALVES, number)
        alone = case.ablating
        one_less = ~np.eye(len(case.passages), dtype=bool)
        lost = case.whole - alone.outputs(one_less)[:, 0]

        def judge(scores: Tensor) -> Judged:
            first = float(int(scores.argmax()) in case.item.gold)
            halves = torch.from_numpy(kept)
            return {"first": [first], **agreement(scores, halves, truth, lost)}

        return Item(
            model=model,
            tokenizer=tokenizer,
            batch={"input_ids": case.ids[:, :-1]},
            target=_said(case, expectation=False),
            fold=lambda scores: case.by_source(scores[0]),
            judge=judge,
            targets={"expectation": _said(case, expectation=True)},
        )

    return len(cases), item


def _said(case: Case, expectation: bool) -> Callable[[Any], Tensor]:
    """Return the sum over the word's tokens of z_y, less its expectation if asked."""
    own = case.inside[0].nonzero()[:, 0] + case.reading.start

    def explained(output: Any) -> Tensor:
        logits = output.logits[:, own - 1]
        said = logits.gather(2, case.ids[:, own, None])[..., 0]
        if expectation:
            said -= (logits.detach().softmax(2) * logits).sum(2)
        total: Tensor = said.sum(1)
        return total

    return explained


def _loaded(folder: Any) -> tuple[Any, Any]:
    if folder is None:
        raise SystemExit("this column needs --decoder, the folder of SmolLM2-135M")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.eval().requires_grad_(False)
    return model, AutoTokenizer.from_pretrained(folder)


@torch.no_grad()
def _story(model: Any, first: int, tokens: int, draw: torch.Generator) -> Tensor:
    """Let a model write a text of some tokens, ``[1, tokens]``."""
    ids = torch.tensor([[first]])
    while ids.shape[1] < tokens:
        chances = model(input_ids=ids).logits[:, -1].softmax(-1)
        ids = torch.cat([ids, torch.multinomial(chances, 1, generator=draw)], 1)
    return ids


def _next(model: Any, tokenizer: Any, ids: Tensor) -> Item:
    """Make an item of a text whose next token is explained; its judge is to come."""
    seen = NextToken(model).eval()
    with torch.no_grad():
        logits = seen(ids)
    target = logits.argmax(1).tolist()
    return Item(
        model=seen,
        tokenizer=tokenizer,
        batch={"input_ids": ids},
        target=target,
        fold=torch.clone,
        judge=lambda scores: {},
        targets=rivals(logits, target),
    )


def _judge_by_halves(
    shown: Occlusion, target: int, seed: int
) -> Callable[[Tensor], Judged]:
    """Judge by log-probabilities without random halves, and without each token.

    Args:
        shown: One text.
        target: The next token.
        seed: Of the halves.

    Returns:
        From scores ``[1, T]`` to what `agreement` says.
    """
    tokens = shown.free.shape[1]
    draw = torch.Generator().manual_seed(seed)
    order = torch.rand(HALVES, tokens, generator=draw).argsort(1)
    kept = torch.cat([order < tokens // 2, ~torch.eye(tokens, dtype=torch.bool)])
    whole = torch.ones(1, tokens, dtype=torch.bool)
    rows = torch.zeros(1 + len(kept), dtype=torch.long)
    said = shown.logits_of(rows, torch.cat([whole, kept])).log_softmax(-1)[:, target]
    truth, lost = said[1 : 1 + HALVES], said[0] - said[1 + HALVES :]

    return lambda scores: agreement(scores[0], kept[:HALVES], truth, lost)


def agreement(scores: Tensor, kept: Tensor, truth: Tensor, lost: Tensor) -> Judged:
    """Compare scores with what a model says of parts.

    Args:
        scores: ``[T]``.
        kept: What stayed in each of n random halves, boolean ``[n, T]``.
        truth: The log-probabilities there, ``[n]``.
        lost: What is lost without each part, ``[T]``.

    Returns:
        Rank correlations: ``"datamodel"``, of the sum of kept scores with the
        log-probability (Park et al. 2023, TRAK); ``"leaving_out"``, of a part's score
        with what is lost without it.
    """
    summed = kept.double() @ scores.double()
    return {
        "datamodel": [float(spearmanr(summed, truth).statistic)],
        "leaving_out": [float(spearmanr(scores, lost).statistic)],
    }
