"""Columns of encoders: classified texts, human attention, reactions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lrp_hooks.faithfulness import Occlusion, curves
from lrp_hooks.texts.loading import load_folder

from ...papers.decompx import data as qnli
from ..chemistry import run as chemistry
from ..chemistry.reactions import load as load_reactions
from ..plausibility import texts as hat
from ..plausibility.agreement import METRICS
from ..plausibility.methods import pad
from ..text.run import choose
from ..training import mamba
from .scoring import Item, Judged, Places, rivals

__all__ = ["judge_by_curves", "pairs", "people", "reactions", "texts"]

Made = tuple[int, Callable[[int], Item]]
SEED = 0
READS = {"norm": "bert.embeddings", "block": "bert.encoder.layer.0"}


def texts(settings: dict[str, Any], stage: str, places: Places) -> Made:
    """Texts and the class that a model finds.

    Args:
        settings: The model, the metrics, the data of each stage, and how many
            ``"rows"`` make an item.
        stage: Whose texts.
        places: Where they are.

    Returns:
        How many, and what makes an item.
    """
    model, tokenizer = _loaded(settings["model"], places)
    chosen, _, _ = choose(settings[stage], {"seed": SEED}, places.shared, tokenizer)
    size = settings[stage].get("rows", 1)

    def item(number: int) -> Item:
        own = chosen[number * size : (number + 1) * size]
        ids = tokenizer(own, truncation=True)["input_ids"]
        return _text(model, tokenizer, pad(tokenizer, ids), settings["metrics"])

    return -(-len(chosen) // size), item


def pairs(settings: dict[str, Any], stage: str, places: Places) -> Made:
    """Questions with sentences, and whether a model finds the answer there.

    Args:
        settings: The model, the metrics, and how many of each stage.
        stage: Every other pair of those that were not trained on is its.
        places: Where they are.

    Returns:
        How many, and what makes an item.
    """
    model, tokenizer = _loaded(settings["model"], places)
    examples = qnli.read("qnli", places.shared / "data", tokenizer, SEED).held_out
    own = range(int(stage == "told"), len(examples), 2)[: settings[stage]["limit"]]

    def item(number: int) -> Item:
        batch = examples.batch([own[number]]).inputs
        return _text(model, tokenizer, batch, settings["metrics"])

    return len(own), item


def people(settings: dict[str, Any], stage: str, places: Places) -> Made:
    """Reviews in which people marked what tells the class.

    Args:
        settings: The model, the part of the data, and how many reviews of it.
        stage: Every other review is its.
        places: Where they are.

    Returns:
        How many, and what makes an item.
    """
    model, tokenizer = _loaded(settings["model"], places)
    data = places.shared / "data"
    own = (settings["part"], tokenizer, settings["longest"], settings["texts"])
    found = hat.read(data, *own)[0][int(stage == "told") :: 2]

    def item(number: int) -> Item:
        text = found[number]
        marked = text.rationales[hat.MAJORITY][None]

        def judge(scores: Tensor) -> Judged:
            (words,) = hat.by_word([scores[0]], [text])
            return {
                m: METRICS[m](words[None], marked).tolist() for m in settings["metrics"]
            }

        return _text(model, tokenizer, pad(tokenizer, [text.ids]), [], judge)

    return len(found), item


def reactions(settings: dict[str, Any], stage: str, places: Places) -> Made:
    """Reactions whose reacting atoms are known: found, and followed by the model?

    Args:
        settings: The model, the metrics, and how many of each stage.
        stage: Every other reaction is its.
        places: Where models are.

    Returns:
        How many, and what makes an item.
    """
    model, tokenizer = _loaded(settings["model"], places)
    path = chemistry.HERE / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    known = chemistry.classes(model, tokenizer, config)
    kept, _ = chemistry.choose(model, tokenizer, load_reactions(), known, config)
    examples = kept[int(stage == "told") :: 2][: settings[stage]["limit"]]
    filler = tokenizer.convert_tokens_to_ids(config["replace_with"])

    def item(number: int) -> Item:
        example = examples[number]
        marked, counted = (
            part["reactants"][None] for part in (example.rationales, example.masks)
        )
        followed = [metric for metric in settings["metrics"] if metric not in METRICS]
        batch = pad(tokenizer, [example.ids])
        own = (batch, followed, None, filler, [example.target])
        made = _text(model, tokenizer, *own)

        def judge(scores: Tensor) -> Judged:
            found = METRICS["auprc"](scores, marked, counted).tolist()
            return {**made.judge(scores), "auprc": found}

        return replace(made, judge=judge)

    return len(examples), item


def _loaded(name: str, places: Places) -> tuple[nn.Module, Any]:
    kind, _, folder = name.partition(":")
    if kind == "mamba":
        return mamba.load(places.trained / folder)
    root = places.shared / "models" if kind == "shared" else places.trained
    return load_folder(root / folder)


def _text(
    model: nn.Module,
    tokenizer: Any,
    batch: Mapping[str, Tensor],
    metrics: list[str],
    judge: Callable[[Tensor], Judged] | None = None,
    filler: int | None = None,
    target: list[int] | None = None,
) -> Item:
    """Make an item of texts as the model reads them."""
    with torch.no_grad():
        logits = model(**batch).logits
    target = logits.argmax(1).tolist() if target is None else target
    filler = tokenizer.unk_token_id if filler is None else filler
    if judge is None:
        special = tokenizer.all_special_ids
        shown = Occlusion(model, batch, filler, special_ids=special)
        judge = judge_by_curves(shown, target, metrics)
    return Item(
        model=model,
        tokenizer=tokenizer,
        batch=batch,
        target=target,
        fold=torch.clone,
        judge=judge,
        targets=rivals(logits, target),
        reads=READS if hasattr(model, "bert") else {},
    )


def judge_by_curves(
    shown: Occlusion, target: list[int], metrics: list[str]
) -> Callable[[Tensor], Judged]:
    """Judge by what the model says of parts of the input.

    Args:
        shown: The inputs.
        target: Their classes.
        metrics: Names of metrics.

    Returns:
        From scores to each metric's numbers.
    """

    def judge(scores: Tensor) -> Judged:
        found = curves(shown, scores, torch.tensor(target), metrics)
        return {name: curve.score.tolist() for name, curve in found.items()}

    return judge
