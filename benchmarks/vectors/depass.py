"""Measure DePass's own code beside ours: ``python -m benchmarks.vectors.depass``.

``--depass DIR`` names a folder that holds its package ``DePass`` (Hong et al. 2025),
which was written for an older transformers: what its attention layers had then is
given to the model, and its forward pass is told that all attention is causal.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from lrp_hooks.explainers import DecompX

from ..cost import report
from ..cost.cases import Case, build_model, random_batch
from ..cost.methods import FORWARD, Batch
from ..cost.run import environment, save
from ..cost.timing import cpu_seconds, interleave, median_ratio

CONFIG = Path(__file__).with_name("config.json")
RESULTS = Path(__file__).with_name("results-depass.json")
OURS = "vectors"
SHARES = ("softmax", "linear")
"""How DePass shares a neuron among the sources; its default is the first."""
Vectors = Callable[[Batch], Tensor]


def main() -> None:
    """Run what the results lack, save after each length, print the table."""
    arguments = _arguments()
    config = json.loads(CONFIG.read_text(encoding="utf-8"))["vectors"]
    torch.set_num_threads(1)
    results = _start(config, arguments.rounds)
    name = next(iter(config["models"]))
    model = build_model(config, name)
    depass = {share: published(arguments.depass, model, share) for share in SHARES}
    for length in arguments.lengths:
        batch = random_batch(model, Case(name, 1, length), config["seed"])
        if str(length) not in results["lengths"]:
            results["lengths"][str(length)] = measure(
                model, batch, depass, arguments.rounds
            )
            save(results, RESULTS)
    print(table(results))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depass", type=Path, required=True, help="folder of DePass")
    parser.add_argument("--lengths", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _start(config: dict[str, Any], rounds: int) -> dict[str, Any]:
    new = {"environment": environment(config), "rounds": rounds, "lengths": {}}
    if RESULTS.exists():
        old: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
        if old["environment"] == new["environment"] and old["rounds"] == rounds:
            return old
    return new | {"date": datetime.now(timezone.utc).date().isoformat()}


def published(folder: Path, model: nn.Module, share: str) -> Vectors:
    """Load DePass's own code.

    Args:
        folder: Where its package lies.
        model: A Llama; its attention layers are given what they had of old.
        share: One of `SHARES`.

    Returns:
        A function from a batch of one text to vectors [T, K, D] behind the last norm.
    """
    sys.path.insert(0, str(folder))
    manager_of = import_module("DePass.manager").decomposed_state_manager
    stream_of = import_module("DePass.utils").get_stream_from_prompt
    settings, decoder = model.config, model.model
    for layer in decoder.layers:
        attention = layer.self_attn
        attention.num_heads = settings.num_attention_heads
        attention.num_key_value_heads = settings.num_key_value_heads
        object.__setattr__(attention, "rotary_emb", decoder.rotary_emb)  # no child
    manager = manager_of(
        model, None, mlp_decomposed_function=share, ignore_special_token=False
    )
    layers = settings.num_hidden_layers

    def vectors(batch: Batch) -> Tensor:
        ids = batch["input_ids"][0].tolist()
        words = SimpleNamespace(encode=lambda ids: ids)
        manager.states, *_ = stream_of(words, model, ids)
        manager.attribute_len = len(ids)
        manager.masks, manager.dropouts = [None] * layers, [0.0] * layers
        manager.causals = [True] * layers
        found: Tensor = manager.compute_decomposed_state(0)
        return found

    return vectors


def ours(model: nn.Module) -> Vectors:
    """Return the same of this library, before the last norm.

    Args:
        model: A Llama.

    Returns:
        A function from a batch of one text to vectors [T, K, D].
    """
    explainer = DecompX(model, stages=("aggregated",), vectors=True)

    def vectors(batch: Batch) -> Tensor:
        found = explainer(batch).aggregated
        assert found is not None
        return found[0]

    return vectors


def measure(
    model: nn.Module, batch: Batch, depass: dict[str, Vectors], rounds: int
) -> dict[str, Any]:
    """Time everything in turn, and compare the numbers.

    Args:
        model: A Llama.
        batch: One text.
        depass: DePass's vectors by how it shares neurons.
        rounds: How many rounds.

    Returns:
        Seconds by method; the correlation of DePass's norms with ours, and how much of
        each hidden state its vectors leave out.
    """
    mine = ours(model)

    def forward() -> object:
        with torch.no_grad():
            return model(**batch)

    with torch.no_grad():
        hidden = model(**batch, output_hidden_states=True).hidden_states[-1][0]
    found = {share: each(batch).detach() for share, each in depass.items()}
    norms = mine(batch).detach().norm(dim=-1)
    calls = {FORWARD: forward, OURS: partial(mine, batch)}
    calls |= {share: partial(each, batch) for share, each in depass.items()}
    seconds = interleave(
        {name: partial(cpu_seconds, call) for name, call in calls.items()},
        budget=float("inf"),
        rounds=(rounds, rounds),
    )
    return {
        "seconds": {n: [round(x, 4) for x in each] for n, each in seconds.items()},
        "correlation": {n: _correlation(v, norms) for n, v in found.items()},
        "left out": {n: _left_out(v, hidden) for n, v in found.items()},
    }


def _correlation(vectors: Tensor, norms: Tensor) -> float:
    """Correlate shares of each token, where a token has several sources."""
    own = vectors.norm(dim=-1)
    pairs = torch.stack([(x / x.sum(1, keepdim=True)).flatten() for x in (own, norms)])
    below = torch.ones_like(own).tril().flatten().bool()
    return float(torch.corrcoef(pairs[:, below].double())[0, 1])


def _left_out(vectors: Tensor, hidden: Tensor) -> float:
    gap = (vectors.sum(1) - hidden).norm(dim=-1) / hidden.norm(dim=-1)
    return float(gap.max())


def table(results: dict[str, Any]) -> str:
    """Write the costs beside one another.

    Args:
        results: What a run saved.

    Returns:
        Markdown.
    """
    lines = [
        "| tokens | rounds | vectors, forwards | DePass, softmax, forwards | "
        "DePass, linear, forwards | correlation with softmax's, linear's shares |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for length, entry in results["lengths"].items():
        cells = [
            report.number(median_ratio(entry["seconds"], name, FORWARD))
            for name in (OURS, *SHARES)
        ]
        alike = ", ".join(f"{entry['correlation'][share]:.4f}" for share in SHARES)
        n = len(entry["seconds"][OURS])
        lines.append(f"| {length} | {n} | {' | '.join(cells)} | {alike} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
