"""Data of known laws, linear and SLALOM, and small Transformers trained on them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.utils.rnn import pad_sequence

from lrp_hooks.explainers.slalom.surrogate import predict

__all__ = ["CLASS", "LINEAR", "Law", "counted", "linear_law", "slalom_law", "train"]

PADDING, CLASS, FIRST = 0, 1, 2
"""Ids of no word: padding, and the token that the classifier reads."""
LINEAR = {
    "the": (0.2, 0.0),
    "we": (0.2, 0.0),
    "movie": (0.2, 0.0),
    "watch": (0.2, 0.0),
    "best": (0.06, 1.0),
    "perfect": (0.06, 1.5),
    "good": (0.08, 0.7),
    "worst": (0.06, -1.5),
    "poor": (0.06, -1.0),
    "ok": (0.08, -0.7),
}
"""The paper's words: how often each is drawn, relative to the others; its log-odds."""
LONGEST = 30
SPREAD = 1.0


class Law(NamedTuple):
    """What texts are drawn from, and what their label follows.

    Attributes:
        chances: Of each word, ``[D]``.
        odds: From counts ``[N, D]`` to log-odds ``[N]``.
        shortest: Words of the shortest text.
        length: Draws ``n`` lengths.
    """

    chances: Tensor
    odds: Callable[[Tensor], Tensor]
    length: Callable[[int, torch.Generator], Tensor]

    def draw(self, n: int, generator: torch.Generator) -> tuple[list[Tensor], Tensor]:
        """Draw texts.

        Args:
            n: How many.
            generator: The source of chance.

        Returns:
            Ids of each text, without the class token, and log-odds ``[n]``.
        """
        lengths = self.length(n, generator)
        rows = [
            torch.multinomial(self.chances, int(k), True, generator=generator) + FIRST
            for k in lengths
        ]
        return rows, self.odds(counted(rows, len(self.chances)))


def linear_law() -> Law:
    """Return the paper's linear data: log-odds are a sum of words' weights."""
    table = torch.tensor(list(LINEAR.values()), dtype=torch.float64)

    def length(n: int, generator: torch.Generator) -> Tensor:
        flips = torch.rand(n, LONGEST, generator=generator) < 0.5
        return flips.sum(1).clamp(min=1)

    return Law(table[:, 0], lambda counts: counts @ table[:, 1], length)


def slalom_law(size: int, seed: int) -> tuple[Law, Tensor, Tensor]:
    """Return data of a SLALOM, with its values and centred importances ``[D]``.

    Args:
        size: Words of the vocabulary.
        seed: Of its parameters.
    """
    generator = torch.Generator().manual_seed(seed)
    values = 2 * torch.randn(size, generator=generator).double()
    importances = SPREAD * torch.randn(size, generator=generator).double()
    importances -= importances.mean()

    def length(n: int, chance: torch.Generator) -> Tensor:
        return torch.randint(1, 9, (n,), generator=chance)

    law = Law(
        torch.ones(size).double(),
        lambda counts: predict(counts, values, importances),
        length,
    )
    return law, values, importances


def counted(rows: list[Tensor], size: int) -> Tensor:
    """Count words, ``[N, D]`` in float64."""
    return torch.stack([
        (row - FIRST).bincount(minlength=size) for row in rows
    ]).double()


class Reader(nn.Module):
    """A Transformer encoder with positions, read at its class token."""

    def __init__(self, size: int, layers: int, width: int, heads: int = 2) -> None:
        """Draw the weights.

        Args:
            size: Words.
            layers: How deep.
            width: Of embeddings.
            heads: Of each layer. Defaults to ``2``.
        """
        super().__init__()
        self.embedding = nn.Embedding(size + FIRST, width, PADDING)
        self.positions = nn.Embedding(LONGEST + 2, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.classifier = nn.Linear(width, 1)

    def forward(self, ids: Tensor) -> Tensor:
        """Return log-odds ``[N]`` of padded texts ``[N, L]``."""
        places = torch.arange(ids.shape[1])
        hidden = self.embedding(ids) + self.positions(places)
        hidden = self.encoder(hidden, src_key_padding_mask=ids == PADDING)
        logits: Tensor = self.classifier(hidden[:, 0])[:, 0]
        return logits

    @torch.no_grad()
    def ask(self, rows: list[Tensor]) -> Tensor:
        """Return log-odds of texts without class token, in float64."""
        parts = [rows[i : i + 512] for i in range(0, len(rows), 512)]
        return torch.cat([self(padded(part)) for part in parts]).double()


def padded(rows: list[Tensor]) -> Tensor:
    """Put the class token before each text, and padding behind."""
    start = torch.tensor([CLASS])
    return pad_sequence([torch.cat([start, row]) for row in rows], True, PADDING)


def train(law: Law, layers: int, plan: dict[str, Any], seed: int) -> tuple[Reader, Any]:
    """Train a Transformer on texts of a law.

    Args:
        law: The law.
        layers: How deep.
        plan: ``train`` texts, ``epochs``, ``batch``, ``learning_rate`` and ``width``.
        seed: Of texts and weights.

    Returns:
        The Transformer, and its accuracy against that of the law itself on new texts.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = Reader(len(law.chances), layers, plan["width"])
    rows, odds = law.draw(plan["train"], generator)
    chances = odds.sigmoid()
    labels = (torch.rand(len(odds), generator=generator) < chances).float()
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan["learning_rate"])
    steps = plan["epochs"] * (len(rows) // plan["batch"] + 1)
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, plan["learning_rate"], total_steps=steps
    )
    start = time.process_time()
    for _ in range(plan["epochs"]):
        order = torch.randperm(len(rows), generator=generator)
        for chosen in order.split(plan["batch"]):
            logits = model(padded([rows[int(i)] for i in chosen]))
            loss = binary_cross_entropy_with_logits(logits, labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rates.step()
    model.eval()
    return model, {
        **quality(model, law, generator),
        "seconds": round(time.process_time() - start, 1),
    }


def quality(model: Reader, law: Law, generator: torch.Generator) -> dict[str, float]:
    """Return a Transformer's accuracy, and the best that there is, on 2,000 texts."""
    rows, odds = law.draw(2000, generator)
    labels = torch.rand(len(odds), generator=generator) < odds.sigmoid()
    found = {"accuracy": model.ask(rows) > 0, "best": odds > 0}
    return {n: float((said == labels).double().mean()) for n, said in found.items()}
