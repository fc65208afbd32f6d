"""Do scores find the atoms that react, and does the model follow them?

``python -m benchmarks.faithfulness.chemistry.run --shared DIR [--fresh]``
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lrp_hooks.faithfulness import Occlusion, curves
from lrp_hooks.texts.loading import load_folder

from ..plausibility import record
from ..plausibility.agreement import Rationales, each
from ..plausibility.methods import (
    Spec,
    batches,
    build,
    pad,
    probabilities,
    score,
    stack,
)
from . import report
from .reactions import Reaction, load, tokens_at

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"


class Example(NamedTuple):
    """A reaction as the model reads it.

    Attributes:
        reaction: The reaction.
        ids: Token ids, special tokens included.
        target: Its class.
        rationales: Boolean ``[T]`` by name.
        masks: What counts for a rationale, boolean ``[T]`` by name.
    """

    reaction: Reaction
    ids: list[int]
    target: int
    rationales: Rationales
    masks: Rationales


def main() -> None:
    """Measure what the results lack, save after each method, print the tables."""
    arguments = record.arguments(__doc__)
    config = json.loads((HERE / "config.json").read_text(encoding="utf-8"))
    torch.set_num_threads(config["threads"])
    results = record.start(RESULTS, config, arguments.fresh)
    for name, settings in config["models"].items():
        model, tokenizer = load_folder(arguments.shared / "models" / name)
        part = results["models"].setdefault(name, {"methods": {}})
        part["classes"] = classes(model, tokenizer, config)
        examples, part["kept"] = choose(
            model, tokenizer, load(), part["classes"], config
        )
        examples = examples[: settings["reactions"]]
        faithful = Faithfulness(model, tokenizer, examples, settings, config)
        for method, spec in config["methods"].items():
            if method not in part["methods"]:
                found = entry(model, tokenizer, spec, examples, faithful, config)
                part["methods"][method] = found
                record.save(RESULTS, results)
                print(method, found["seconds"], flush=True)
    print(report.table(results))


def classes(
    model: Any, tokenizer: Any, config: dict[str, Any]
) -> dict[str, dict[str, float]]:
    """Find the class of each kind of reaction on textbook cases.

    Args:
        model: The classifier, whose classes have no names.
        tokenizer: Its tokenizer.
        config: Names the cases, and how sure the model must be of each.

    Returns:
        The class and the least probability that a case has, by name.

    Raises:
        ValueError: If the model is not sure, or finds several classes.
    """
    found = {}
    for name, template in config["reactions"].items():
        rows = [tokenizer(smiles)["input_ids"] for smiles in template["textbook"]]
        best = probabilities(model, tokenizer, rows, config["batch"]).max(1)
        ids = set(best.indices.tolist())
        least = float(best.values.min())
        if len(ids) > 1 or least < config["textbook_probability"]:
            raise ValueError(f"{name} has no class: {ids} with at least {least:.3f}.")
        found[name] = {"class": ids.pop(), "least": round(least, 4)}
    return found


def choose(
    model: Any,
    tokenizer: Any,
    reactions: Sequence[Reaction],
    known: dict[str, dict[str, float]],
    config: dict[str, Any],
) -> tuple[list[Example], dict[str, list[int]]]:
    """Keep the reactions that the model is right about.

    Args:
        model: The classifier.
        tokenizer: Its tokenizer.
        reactions: The data.
        known: The class of each kind of reaction.
        config: Says how sure the model must be.

    Returns:
        Examples, kinds of reaction in turn, so that any first ones are of all kinds;
        and by kind, how many were kept and how many there were.
    """
    rows = [tokenizer(r.smiles)["input_ids"] for r in reactions]
    found = probabilities(model, tokenizer, rows, config["batch"])
    kept: dict[str, list[Example]] = {name: [] for name in known}
    counts = {name: [0, 0] for name in known}
    for reaction, row in zip(reactions, found, strict=True):
        target = int(known[reaction.name]["class"])
        counts[reaction.name][1] += 1
        if row[target] >= config["kept_probability"]:
            counts[reaction.name][0] += 1
            kept[reaction.name].append(example(tokenizer, reaction, target))
    longest = max(map(len, kept.values()))
    turns = [
        group[i] for i in range(longest) for group in kept.values() if i < len(group)
    ]
    return turns, counts


def example(tokenizer: Any, reaction: Reaction, target: int) -> Example:
    """Find the tokens of the atoms that change.

    Args:
        tokenizer: The model's.
        reaction: The reaction.
        target: Its class.

    Returns:
        With the rationales ``"reactants"``, ranked among the reactants' tokens;
        ``"atoms"``, the same ranked among the reactants' atoms; and ``"both sides"``.
    """
    encoded = tokenizer(
        reaction.smiles, return_offsets_mapping=True, return_special_tokens_mask=True
    )
    offsets = encoded["offset_mapping"]
    arrow = reaction.smiles.index(">>")
    special = torch.tensor(encoded["special_tokens_mask"]).bool()
    left = ~special & (torch.tensor([end for _, end in offsets]) <= arrow)
    letters = [any(map(str.isalpha, reaction.smiles[a:b])) for a, b in offsets]
    centre = torch.tensor(tokens_at(offsets, reaction.reactants))
    formed = torch.tensor(tokens_at(offsets, reaction.product))
    return Example(
        reaction,
        encoded["input_ids"],
        target,
        {"reactants": centre, "atoms": centre, "both sides": centre | formed},
        {
            "reactants": left,
            "atoms": left & torch.tensor(letters),
            "both sides": ~special,
        },
    )


class Faithfulness:
    """The first examples, taken apart once for all methods."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        examples: Sequence[Example],
        settings: dict[str, Any],
        config: dict[str, Any],
    ) -> None:
        """Prepare the inputs.

        Args:
            model: The classifier.
            tokenizer: Its tokenizer.
            examples: All examples.
            settings: How many of them to use.
            config: The metrics, and the token that takes a token's place.
        """
        chosen = examples[: settings["faithfulness"]]
        rows = [one.ids for one in chosen]
        self.metrics, self.confidence = config["metrics"], config["confidence"]
        self.number = len(chosen)
        self.groups = [
            (
                places,
                Occlusion(
                    model,
                    pad(tokenizer, [rows[i] for i in places]),
                    tokenizer.convert_tokens_to_ids(config["replace_with"]),
                    special_ids=tokenizer.all_special_ids,
                ),
                torch.tensor([chosen[i].target for i in places]),
            )
            for places in batches(rows, config["batch"])
        ]

    def __call__(self, scores: Sequence[Tensor]) -> dict[str, dict[str, float]]:
        """Sum up each metric, where there are scores for all of these examples."""
        if len(scores) < self.number:
            return {}
        found: dict[str, list[Tensor]] = {name: [] for name in self.metrics}
        for places, occlusion, target in self.groups:
            rows = stack([scores[i] for i in places])
            for name, curve in curves(occlusion, rows, target, self.metrics).items():
                found[name].append(curve.score)
        return {
            name: record.summary(torch.cat(values), self.confidence)
            for name, values in found.items()
        }


def entry(
    model: Any,
    tokenizer: Any,
    spec: Spec,
    examples: Sequence[Example],
    faithful: Faithfulness,
    config: dict[str, Any],
) -> dict[str, Any]:
    """Measure one method.

    Args:
        model: The classifier.
        tokenizer: Its tokenizer.
        spec: The method; ``"reactions"`` bounds how many are explained.
        examples: The reactions.
        faithful: Measures faithfulness.
        config: The configuration.

    Returns:
        How many reactions, seconds, plausibility and faithfulness.
    """
    examples = examples[: spec.get("reactions")]
    found = score(
        build(model, tokenizer, spec),
        tokenizer,
        [one.ids for one in examples],
        [one.target for one in examples],
        config["batch"],
    )
    values = each(
        found.scores, [e.rationales for e in examples], [e.masks for e in examples]
    )
    return {
        "reactions": len(examples),
        "seconds": round(found.seconds, 2),
        "model_calls": found.calls,
        "plausibility": {
            name: record.summary(row, config["confidence"])
            for name, row in values.items()
        },
        "by_reaction": by_kind(values[report.MAIN], examples),
        "faithfulness": faithful(found.scores),
    }


def by_kind(values: Tensor, examples: Sequence[Example]) -> dict[str, float]:
    """Return the mean over the examples of each kind of reaction."""
    names = [one.reaction.name for one in examples]
    return {
        kind: round(float(values[[name == kind for name in names]].nanmean()), 4)
        for kind in dict.fromkeys(names)
    }


if __name__ == "__main__":
    main()
