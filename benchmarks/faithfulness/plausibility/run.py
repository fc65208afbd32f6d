"""Compare scores with human attention.

``python -m benchmarks.faithfulness.plausibility.run --shared DIR [--fresh]``
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lrp_hooks.texts.loading import load_folder

from . import record, report
from .agreement import summaries
from .methods import Spec, build, probabilities, score
from .texts import Text, by_word, read

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"


def main() -> None:
    """Measure what the results lack, save after each method, print the table."""
    arguments = record.arguments(__doc__)
    config = json.loads((HERE / "config.json").read_text(encoding="utf-8"))
    torch.set_num_threads(config["threads"])
    results = record.start(RESULTS, config, arguments.fresh)
    for name in config["models"]:
        measure(results, name, arguments.shared)
    print(report.table(results))


def measure(results: record.Results, name: str, shared: Path) -> None:
    """Measure all methods of one model on one part of the data.

    Args:
        results: Completed, and saved after each method.
        name: One of the configuration's models.
        shared: The folder of models and data.
    """
    config = results["config"]
    settings = config["models"][name]
    model, tokenizer = load_folder(shared / "models" / settings["model"])
    texts, counts = read(
        shared / "data",
        settings["part"],
        tokenizer,
        settings["longest"],
        settings["texts"],
    )
    found = probabilities(model, tokenizer, [t.ids for t in texts], config["batch"])
    target = found.argmax(1).tolist()
    right = sum(t.label == c for t, c in zip(texts, target, strict=True))
    part = results["models"].setdefault(name, {"methods": {}})
    part |= {"texts": counts, "accuracy": round(right / len(texts), 4)}
    for method, spec in config["methods"].items():
        if method not in part["methods"]:
            part["methods"][method] = entry(
                model, tokenizer, spec, texts, target, config
            )
            record.save(RESULTS, results)
            print(name, method, part["methods"][method]["seconds"])


def entry(
    model: Any,
    tokenizer: Any,
    spec: Spec,
    texts: Sequence[Text],
    target: Sequence[int],
    config: dict[str, Any],
) -> dict[str, Any]:
    """Measure one method.

    Args:
        model: A classifier.
        tokenizer: Its tokenizer.
        spec: The method; ``"texts"`` bounds how many are explained.
        texts: The texts.
        target: The class to explain of each.
        config: The configuration.

    Returns:
        How many texts, seconds, and the metrics of each rationale and sign.
    """
    texts = texts[: spec.get("texts")]
    found = score(
        build(model, tokenizer, spec),
        tokenizer,
        [text.ids for text in texts],
        target[: len(texts)],
        config["batch"],
    )
    return {
        "texts": len(texts),
        "seconds": round(found.seconds, 2),
        "model_calls": found.calls,
        "metrics": summaries(
            list(by_word(found.scores, texts)),
            [text.rationales for text in texts],
            config["confidence"],
        ),
    }


if __name__ == "__main__":
    main()
