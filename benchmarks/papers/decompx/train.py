"""Train models of the paper's shapes: ``python -m benchmarks.papers.decompx.train``.

``roberta-4l128`` is a small RoBERTa on SST-2, from nothing but the vocabulary and the
word embeddings of ``sst2-bert-4l128``; ``qnli-minilm`` is MiniLM, whose upper layers go
on to learn QNLI.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lrp_hooks.texts.loading import load_folder

from ...faithfulness.training.loop import Settings, assess, fit, rounded, save
from ...faithfulness.training.tweets import fresh
from .data import ENTAILS, read

MODELS = Path(__file__).parents[1] / "work" / "models"
UPPER = 3  # layers of MiniLM that learn
RUNS = {
    "roberta-4l128": ("sst2", Settings(epochs=1, size=64, lr=1e-3, checks=2)),
    "qnli-minilm": ("qnli", Settings(epochs=1, size=16, lr=2e-4, checks=1)),
}


def main() -> None:
    """Train, report, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="models and data")
    parser.add_argument("--model", choices=RUNS, required=True)
    parser.add_argument("--out", type=Path, default=MODELS)
    parser.add_argument("--epochs", type=int, help="fewer, for a smoke run")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    _, settings = RUNS[chosen.model]
    settings = settings._replace(epochs=chosen.epochs or settings.epochs)
    train(chosen.model, chosen.shared, chosen.out / chosen.model, settings)


def train(name: str, shared: Path, out: Path, settings: Settings) -> None:
    """Train one model.

    Args:
        name: A key of `RUNS`.
        shared: The folder of models and data.
        out: Where to save the result.
        settings: How to train.
    """
    task, _ = RUNS[name]
    model, tokenizer = MADE[name](shared / "models", settings.seed)
    parts = read(task, shared / "data", tokenizer, settings.seed)
    about = fit(
        model,
        lambda generator: parts.train.batches(settings.size, generator),
        sum(1 for _ in parts.train.batches(settings.size, torch.Generator())),
        lambda: assess(model, parts.choose.batches(64)),
        settings,
    )
    model = model.half().float()  # what is saved is what is reported
    quality = rounded(assess(model, parts.held_out.batches(64)))
    print("held out", quality)
    save(
        model,
        out,
        {
            "task": task,
            "held_out": {"number": len(parts.held_out), **quality},
            "trained_on": len(parts.train),
            "settings": settings._asdict(),
            **about,
        },
    )
    tokenizer.save_pretrained(out)


def roberta(models: Path, seed: int) -> tuple[nn.Module, Any]:
    """Build a small RoBERTa on the words of a small BERT.

    Args:
        models: The folder of models.
        seed: Of its weights.

    Returns:
        The model, and the tokenizer.
    """
    from transformers import RobertaConfig, RobertaForSequenceClassification

    bert, tokenizer = load_folder(models / "sst2-bert-4l128")
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
    config = RobertaConfig(
        **{name: getattr(bert.config, name) for name in sizes},
        intermediate_size=bert.config.intermediate_size,
        max_position_embeddings=160,
        pad_token_id=tokenizer.pad_token_id,
        type_vocab_size=1,
        initializer_range=0.05,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = RobertaForSequenceClassification(config)
    words = bert.base_model.embeddings.word_embeddings.weight.detach()
    with torch.no_grad():
        model.roberta.embeddings.word_embeddings.weight.copy_(words)
    return model, tokenizer


def upper_layers(models: Path, seed: int) -> tuple[nn.Module, Any]:
    """Take MiniLM with a new head, whose lower layers stay as they are.

    Args:
        models: The folder of models.
        seed: Of the head's weights.

    Returns:
        The model, and the tokenizer.
    """
    names = dict(enumerate(ENTAILS))
    model, tokenizer = fresh(models / "sst2-minilm-l6", names, seed)
    for layer in model.base_model.encoder.layer[:-UPPER]:
        layer.requires_grad_(False)
    return model, tokenizer


MADE = {"roberta-4l128": roberta, "qnli-minilm": upper_layers}

if __name__ == "__main__":
    main()
