"""Measures what `explain` adds: ``python -m benchmarks.overhead.explain``.

One text with its tokenizer, beside `instrument` and `attribute` on the ids of the same
text, which are made outside the clock.
"""

from __future__ import annotations

import statistics
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn

import lrp_hooks

from ..cost import timing
from ..cost.methods import Batch
from . import page

HERE = Path(__file__).parent
CONFIG = HERE / "explain_config.json"
RESULTS = HERE / "explain_results.json"
LIMIT = 1.20
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def build_tokenizer(size: int) -> Any:
    """Make a tokenizer of as many words.

    Args:
        size: How many tokens it knows, the special ones included.

    Returns:
        A fast tokenizer, which puts one special token before a text and one behind it.
    """
    words = [f"w{i}" for i in range(size - len(SPECIAL))]
    ids = {word: i for i, word in enumerate([*SPECIAL, *words])}
    core = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )


def build_text(length: int) -> str:
    """Write a text of as many tokens, the two special ones included."""
    return " ".join(f"w{7 * i % 900}" for i in range(length - 2))


def attribute(model: nn.Module, batch: Batch) -> None:
    """Explain a batch of ids."""
    with lrp_hooks.instrument(model) as lrp:
        lrp.attribute(batch, target=1)


def explain(model: nn.Module, text: str, tokenizer: Any) -> None:
    """Explain a text."""
    lrp_hooks.explain(model, text, tokenizer=tokenizer, target=1)


def measure_case(model: nn.Module, size: int, length: int, rounds: int) -> Any:
    """Run both, interleaved.

    Args:
        model: The model.
        size: How many words the tokenizer knows.
        length: Tokens of the text.
        rounds: How often.

    Returns:
        CPU seconds of every round, and of the first call with a new tokenizer.
    """
    tokenizer, text = build_tokenizer(size), build_text(length)
    batch = dict(tokenizer(text, return_tensors="pt"))
    calls = {
        "attribute": partial(attribute, model, batch),
        "explain": partial(explain, model, text, tokenizer),
    }
    calls["attribute"]()
    first = timing.cpu_seconds(calls["explain"])
    timed = {name: partial(timing.cpu_seconds, call) for name, call in calls.items()}
    seconds = timing.interleave(timed, budget=float("inf"), rounds=(rounds, rounds))
    return {"seconds": seconds, "first": first}


def measure(config: dict[str, Any]) -> dict[str, Any]:
    """Measure every model with every vocabulary and length.

    Args:
        config: What ``explain_config.json`` holds.

    Returns:
        The results, with CPU seconds of every round.
    """
    torch.set_num_threads(config["threads"])
    warnings.simplefilter("ignore")  # random weights leave most to constants
    cases = []
    for name, shape in config["models"].items():
        for size in config["vocabularies"]:
            torch.manual_seed(config["seed"])
            settings = transformers.BertConfig(vocab_size=size, **shape)
            model = transformers.BertForSequenceClassification(settings).eval()
            for length in config["lengths"]:
                found = measure_case(model, size, length, config["rounds"])
                case = {"model": name, "vocabulary": size, "length": length}
                cases.append({**case, **found})
    versions = page.versions() | {"tokenizers": tokenizers.__version__}
    return {"config": config, "versions": versions, "cases": cases}


def table(results: dict[str, Any]) -> str:
    """Write the results as Markdown.

    Args:
        results: What `measure` returned.

    Returns:
        A table and a line that says whether the limit is kept.
    """
    rows = [
        "| model | vocabulary | tokens | instrument + attribute, s | explain / that | "
        "first call with a tokenizer, s more |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    worst = 0.0
    for case in results["cases"]:
        seconds = case["seconds"]
        ratio = timing.median_ratio(seconds, "explain", "attribute")
        worst = max(worst, ratio)
        plain = statistics.median(seconds["attribute"])
        more = max(0.0, case["first"] - statistics.median(seconds["explain"]))
        rows.append(
            f"| {case['model']} | {case['vocabulary']:,} | {case['length']} | "
            f"{plain:.3f} | {ratio:.3f} | {more:.2f} |"
        )
    config, verdict = results["config"], "kept" if worst <= LIMIT else "missed"
    return "\n".join(rows) + (
        f"\n\nThe limit of {LIMIT:.2f} is {verdict}: median of {config['rounds']} "
        f"interleaved rounds, one text, {config['threads']} thread, "
        f"torch {results['versions']['torch']}."
    )


def main() -> None:
    """Measure, save, and rewrite the table in this folder's page."""
    page.command(__doc__, "explain", CONFIG, RESULTS, measure, table)


if __name__ == "__main__":
    main()
