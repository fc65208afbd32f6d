"""Compare estimates of patching: ``python -m benchmarks.relp.run FOLDER...``.

Each folder holds a model of the configuration and has its name; one that has another
is given as ``name=folder``.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections import defaultdict
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lrp_hooks.rules import Attention
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from lrp_hooks import Contrast, RuleSet, instrument
from lrp_hooks.patching import estimated_effects, measured_effects

from .report import table

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
CONSERVATIVE = RuleSet.named("conservative")
ESTIMATES = {
    "attribution patching": RuleSet.named("gradient"),
    "RelP": CONSERVATIVE.override(attention=Attention(None)),
    "conservative": CONSERVATIVE,
    "cp-lrp": RuleSet.named("cp-lrp"),
    "attnlrp": RuleSet.named("attnlrp"),
}
Results = dict[str, Any]
Pair = tuple[dict[str, Any], dict[str, Any], Contrast, list[int]]


def main() -> None:
    """Measure the models whose folders are given, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", metavar="FOLDER")
    config = json.loads((HERE / "config.json").read_text(encoding="utf-8"))
    torch.set_num_threads(config["threads"])
    results = start(config)
    for given in parser.parse_args().folders:
        name, _, folder = given.rpartition("=")
        name = name or Path(folder).name
        results["models"][name] = measure_model(folder, config, name)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(table(results))


def start(config: dict[str, Any]) -> Results:
    """Take up earlier results of the same configuration, or begin new ones."""
    names = ("torch", "transformers", "lrp_hooks")
    about = {"python": platform.python_version(), **{n: version(n) for n in names}}
    fresh: Results = {
        "config": config,
        "environment": about,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "models": {},
    }
    if not RESULTS.exists():
        return fresh
    old: Results = json.loads(RESULTS.read_text(encoding="utf-8"))
    same = all(old[key] == fresh[key] for key in ("config", "environment"))
    return old if same else fresh


def measure_model(folder: str, config: dict[str, Any], name: str) -> Results:
    """Patch one model's activations, and estimate the same.

    Args:
        folder: Where the model is.
        config: The configuration.
        name: The model's name in it.

    Returns:
        Correlations by component and task, and seconds.
    """
    settings = config["models"][name]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    numbers = range(0, model.config.num_hidden_layers, settings["every"])
    tasks = {
        task: [read_pair(tokenizer, pair) for pair in pairs]
        for task, pairs in settings["tasks"].items()
    }
    seconds: dict[str, float] = defaultdict(float)
    found: Results = {}
    for component, pattern in config["components"].items():
        layers = [pattern.format(number) for number in numbers]
        effects = {
            task: [measure_pair(model, pair, layers, seconds) for pair in pairs]
            for task, pairs in tasks.items()
        }
        found[component] = {task: correlations(rows) for task, rows in effects.items()}
        if len(effects) > 1:
            found[component]["all"] = correlations(sum(effects.values(), []))
        print(name, component, found[component], flush=True)
    return {"layers": len(numbers), "components": found, "seconds": dict(seconds)}


def read_pair(tokenizer: Any, pair: list[str]) -> Pair:
    """Tokenize two prompts, and find what tells them apart.

    Args:
        tokenizer: The model's.
        pair: Two prompts, and the word that each one wants next.

    Returns:
        The inputs, the target, and the positions that the difference can reach.

    Raises:
        ValueError: If the prompts differ in length, or an answer is no single token.
    """
    ids = [tokenizer(text, return_tensors="pt").input_ids for text in pair[:2]]
    answers = [tokenizer.encode(word, add_special_tokens=False) for word in pair[2:]]
    if ids[0].shape != ids[1].shape or any(len(answer) != 1 for answer in answers):
        raise ValueError(f"{pair} must be prompts of one length and words of one token")
    first = int((ids[0] != ids[1])[0].nonzero()[0])
    inputs = [{"input_ids": one, "logits_to_keep": 1} for one in ids]
    positions = list(range(first, ids[0].shape[1]))
    return inputs[0], inputs[1], Contrast(answers[0][0], answers[1][0]), positions


def measure_pair(
    model: nn.Module, pair: Pair, layers: list[str], seconds: dict[str, float]
) -> dict[str, Tensor]:
    """Return the measured and the estimated effects of one pair, layer by position."""
    original, patch, target, positions = pair
    began = time.process_time()
    measured = measured_effects(
        model, original, patch, target, layers=layers, positions=positions
    )
    seconds["activation patching"] += time.process_time() - began
    effects = {"measured": torch.cat(list(measured.values()))}
    for name, rules in ESTIMATES.items():
        began = time.process_time()
        with instrument(model, rules) as lrp:
            found = estimated_effects(lrp, original, patch, target, layers=layers)
        seconds[name] += time.process_time() - began
        rows = [values.sum(-1)[:, positions] for values in found.values()]
        effects[name] = torch.cat(rows)
    return effects


def correlations(effects: list[dict[str, Tensor]]) -> Results:
    """Correlate estimates with what was measured, over all layers and positions."""
    points = {
        name: torch.cat([pair[name].flatten() for pair in effects])
        for name in effects[0]
    }
    measured = points["measured"]
    return {
        "pairs": len(effects),
        "points": len(measured),
        "pearson": {name: pearson(measured, points[name]) for name in ESTIMATES},
    }


def pearson(a: Tensor, b: Tensor) -> float:
    """Return the linear correlation of two vectors."""
    return float(torch.corrcoef(torch.stack([a, b]).double())[0, 1])


if __name__ == "__main__":
    main()
