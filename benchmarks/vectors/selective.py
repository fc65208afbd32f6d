"""Compare MambaLRP with conservative: ``python -m benchmarks.vectors.selective``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from lrp_hooks.rules import Frozen
from torch import Tensor, nn

from lrp_hooks import instrument

from ..command import without_arguments

CONFIG = Path(__file__).with_name("config.json")
RESULTS = Path(__file__).with_name("results-selective.json")
MAMBA_LRP = {"*.x_proj": Frozen()}


def main() -> None:
    """Compare on models with random weights, and save."""
    config = json.loads(CONFIG.read_text(encoding="utf-8"))["selective"]
    rows = [
        {"model": name, "gain": gain, **compare(config, name, gain)}
        for name in config["models"]
        for gain in config["gains"]
    ]
    text = json.dumps({"config": config, "rows": rows}, indent=1)
    RESULTS.write_text(f"{text}\n", encoding="utf-8")
    print(table({"rows": rows}))


def compare(config: dict[str, Any], name: str, gain: float) -> dict[str, float]:
    """Compare token scores under both rules.

    Args:
        config: The configuration.
        name: A name in its ``models``.
        gain: What all weights are multiplied with: the larger, the more states weigh.

    Returns:
        The difference of scores as a part of their size, and their correlation.
    """
    torch.manual_seed(config["seed"])
    model = build(config["models"][name], gain)
    ids = torch.randint(1, 64, (config["examples"], config["length"]))
    own = relevance(model, ids, {})
    published = relevance(model, ids, MAMBA_LRP)
    gap = (own - published).abs().sum() / published.abs().sum()
    pair = torch.stack([own.flatten(), published.flatten()])
    found = float(torch.corrcoef(pair)[0, 1])
    return {"difference": round(float(gap), 5), "correlation": round(found, 5)}


def build(shape: dict[str, Any], gain: float) -> nn.Module:
    """Build a model whose weights are moved away from their first values."""
    settings = transformers.AutoConfig.for_model(shape["model_type"], **shape["config"])
    model: nn.Module = transformers.AutoModelForCausalLM.from_config(settings)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
        parameter.data *= gain
    return model.eval()


def relevance(model: nn.Module, ids: Tensor, overrides: dict[Any, Any]) -> Tensor:
    """Return token scores of the first class, ``[B, T]``."""
    with instrument(model, overrides=overrides) as lrp:
        scores = lrp.attribute(ids, 1).scores
    assert isinstance(scores, Tensor)
    return scores.double()


def table(results: dict[str, Any]) -> str:
    """Write one row a model and gain.

    Args:
        results: What was saved.

    Returns:
        Markdown.
    """
    head = [
        "| model | weights times | difference, of MambaLRP's scores | correlation |",
        "| --- | ---: | ---: | ---: |",
    ]
    rows = [
        f"| {r['model']} | {r['gain']:g} | {r['difference']:.4f} | "
        f"{r['correlation']:.4f} |"
        for r in results["rows"]
    ]
    return "\n".join([*head, *rows])


if __name__ == "__main__":
    without_arguments(__doc__)
    main()
