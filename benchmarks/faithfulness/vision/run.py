"""Measure explanations of digits.

``python -m benchmarks.faithfulness.vision.run --shared DIR [--fresh]``
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrp_hooks.faithfulness import Curve, Occlusion, curves

from .. import orderings
from ..plausibility import record
from ..plausibility.methods import Spec
from ..training import vit
from ..training.batches import split
from ..training.loop import assess
from . import report
from .reading import SIGNS, score

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
MAIN = "activation"
ORDERED_BY = ("tokens", "pixels from black", "pixels")
Config = dict[str, Any]


class Images:
    """Images to explain, and what the model says of what is left of them.

    Attributes:
        digits: The images and their labels, which are the explained classes.
        fillers: The value of a pixel that is taken away, by name.
    """

    def __init__(
        self, model: Any, digits: vit.Digits, fillers: dict[str, float]
    ) -> None:
        """Remember images; the model is not called yet."""
        self.model, self.digits, self.fillers = model, digits, fillers
        self._shown: dict[tuple[str, torch.Size], Occlusion] = {}

    def curves(
        self, scores: Tensor, replace: str, metrics: Sequence[str]
    ) -> dict[str, Curve]:
        """Measure scores.

        Args:
            scores: ``[B, h, w]``.
            replace: The filler's name.
            metrics: Names of metrics.

        Returns:
            A curve for each image, by metric. Methods share what the model said.
        """
        grid = scores.shape[1:]
        if (replace, grid) not in self._shown:
            self._shown[replace, grid] = Occlusion(
                self.model, self.digits.images, self.fillers[replace], grid=grid
            )
        shown = self._shown[replace, grid]
        return curves(shown, scores, self.digits.labels, metrics)


def main() -> None:
    """Measure what the results lack, save after each method, print the tables."""
    arguments = record.arguments(__doc__)
    config = json.loads((HERE / "config.json").read_text(encoding="utf-8"))
    torch.set_num_threads(config["threads"])
    results = record.start(RESULTS, config, arguments.fresh)
    digits = vit.read(arguments.shared / "data" / "mnist10k")
    for name in config["models"]:
        model = load(name, arguments.shared / "models")
        measure(results, name, model, digits)
    print(report.table(results))


def load(name: str, folder: Path) -> Any:
    """Load a model in float32: one that stands here, or a shared one."""
    from transformers import AutoModelForImageClassification

    own = HERE / name
    path = own if own.is_dir() else folder / name
    model = AutoModelForImageClassification.from_pretrained(path, dtype=torch.float32)
    return model.eval()


def measure(results: record.Results, name: str, model: Any, digits: vit.Digits) -> None:
    """Measure all methods on one model.

    Args:
        results: Completed, and saved after each method.
        name: The model's.
        model: The model.
        digits: All images; those held out are explained.
    """
    config = results["config"]
    seen, unseen = split(len(digits.labels), vit.HELD_OUT, vit.SPLIT_SEED)
    fillers = {"black": vit.BACKGROUND, "mean": float(digits.images[seen].mean())}
    held_out = digits.pick(unseen)
    images = Images(model, digits.pick(unseen[: config["images"]]), fillers)
    part = results.setdefault("models", {}).setdefault(name, {"methods": {}})
    part |= {
        "layers": model.config.num_hidden_layers,
        "patch": model.config.patch_size,
        "accuracy": round(assess(model, held_out.batches(250)).accuracy, 4),
        "fillers": {k: round(value, 4) for k, value in fillers.items()},
    }
    lacking = {m: s for m, s in config["methods"].items() if m not in part["methods"]}
    for method, spec in lacking.items():
        part["methods"][method] = entry(images, spec, config)
        record.save(RESULTS, results)
        print(name, method, part["methods"][method]["milliseconds"], flush=True)
    if lacking or "orderings" not in part:
        part["orderings"] = compared(images, config)
        record.save(RESULTS, results)


def entry(images: Images, spec: Spec, config: Config) -> dict[str, Any]:
    """Measure one method.

    Args:
        images: What is explained.
        spec: The method, and what is read.
        config: The configuration.

    Returns:
        Milliseconds an image by what is read, and summaries of the metrics by
        ``"read, cells, replacement, sign"``.
    """
    found: dict[str, Any] = {"milliseconds": {}, "metrics": {}}
    for read in spec["reads"]:
        scored = score(images.model, spec, read, *images.digits, config["batch"])
        each = 1000 * scored.seconds / len(images.digits.labels)
        found["milliseconds"][read] = round(each, 2)
        for cells, scores in scored.scores.items():
            for case in config["settings"]:
                if case["sign"] == "absolute" and bool((scores >= 0).all()):
                    continue  # nothing changes
                signed = SIGNS[case["sign"]](scores)
                curved = images.curves(signed, case["replace"], case["metrics"])
                row = f"{read}, {cells}, {case['replace']}, {case['sign']}"
                found["metrics"][row] = {
                    metric: record.summary(curve.score, config["confidence"])
                    for metric, curve in curved.items()
                }
    return found


def compared(images: Images, config: Config) -> dict[str, list[dict[str, Any]]]:
    """Compare AUAC by patches between every two methods of a published table.

    Args:
        images: What is explained.
        config: Names the methods and their published AUAC.

    Returns:
        By ``"read, replacement"``, what ``orderings.compare`` says of each pair, the
        better one as published first.
    """
    descending = sorted(config["published"], key=config["published"].get, reverse=True)
    specs = {method: config["methods"][method] for method in descending}
    found = {}
    for where in ORDERED_BY:
        maps = {
            method: score(
                images.model,
                spec,
                read_at(spec, where),
                *images.digits,
                config["batch"],
            ).scores["patches"]
            for method, spec in specs.items()
        }
        for replace in images.fillers:
            curved = {
                method: images.curves(scores, replace, [MAIN])[MAIN]
                for method, scores in maps.items()
            }
            areas = {(method, MAIN): curve.score for method, curve in curved.items()}
            pairs = orderings.compare(areas, combinations(descending, 2), [MAIN])
            found[f"{where}, {replace}"] = [
                {k: round(v, 4) if isinstance(v, float) else v for k, v in pair.items()}
                for pair in pairs
            ]
    return found


def read_at(spec: Spec, where: str) -> str:
    """Return where a method is read: there if it can be, else where it is first."""
    reads: list[str] = spec["reads"]
    return where if where in reads else reads[0]


if __name__ == "__main__":
    main()
