"""Put methods to the test on texts.

``python -m benchmarks.faithfulness.text.run --shared DIR [--only RUN]``
"""

from __future__ import annotations

import argparse
import json
import platform
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from lrp_hooks.faithfulness import evaluate
from lrp_hooks.texts.loading import load_folder

from .. import orderings
from . import report

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
WORK = HERE.parent / "work"  # finished portions, so that a run takes itself up again
TRAINED = HERE.parent / "models"
DIGITS = 6
Results = dict[str, Any]


def main() -> None:
    """Do every run that the results lack, save after each, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="models and data")
    parser.add_argument("--only", metavar="RUN", help="one run of config.json, anew")
    arguments = parser.parse_args()
    config = json.loads((HERE / "config.json").read_text(encoding="utf-8"))
    torch.set_num_threads(config["threads"])
    for name in [arguments.only] if arguments.only else config["runs"]:
        entry = run(name, config, arguments.shared)
        results = load()  # another process may have saved another run
        results["runs"][name] = entry
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(report.table(load()))


def load() -> Results:
    """Return the results so far."""
    if RESULTS.exists():
        results: Results = json.loads(RESULTS.read_text(encoding="utf-8"))
        return results
    return {"runs": {}}


def run(name: str, config: dict[str, Any], shared: Path) -> dict[str, Any]:
    """Evaluate one model on one data set.

    Args:
        name: Of the run.
        config: The configuration.
        shared: The folder of models and data.

    Returns:
        What is committed of it: means with intervals, counts, costs, versions.
    """
    own = config["runs"][name]
    kind, _, folder = own["model"].partition(":")
    model, tokenizer = load_folder(
        shared / "models" / folder if kind == "shared" else TRAINED / folder
    )
    texts, labels, about = choose(own, config, shared, tokenizer)
    found = evaluate(
        model,
        tokenizer,
        texts,
        labels,
        methods={
            k: v for group in own["groups"] for k, v in config["groups"][group].items()
        },
        metrics=config["metrics"][own["metrics"]],
        signs=own["signs"],
        chunk=config["chunk"],
        seed=config["seed"],
        out=WORK / name,
        progress=True,
    )
    return {
        "config": own,
        "data": {**about, "skipped": len(found.skipped)},
        "summary": rounded(found.summary()),
        "orderings": rounded(
            orderings.compare(
                orderings.of_rows(found.rows),
                config["claims"],
                own_metrics(config, own),
            )
        ),
        "fractions": found.fractions,
        "failures": found.failures,
        "seconds": rounded(found.seconds),
        "shown": sum(part["shown"] for part in found.parts),
        **environment(config),
    }


def environment(config: dict[str, Any]) -> dict[str, Any]:
    """Record with what, and when, a run ran."""
    names = ("torch", "transformers", "captum", "lrp_hooks")
    return {
        "environment": {
            "threads": config["threads"],
            "python": platform.python_version(),
            **{package: version(package) for package in names},
        },
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def own_metrics(config: dict[str, Any], own: dict[str, Any]) -> list[str]:
    """Return the metrics of a run on which claims are tested."""
    return [m for m in config["metrics"][own["metrics"]] if m in config["claimed"]]


def choose(
    own: dict[str, Any], config: dict[str, Any], shared: Path, tokenizer: Any
) -> tuple[list[str], list[int], dict[str, int]]:
    """Choose texts at random, from those that are short enough.

    Args:
        own: The run's configuration.
        config: The whole configuration.
        shared: The folder of models and data.
        tokenizer: Counts tokens.

    Returns:
        Texts, labels, and how many there were to choose from.
    """
    table = pd.read_parquet(shared / "data" / own["data"])
    about = {"rows": len(table)}
    if "longest" in own:
        lengths = [len(ids) for ids in tokenizer(list(table[own["text"]]))["input_ids"]]
        table = table[[length <= own["longest"] for length in lengths]]
        about["short enough"] = len(table)
    if "limit" in own:
        table = table.sample(own["limit"], random_state=config["seed"])
    about["chosen"] = len(table)
    return list(table[own["text"]]), [int(label) for label in table["label"]], about


def rounded(value: Any) -> Any:
    """Round all numbers to a few significant digits.

    Args:
        value: JSON.

    Returns:
        The same with shorter numbers.
    """
    if isinstance(value, dict):
        return {key: rounded(own) for key, own in value.items()}
    if isinstance(value, list):
        return [rounded(own) for own in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
