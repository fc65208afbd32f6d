"""What a share costs: ``python -m benchmarks.faithfulness.search.price --shared DIR``.

CPU time of `explain` under each set, sentence by sentence in turn, and on how many
sentences it warns that constants made most of the output. Writes ``price.json``.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lrp_hooks.rules import Attention

from lrp_hooks import ConstantsWarning, RuleSet, explain
from lrp_hooks.texts.loading import load_folder

from ...by_prompt import environment
from ..text.run import choose

RESULTS = Path(__file__).with_name("price.json")
SETS = {
    "conservative": RuleSet.named("conservative"),
    "share 0.4": RuleSet.named("conservative").override(attention=Attention(0.4)),
    "attnlrp": RuleSet.named("attnlrp"),
}
MODELS = ("sst2-bert-4l128", "sst2-minilm-l6")
DATA = {"data": "sst2/dev.parquet", "text": "sentence", "limit": 60}


def main() -> None:
    """Measure both models and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="models and data")
    shared = parser.parse_args().shared
    torch.set_num_threads(1)
    found: dict[str, Any] = {"models": {}, "environment": environment()}
    for name in MODELS:
        model, tokenizer = load_folder(shared / "models" / name)
        texts, _, _ = choose(DATA, {"seed": 0}, shared, tokenizer)
        found["models"][name] = measured(model, tokenizer, texts)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def measured(model: Any, tokenizer: Any, texts: list[str]) -> dict[str, Any]:
    """Measure one model.

    Args:
        model: A classifier.
        tokenizer: Its tokenizer.
        texts: Texts; the first one warms up as well.

    Returns:
        By set the median CPU time relative to the first set's, text by text, and the
        share of texts of which `explain` warns; and how many texts.
    """
    seconds: dict[str, list[float]] = {name: [] for name in SETS}
    warned = dict.fromkeys(SETS, 0)
    for rules in SETS.values():
        explain(model, texts[0], tokenizer=tokenizer, rules=rules)
    for text in texts:
        for name, rules in SETS.items():
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                start = time.process_time()
                explain(model, text, tokenizer=tokenizer, rules=rules)
                seconds[name].append(time.process_time() - start)
            warned[name] += any(w.category is ConstantsWarning for w in caught)
    base = np.array(seconds[next(iter(SETS))])
    return {
        "texts": len(texts),
        "sets": {
            name: {
                "time": round(float(np.median(np.array(own) / base)), 3),
                "warned": round(warned[name] / len(texts), 3),
            }
            for name, own in seconds.items()
        },
    }


if __name__ == "__main__":
    main()
