"""Train the one-layer classifier: ``python -m benchmarks.papers.attention.train``."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lrp_hooks.explainers.closed_form import (
    AttentionClassifier,
    load_classifier,
    save_classifier,
)

from ...command import without_arguments
from .data import encode, reviews, vocabulary

HERE = Path(__file__).parent
WEIGHTS = HERE / "weights"
SPECIAL = 2
"""Ids of no word: the class token and the unknown one."""


def main() -> None:
    """Train, and write weights, words, and how it went."""
    config = json.loads((HERE / "config.json").read_text(encoding="utf-8"))
    torch.set_num_threads(config["threads"])
    train, checked, known = parts(config)
    model = build(config, len(known))
    history = fit(model, train, checked, config["training"])
    WEIGHTS.mkdir(exist_ok=True)
    save_classifier(model.half(), known, WEIGHTS / "classifier.safetensors")
    model, known = load()  # what is measured is what is stored, in half precision
    texts, labels = reviews("test")
    ids = encode(texts, known, config["model"]["max_length"])
    record = {
        "training": config["training"],
        "history": history,
        "test": len(ids),
        "accuracy": accuracy(model, ids, labels),
        "torch": torch.__version__,
    }
    text = json.dumps(record, indent=1) + "\n"
    (WEIGHTS / "classifier.json").write_text(text, encoding="utf-8")
    print(text)


Part = tuple[Tensor, Tensor]


def parts(config: dict[str, Any]) -> tuple[Part, Part, list[str]]:
    """Split the training reviews.

    Args:
        config: The configuration.

    Returns:
        Ids and labels to train on, those of the validation part, and the vocabulary
        of the former.
    """
    texts, labels = reviews("train")
    plan = config["training"]
    generator = torch.Generator().manual_seed(plan["seed"])
    order = torch.randperm(len(texts), generator=generator)
    chosen, rest = order[: plan["train"]], order[plan["train"] :]
    known = vocabulary((texts[int(i)] for i in chosen), config["vocabulary"])
    ids = encode(texts, known, config["model"]["max_length"])
    train, checked = (
        (ids[rows], labels[rows]) for rows in (chosen, rest[: plan["validation"]])
    )
    return train, checked, known


def build(config: dict[str, Any], size: int) -> AttentionClassifier:
    """Draw weights uniformly, as the authors do.

    Args:
        config: The configuration.
        size: How many words there are.

    Returns:
        The classifier before training.
    """
    torch.manual_seed(config["training"]["seed"])
    model = AttentionClassifier(size + SPECIAL, **config["model"])
    for weight in model.parameters():
        torch.nn.init.uniform_(
            weight, -config["training"]["init"], config["training"]["init"]
        )
    return model


def load() -> tuple[AttentionClassifier, list[str]]:
    """Read what was trained.

    Returns:
        The classifier in float32, and its words.
    """
    return load_classifier(WEIGHTS / "classifier.safetensors")


def fit(
    model: AttentionClassifier,
    train: Part,
    checked: Part,
    plan: dict[str, Any],
) -> list[dict[str, float]]:
    """Train by AdamW, and keep the epoch that is best on the validation part.

    Args:
        model: The classifier, which is trained in place.
        train: Ids and labels.
        checked: Those of the validation part.
        plan: Epochs, batch, learning rate and seed.

    Returns:
        One row for each epoch.
    """
    generator = torch.Generator().manual_seed(plan["seed"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan["learning_rate"])
    history: list[dict[str, float]] = []
    best, kept = -1.0, {k: v.clone() for k, v in model.state_dict().items()}
    for epoch in range(plan["epochs"]):
        start, total = time.process_time(), 0.0
        order = torch.randperm(len(train[1]), generator=generator)
        for rows in order.split(plan["batch"]):
            loss = cross_entropy(model(train[0][rows]), train[1][rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(rows)
        found = accuracy(model, *checked)
        if found > best:
            best, kept = found, {k: v.clone() for k, v in model.state_dict().items()}
        history.append({
            "epoch": epoch,
            "loss": round(total / len(order), 4),
            "validation": found,
            "seconds": round(time.process_time() - start, 1),
        })
        print(history[-1], flush=True)
    model.load_state_dict(kept)
    return history


@torch.no_grad()
def accuracy(model: AttentionClassifier, ids: Tensor, labels: Tensor) -> float:
    """Return the share of documents that are classified rightly."""
    found = torch.cat([model(part).argmax(1) for part in ids.split(64)])
    return float((found == labels).double().mean())


if __name__ == "__main__":
    without_arguments(__doc__)
    main()
