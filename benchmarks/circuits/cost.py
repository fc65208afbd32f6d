"""Measure what a circuit costs: ``python -m benchmarks.circuits.cost FOLDER``."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from transformers import AutoModelForCausalLM

from lrp_hooks import find_circuit, instrument

COSTS = Path(__file__).with_name("cost.json")
TOKENS, ROUNDS = 32, 3


def main() -> None:
    """Measure circuits of several sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", metavar="FOLDER")
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model.requires_grad_(False)
    ids = torch.randint(100, 5000, (1, TOKENS), generator=torch.manual_seed(0))
    batch = {"input_ids": ids}
    backward = min(_backward(model, ids) for _ in range(ROUNDS + 2))

    def attribute() -> None:
        with instrument(model) as lrp:
            lrp.attribute(batch)

    circuits = []
    for nodes in (50, 200, 500):
        found: list[Any] = []

        def find(nodes: int = nodes, found: list[Any] = found) -> None:
            found.append(find_circuit(model, batch, share=0.99, max_nodes=nodes))

        seconds = min(_seconds(find) for _ in range(ROUNDS))
        circuits.append({
            "nodes": nodes,
            "seconds": seconds,
            "passes": seconds / backward,
            "bytes": peak(find),
            "balance": found[-1].balance,
        })
        print(circuits[-1], flush=True)
    about = {
        "model": Path(folder).name,
        "tokens": TOKENS,
        "rounds": ROUNDS,
        "backward": backward,
        "attribute_bytes": peak(attribute),
        "circuits": circuits,
    }
    COSTS.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _seconds(run: Callable[[], None]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def _backward(model: nn.Module, ids: torch.Tensor) -> float:
    """Measure a plain backward pass from a logit to the embeddings."""
    table = model.get_input_embeddings()  # type: ignore[operator]
    read = table(ids).detach().requires_grad_()
    value = model(inputs_embeds=read, use_cache=False).logits[0, -1].max()
    return _seconds(lambda: torch.autograd.grad(value, read) and None)


def peak(run: Callable[[], None]) -> int:
    """Return the most bytes of tensors at once, above what there was.

    Args:
        run: What is done.

    Returns:
        Bytes on the CPU.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
    held = most = 0
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


if __name__ == "__main__":
    main()
