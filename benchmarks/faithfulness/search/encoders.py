"""Columns of encoders: classified texts, human attention, reactions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lrp_hooks.faithfulness import Occlusion, curves
from lrp_hooks.texts.loading import load_folder

from ..chemistry import run as chemistry
from ..chemistry.reactions import load as load_reactions
from ..plausibility import texts as hat
from ..plausibility.agreement import METRICS
from ..text.run import choose
from ..training import mamba
from .scoring import Item, Places, rivals

__all__ = ["judge_by_curves", "people", "reactions", "texts"]

Made = tuple[int, Callable[[int], Item]]
SEED = 0
READS = {"norm": "bert.embeddings", "block": "bert.encoder.layer.0"}


def texts(settings: dict[str, Any], stage: str, places: Places) -> Made:
    """Texts and the class that a model finds.

    Args:
        settings: The model, the data of each stage, the metrics.
        stage: Whose texts.
        places: Where they are.

    Returns:
        How many, and what makes an item.
    """
    model, tokenizer = _loaded(settings["model"], places)
    chosen, _, _ = choose(settings[stage], {"seed": SEED}, places.shared, tokenizer)

    def item(number: int) -> Item:
        ids = tokenizer(chosen[number], truncation=True)["input_ids"]
        return _text(model, tokenizer, ids, settings["metrics"])

    return len(chosen), item


def people(settings: dict[str, Any], stage: str, places: Places) -> Made:
    """Reviews in which people marked what tells the class.

    Args:
        settings: The model, and the part of the data of each stage.
        stage: Whose reviews.
        places: Where they are.

    Returns:
        How many, and what makes an item.
    """
    model, tokenizer = _loaded(settings["model"], places)
    own = settings[stage]
    found, _ = hat.read(
        places.shared / "data", own["part"], tokenizer, own["longest"], own["limit"]
    )

    def item(number: int) -> Item:
        text = found[number]
        marked = text.rationales[hat.MAJORITY][None]

        def judge(scores: Tensor) -> dict[str, float]:
            (words,) = hat.by_word([scores[0]], [text])
            return {
                m: float(METRICS[m](words[None], marked)) for m in settings["metrics"]
            }

        return _text(model, tokenizer, text.ids, [], judge)

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
    own = kept[int(stage == "told") :: 2][: settings[stage]["limit"]]
    filler = tokenizer.convert_tokens_to_ids(config["replace_with"])

    def item(number: int) -> Item:
        example = own[number]
        marked, counted = (
            part["reactants"][None] for part in (example.rationales, example.masks)
        )
        followed = [metric for metric in settings["metrics"] if metric not in METRICS]
        made = _text(
            model, tokenizer, example.ids, followed, None, filler, example.target
        )

        def judge(scores: Tensor) -> dict[str, float]:
            found = float(METRICS["auprc"](scores, marked, counted))
            return {**made.judge(scores), "auprc": found}

        return replace(made, judge=judge)

    return len(own), item


def _loaded(name: str, places: Places) -> tuple[nn.Module, Any]:
    kind, _, folder = name.partition(":")
    if kind == "mamba":
        return mamba.load(places.trained / folder)
    root = places.shared / "models" if kind == "shared" else places.trained
    return load_folder(root / folder)


def _text(
    model: nn.Module,
    tokenizer: Any,
    ids: list[int],
    metrics: list[str],
    judge: Callable[[Tensor], dict[str, float]] | None = None,
    filler: int | None = None,
    target: int | None = None,
) -> Item:
    """Make an item of token ids."""
    tokens = torch.tensor([ids])
    batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    with torch.no_grad():
        logits = model(**batch).logits[0]
    target = int(logits.argmax()) if target is None else target
    filler = tokenizer.unk_token_id if filler is None else filler
    if judge is None:
        special = tokenizer.all_special_ids
        shown = Occlusion(model, batch, filler, special_ids=special)
        judge = judge_by_curves(shown, target, metrics)
    return Item(
        model=model,
        tokenizer=tokenizer,
        batch=batch,
        target=[target],
        fold=torch.clone,
        judge=judge,
        targets=rivals(logits, target),
        reads=READS if hasattr(model, "bert") else {},
    )


def judge_by_curves(
    shown: Occlusion, target: int, metrics: list[str]
) -> Callable[[Tensor], dict[str, float]]:
    """Judge by what the model says of parts of the input.

    Args:
        shown: One input.
        target: Its class.
        metrics: Names of metrics.

    Returns:
        From scores to each metric's number.
    """

    def judge(scores: Tensor) -> dict[str, float]:
        found = curves(shown, scores, torch.tensor([target]), metrics)
        return {name: float(curve.score) for name, curve in found.items()}

    return judge
