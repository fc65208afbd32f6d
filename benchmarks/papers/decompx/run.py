"""Measure the paper's methods: masking by importance, on one model and data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lrp_hooks import explainers
from lrp_hooks.faithfulness import Occlusion, curves
from lrp_hooks.texts.loading import load_folder

from ...faithfulness.training.loop import assess
from .data import Examples, Parts, read
from .train import MODELS

__all__ = ["Case", "explained", "load", "masked", "measure"]

SIZE = 16


class Case(NamedTuple):
    """What is explained.

    Attributes:
        model: In eval mode.
        tokenizer: Its tokenizer.
        parts: The task's examples.
        read_out: The module whose output is decomposed.
        accuracy: Of the model on what is explained.
    """

    model: nn.Module
    tokenizer: Any
    parts: Parts
    read_out: str
    accuracy: float


def load(setting: Mapping[str, Any], shared: Path, seed: int) -> Case:
    """Load a model and its data.

    Args:
        setting: Of `config.json`.
        shared: The folder of models and data.
        seed: Of what is split.

    Returns:
        The case.
    """
    name = setting["model"]
    given = shared / "models" / name
    model, tokenizer = load_folder(given if given.exists() else MODELS / name)
    parts = read(setting["task"], shared / "data", tokenizer, seed)
    accuracy = assess(model, parts.held_out.batches(64)).accuracy
    where = f"{model.base_model_prefix}.embeddings.LayerNorm"
    return Case(model, tokenizer, parts, where, round(accuracy, 4))


def explained(
    case: Case, how: Mapping[str, Any], inputs: Mapping[str, Tensor], seed: int
) -> tuple[Tensor, Tensor]:
    """Explain the predicted class of a batch.

    Args:
        case: What is explained.
        how: ``"method"`` and options; ``"wrt": true`` reads where the paper does.
        inputs: The batch.
        seed: For methods that draw.

    Returns:
        Scores ``[B, T]``, and the classes ``[B]``.
    """
    options = dict(how)
    kind = explainers.named(options.pop("method"))
    if options.pop("wrt", False):
        options["wrt"] = case.read_out
    if "seed" in kind.options():
        options["seed"] = seed
    found = kind(case.model, **options)(inputs)
    with torch.no_grad():
        return found.scores.double(), case.model(**inputs).logits.argmax(-1)


def measure(
    config: Mapping[str, Any], case: Case, rows: Sequence[int]
) -> dict[str, list[float]]:
    """Explain some examples, and mask tokens by importance.

    Args:
        config: The configuration.
        case: What is explained.
        rows: Which of what is held out.

    Returns:
        ``{"metric | method": [n]}`` in the order of ``rows``.
    """
    found: dict[str, dict[int, float]] = {}
    for part in _alike(case.parts.held_out, rows):
        batch = case.parts.held_out.batch(part, special=True)
        own = dict(batch.inputs)
        own.pop("special_tokens_mask")
        occlusion = Occlusion(case.model, batch.inputs, case.tokenizer.mask_token_id)
        for name, (scores, predicted) in _every(config, case, own).items():
            measured = masked(occlusion, scores, predicted, batch.labels)
            for metric, values in measured.items():
                into = found.setdefault(f"{metric} | {name}", {})
                into.update(zip(part, values.tolist(), strict=True))
    return {name: [own[row] for row in rows] for name, own in found.items()}


def _every(
    config: Mapping[str, Any], case: Case, inputs: Mapping[str, Tensor]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Explain by every method; absolute scores are those of another one."""
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for name, how in config["methods"].items():
        if "absolute_of" in how:
            scores, predicted = found[how["absolute_of"]]
            found[name] = scores.abs(), predicted
        else:
            found[name] = explained(case, how, inputs, config["seed"])
    return found


def masked(
    occlusion: Occlusion, scores: Tensor, predicted: Tensor, labels: Tensor
) -> dict[str, Tensor]:
    """Mask 10 to 90 % of the tokens, the most and the least important ones.

    Args:
        occlusion: The inputs.
        scores: ``[B, T]``.
        predicted: The class that is explained, whose probability AOPC reads, ``[B]``.
        labels: The true class, which accuracy is of, ``[B]``.

    Returns:
        The mean over the nine shares, ``[B]``, of each metric.
    """
    found = {}
    for sign, name in ((1, ""), (-1, ", least important")):
        lost = curves(occlusion, sign * scores, predicted, ("aopc",))["aopc"]
        right = curves(occlusion, sign * scores, labels, ("accuracy",))["accuracy"]
        found[f"AOPC{name}"] = lost.score
        found[f"accuracy{name}"] = right.score
    return found


def _alike(examples: Examples, rows: Sequence[int]) -> Iterator[list[int]]:
    lengths = examples.lengths()
    order = sorted(rows, key=lambda row: int(lengths[row]))
    for start in range(0, len(order), SIZE):
        yield order[start : start + SIZE]
