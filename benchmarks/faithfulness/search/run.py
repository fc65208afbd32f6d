"""Search rule sets: ``python -m benchmarks.faithfulness.search.run --shared DIR``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lrp_hooks.faithfulness import BETTER, Evaluation, evaluate
from lrp_hooks.texts.loading import load_folder

from .. import orderings
from ..text.run import TRAINED, WORK, choose, environment, rounded
from . import report
from .space import candidates, options

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"


def main() -> None:
    """Choose on one half of each data set, compare on the other, save, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="models and data")
    shared = parser.parse_args().shared
    config = json.loads((HERE / "config.json").read_text(encoding="utf-8"))
    torch.set_num_threads(config["threads"])
    space = candidates(config)
    searched = {
        name: summary_of(evaluated(name, "search", config, shared, space))
        for name in config["data"]
    }
    ranks = mean_ranks(searched)
    best = min(ranks, key=ranks.__getitem__)
    final = {best: space[best], **config["references"], **config["rivals"]}
    told = {
        name: evaluated(name, "report", config, shared, final)
        for name in config["data"]
    }
    results = {
        "config": config,
        "searched": rounded(searched),
        "ranks": rounded(dict(sorted(ranks.items(), key=lambda item: item[1]))),
        "best": best,
        "told": rounded({name: found.summary() for name, found in told.items()}),
        "orderings": rounded({
            name: orderings.compare(
                orderings.of_rows(found.rows),
                [(best, other) for other in final if other != best],
                config["metrics"],
            )
            for name, found in told.items()
        }),
        **environment(config),
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(report.table(results))


def evaluated(
    name: str,
    half: str,
    config: dict[str, Any],
    shared: Path,
    methods: Mapping[str, Mapping[str, Any]],
) -> Evaluation:
    """Evaluate methods on one half of a data set.

    Args:
        name: Of the data set.
        half: ``"search"`` or ``"report"``: which half.
        config: The configuration.
        shared: The folder of models and data.
        methods: ``{label: numbers}`` as `options` takes them.

    Returns:
        The evaluation.
    """
    own = config["data"][name]
    kind, _, folder = own["model"].partition(":")
    model, tokenizer = load_folder(
        shared / "models" / folder if kind == "shared" else TRAINED / folder
    )
    texts, _, _ = choose(own, config, shared, tokenizer)
    start = 0 if half == "search" else 1
    found = evaluate(
        model,
        tokenizer,
        texts[start::2],
        methods={label: options(own, model) for label, own in methods.items()},
        metrics=config["metrics"],
        chunk=config["chunk"],
        seed=config["seed"],
        out=WORK / f"search-{half}-{folder}",
        progress=True,
    )
    return found


def summary_of(found: Evaluation) -> dict[str, dict[str, float]]:
    """Return the mean score of each method and metric."""
    return {
        method: {metric: entry["score"] for metric, entry in by["signed"].items()}
        for method, by in found.summary().items()
    }


def mean_ranks(
    searched: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> dict[str, float]:
    """Rank candidates on every metric of every data set.

    Args:
        searched: ``{data: {candidate: {metric: mean score}}}``.

    Returns:
        The mean rank of each candidate, 1 if it is best everywhere.
    """
    ranks: dict[str, list[int]] = {}
    for by_candidate in searched.values():
        for metric in next(iter(by_candidate.values())):
            ordered = sorted(
                by_candidate,
                key=lambda name: by_candidate[name][metric],
                reverse=BETTER[metric] == "higher",
            )
            for rank, name in enumerate(ordered, start=1):
                ranks.setdefault(name, []).append(rank)
    return {name: sum(own) / len(own) for name, own in ranks.items()}


if __name__ == "__main__":
    main()
