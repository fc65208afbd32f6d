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
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from lrp_hooks.explainers import DecompX

from ..cost import report
from ..cost.cases import build_model, cases, random_batch
from ..cost.methods import FORWARD, Batch
from ..cost.run import save, start
from ..cost.timing import cpu_seconds, interleave

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
    torch.set_num_threads(config["threads"])
    results = start(RESULTS, config, arguments.fresh)
    (name,) = config["models"]
    model = build_model(config, name)
    depass = {share: published(arguments.depass, model, share) for share in SHARES}
    for case in cases(config):
        if case.name not in results["cases"]:
            batch = random_batch(model, case, config["seed"])
            rounds = config["min_rounds"], config["max_rounds"]
            found = measure(model, batch, depass, rounds, config["seconds_per_case"])
            results["cases"][case.name] = vars(case) | found
            save(results, RESULTS)
    print(table(results))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depass", type=Path, required=True, help="folder of DePass")
    parser.add_argument("--fresh", action="store_true", help="measure all anew")
    return parser.parse_args()


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
    model: nn.Module,
    batch: Batch,
    depass: dict[str, Vectors],
    rounds: tuple[int, int],
    budget: float,
) -> dict[str, Any]:
    """Time everything in turn, and compare the numbers.

    Args:
        model: A Llama.
        batch: One text.
        depass: DePass's vectors by how it shares neurons.
        rounds: The least and the largest number of rounds.
        budget: No further round starts once this many seconds were measured.

    Returns:
        Seconds by method; the correlation of DePass's norms with ours, and how much of
        each hidden state its vectors leave out.
    """
    methods = {OURS: ours(model), **depass}
    found: dict[str, Tensor] = {}

    def forward() -> None:
        with torch.no_grad():
            model(**batch)

    def keep(name: str) -> None:
        found[name] = methods[name](batch).detach()

    for each in methods.values():
        each({name: value[:, :2] for name, value in batch.items()})
    calls = {FORWARD: forward} | {name: partial(keep, name) for name in methods}
    seconds = interleave(
        {name: partial(cpu_seconds, call) for name, call in calls.items()},
        budget,
        rounds,
    )
    with torch.no_grad():
        hidden = model(**batch, output_hidden_states=True).hidden_states[-1][0]
    norms = found.pop(OURS).norm(dim=-1)
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
    both = "softmax's, linear's"
    lines = [
        "| model | batch x tokens | vectors, forwards | DePass, softmax, forwards | "
        f"DePass, linear, forwards | correlation with {both} | left out by {both} |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for entry in results["cases"].values():
        cells = [entry["model"], f"{entry['batch']} x {entry['length']}"]
        cells += [
            report.number(report.time_ratio(entry, name, FORWARD))
            for name in (OURS, *SHARES)
        ]
        cells += [
            ", ".join(f"{entry[part][share]:.4f}" for share in SHARES)
            for part in ("correlation", "left out")
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", report.environment(results)])


if __name__ == "__main__":
    main()
