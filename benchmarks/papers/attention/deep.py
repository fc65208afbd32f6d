"""Six layers by six heads, where no closed form holds: the claims by sampled LIME.

``python -m benchmarks.papers.attention.deep`` trains the model. It is attention and
nothing else, as in `ali.model`, on embeddings that are trained, too.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lrp_hooks import explain
from lrp_hooks.explainers.closed_form.classifier import sinusoids
from lrp_hooks.explainers.closed_form.lime import word_columns
from lrp_hooks.explainers.closed_form.references import sampled

from ...command import without_arguments
from ..ali.model import AttentionOnly
from .data import encode, reviews
from .measure import by_word, related
from .train import SPECIAL, WEIGHTS, accuracy, fit, parts

__all__ = ["Deep", "build", "load", "relations"]

STORED = WEIGHTS / "deep"
EMBEDDED = "embeddings"
"""Where relevance is read: words with their positions."""
METHODS: dict[str, dict[str, Any]] = {
    "attention, mean": {"method": "attention_last"},
    "attention, max": {"method": "attention_last", "heads": "max"},
    "rollout": {"method": "attention_rollout"},
    "Gradient x Input": {"method": "gradient_x_input", "wrt": EMBEDDED},
    "LRP (AH+LN)": {"method": "lrp", "rules": "ah+ln", "wrt": EMBEDDED},
}
"""Explainers of the library; gradients themselves are taken by `gradients`."""


class Words(nn.Module):
    """Embeddings of words and of positions."""

    positions: Tensor

    def __init__(self, size: int, width: int, length: int) -> None:
        """Draw them.

        Args:
            size: Of the vocabulary, with the class token and the unknown one.
            width: ``D``.
            length: ``T``.
        """
        super().__init__()
        self.word_embeddings = nn.Embedding(size, width)
        self.register_buffer(
            "positions", sinusoids(length, width).float(), persistent=False
        )

    def forward(self, input_ids: Tensor) -> Tensor:
        """Embed ``[B, T]`` as ``[B, T, D]``."""
        embedded: Tensor = self.word_embeddings(input_ids)
        return embedded + self.positions[: input_ids.shape[1]]


class Deep(AttentionOnly):
    """The attention-only model with embeddings that learn; it returns plain logits."""

    def __init__(self, size: int, plan: dict[str, Any]) -> None:
        """Draw the weights.

        Args:
            size: Words of the vocabulary.
            plan: ``width``, ``max_length``, ``layers`` and ``heads``.
        """
        words = Words(size + SPECIAL, plan["width"], plan["max_length"])
        super().__init__(words, 2, plan["layers"], plan["heads"], dropout=0.0)
        self.embeddings.requires_grad_(True)

    def forward(self, input_ids: Tensor) -> Tensor:  # type: ignore[override]
        """Return logits ``[B, 2]`` of ids ``[B, T]``, all of which are attended to."""
        logits: Tensor = super().forward(input_ids).logits
        return logits


def build(size: int, plan: dict[str, Any]) -> Deep:
    """Draw a model.

    Args:
        size: Words of the vocabulary.
        plan: Of ``config.json``.

    Returns:
        The model before training.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(plan["seed"])
        return Deep(size, plan)


def load(size: int, plan: dict[str, Any], path: Path = STORED) -> Deep:
    """Read what was trained.

    Args:
        size: Words of the vocabulary.
        plan: Of ``config.json``.
        path: Of the weights, without its ending.

    Returns:
        The model in float32 and eval mode.
    """
    model = build(size, plan)
    state = load_file(path.with_suffix(".safetensors"))
    model.load_state_dict({name: value.float() for name, value in state.items()})
    return model.eval()


def relations(
    model: Deep, ids: Tensor, plan: dict[str, Any]
) -> dict[str, dict[str, float]]:
    """Compare explanations with LIME over a review's distinct words.

    Args:
        model: The model.
        ids: One document ``[T]``.
        plan: ``samples`` and ``seed``.

    Returns:
        As `measure.related`.
    """
    columns, d = word_columns(ids)
    generator = torch.Generator().manual_seed(plan["seed"])
    lime = sampled(model, ids, plan["samples"], generator)  # type: ignore[arg-type]
    found = {
        name: explain(model, ids[None], target=1, **how).scores[0]
        for name, how in METHODS.items()
    } | gradients(model, ids)
    return related(
        by_word(lime, columns, d, each=True),
        {name: by_word(scores, columns, d) for name, scores in found.items()},
    )


def gradients(model: Deep, ids: Tensor) -> dict[str, Tensor]:
    """Return the mean and the norms of the gradient at each position.

    Args:
        model: The model.
        ids: One document ``[T]``.

    Returns:
        ``{form: [T]}``.
    """
    seen: list[Tensor] = []
    keep = partial(_keep, seen)
    handle = model.embeddings.register_forward_hook(keep)
    try:
        logit = model(ids[None])[0, 1]
    finally:
        handle.remove()
    (slopes,) = torch.autograd.grad(logit, seen[0])
    return {
        "gradient, mean": slopes[0].mean(-1),
        "gradient, L1": slopes[0].abs().sum(-1),
        "gradient, L2": slopes[0].norm(dim=-1),
    }


def _keep(seen: list[Tensor], *called: Any) -> None:
    seen.append(called[-1])


def main() -> None:
    """Train, and write weights and how it went."""
    config = json.loads((WEIGHTS.parent / "config.json").read_text(encoding="utf-8"))
    torch.set_num_threads(config["threads"])
    plan = config["deep"]
    train, checked, known = parts({
        **config,
        "training": {**config["training"], **plan["training"]},
        "model": {"max_length": plan["max_length"]},
    })
    model = build(len(known), plan)
    history = fit(model, train, checked, plan["training"])  # type: ignore[arg-type]
    state = {name: value.half() for name, value in model.state_dict().items()}
    save_file(state, STORED.with_suffix(".safetensors"))
    model = load(len(known), plan)  # what is measured is what is stored
    texts, labels = reviews("test")
    ids = encode(texts, known, plan["max_length"])
    record = {
        "deep": plan,
        "history": history,
        "test": len(ids),
        "accuracy": accuracy(model, ids, labels),  # type: ignore[arg-type]
        "torch": torch.__version__,
    }
    text = json.dumps(record, indent=1) + "\n"
    STORED.with_suffix(".json").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    without_arguments(__doc__)
    main()
