"""What is measured: models with random weights, batches of random tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

CONFIG = Path(__file__).with_name("config.json")
QUICK = {"lengths": [16], "batches": [1], "max_rounds": 1, "min_rounds": 1}
QUICK_LAYERS = 2
WARM_UP_TOKENS = 128


@dataclass(frozen=True)
class Case:
    """One model shape at one batch size and length.

    Args:
        model: A name in the configuration's ``models``.
        batch: The number of examples.
        length: The number of tokens of each example.
    """

    model: str
    batch: int
    length: int

    @property
    def name(self) -> str:
        """The key of this case in the results."""
        return f"{self.model} {self.batch}x{self.length}"

    @property
    def tokens(self) -> int:
        """The number of tokens of the whole batch."""
        return self.batch * self.length

    def warm_up(self) -> Case:
        """Shrink to what loads the same code in little time."""
        return Case(self.model, 1, min(self.length, WARM_UP_TOKENS))


def load_config(quick: bool = False, path: Path = CONFIG) -> dict[str, Any]:
    """Read the configuration.

    Args:
        quick: Shrink it to a smoke run: two layers, one short length, one round.
        path: The file. Defaults to this benchmark's own.

    Returns:
        The configuration as it is stored in the results.
    """
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if quick:
        config |= QUICK
        for shape in config["models"].values():
            shape["config"]["num_hidden_layers"] = QUICK_LAYERS
            shape.pop("lengths", None)
    return config


def cases(config: dict[str, Any]) -> Iterator[Case]:
    """List every case of a configuration, cheap ones first.

    Args:
        config: What `load_config` returned.

    Yields:
        The cases, ordered by model, then by their number of tokens.
    """
    for model, shape in config["models"].items():
        lengths = shape.get("lengths") or config["lengths"]  # a shape's own, if any
        sizes = product(config["batches"], lengths)
        found = [Case(model, batch, length) for batch, length in sizes]
        yield from sorted(found, key=lambda case: case.tokens)


def build_model(config: dict[str, Any], name: str) -> nn.Module:
    """Build a model with random weights, in eval mode.

    Args:
        config: What `load_config` returned.
        name: A name in its ``models``.

    Returns:
        The model, parameters trainable as a user has them by default.
    """
    torch.manual_seed(config["seed"])
    shape = config["models"][name]
    head = getattr(transformers, shape["head"])
    settings = transformers.AutoConfig.for_model(shape["model_type"], **shape["config"])
    model: nn.Module = head.from_config(settings)
    return model.eval()


def random_batch(model: nn.Module, case: Case, seed: int) -> dict[str, Tensor]:
    """Draw token ids without padding.

    Args:
        model: The model that will read them.
        case: The batch size and length.
        seed: Seed of the generator.

    Returns:
        Keyword arguments of the model, as a tokenizer makes them.
    """
    generator = torch.Generator().manual_seed(seed)
    vocabulary = model.get_input_embeddings().num_embeddings
    size = (case.batch, case.length)
    ids = torch.randint(1, vocabulary, size, generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
