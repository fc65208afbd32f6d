"""Train on a task: ``python -m benchmarks.faithfulness.molecules.train --help``.

Molecules are split at random, each class in the same shares; the weights of the best
AUROC on the validation part are kept, and its test part is scored once, at the end.
Atoms are hidden in training, so that the model knows molecules without some of them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ...slalom.ranks import auroc
from ..training.batches import buckets
from ..training.loop import copied, schedule
from .data import SHARES, TASKS, Molecules, read, split
from .graphs import UNKNOWN, VIRTUAL, Graph, collate, graph
from .model import GraphTransformer

WEIGHTS = Path(__file__).with_name("weights")


class Settings(NamedTuple):
    """How to build and train a model.

    Attributes:
        width: See `GraphTransformer`.
        depth: See `GraphTransformer`.
        heads: See `GraphTransformer`.
        dropout: See `GraphTransformer`.
        epochs: Passes over the molecules, at most.
        patience: Epochs without a better validation score before training stops.
        size: Molecules in a batch.
        lr: Largest learning rate; warmed up, then decayed as a cosine.
        decay: Weight decay.
        whole: Share of molecules with no atom hidden; of each other one, a share drawn
            uniformly from 0 to 1 is.
        seed: Of weights, order, dropout and hidden atoms.
        split_seed: Of the split.
    """

    width: int = 64
    depth: int = 4
    heads: int = 4
    dropout: float = 0.1
    epochs: int = 70
    patience: int = 20
    size: int = 16
    lr: float = 1e-3
    decay: float = 0.01
    whole: float = 0.5
    seed: int = 0
    split_seed: int = 0

    def model(self) -> GraphTransformer:
        """Build a model with fresh weights."""
        return GraphTransformer(self.width, self.depth, self.heads, self.dropout)


SETTINGS = {"bace": Settings(epochs=60, size=32), "clintox": Settings()}


class Examples(NamedTuple):
    """Molecules as the model takes them.

    Attributes:
        graphs: One each.
        labels: ``[M]``.
    """

    graphs: list[Graph]
    labels: Tensor

    @classmethod
    def of(cls, molecules: Molecules) -> Examples:
        """Read the graphs of molecules."""
        return cls([graph(smiles) for smiles in molecules.smiles], molecules.labels)

    def batches(self, order: Sequence[Tensor]) -> Iterator[tuple[Any, Tensor]]:
        """Yield batches and their labels."""
        for places in order:
            rows = [self.graphs[i] for i in places.tolist()]
            yield collate(rows), self.labels[places]

    @property
    def sizes(self) -> Tensor:
        """Numbers of atoms, ``[M]``."""
        return torch.tensor([len(each.atoms) - 1 for each in self.graphs])


def main() -> None:
    """Train, report, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of csv.gz")
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder of weights")
    parser.add_argument("--epochs", type=int, help="fewer, for a smoke run")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    settings = SETTINGS[chosen.task]
    settings = settings._replace(epochs=chosen.epochs or settings.epochs)
    parts = split(read(chosen.task, chosen.data), settings.split_seed)
    examples = {name: Examples.of(part) for name, part in parts.items()}
    torch.manual_seed(settings.seed)
    model = settings.model()
    about = fit(model, examples["train"], examples["validation"], settings)
    scores = {name: round(assess(model, examples[name]), 4) for name in parts}
    print("AUROC", scores)
    save(model, chosen.out, chosen.task, settings, {**about, "auroc": scores}, examples)


def fit(
    model: nn.Module, train: Examples, validation: Examples, settings: Settings
) -> dict[str, Any]:
    """Train a model in place, and leave it with its best weights.

    Args:
        model: Gives logits ``[B, 2]``.
        train: What is trained on.
        validation: What the weights are chosen on.
        settings: How to train.

    Returns:
        Epochs, the best one, and CPU seconds.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    steps = len(buckets(train.sizes, settings.size, torch.Generator()))
    optimizer = torch.optim.AdamW(
        model.parameters(), settings.lr, weight_decay=settings.decay
    )
    rate = schedule(steps * settings.epochs, 0.05)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    balance = len(train.labels) / (2 * train.labels.bincount(minlength=2))
    best, best_epoch, weights = -1.0, 0, copied(model)
    epoch, start = 0, time.process_time()
    while epoch < min(settings.epochs, best_epoch + settings.patience):
        epoch += 1
        model.train()
        order = buckets(train.sizes, settings.size, generator)
        for batch, labels in train.batches(order):
            batch["atoms"] = hide(batch["atoms"], settings.whole, generator)
            step(model, batch, labels, balance, optimizer)
            scheduler.step()
        score = assess(model, validation)
        print(epoch, f"{score:.4f} {time.process_time() - start:.0f} s", flush=True)
        if score > best:
            best, best_epoch, weights = score, epoch, copied(model)
    model.load_state_dict(weights)
    model.eval()
    seconds = round(time.process_time() - start, 1)
    return {"epochs": epoch, "best_epoch": best_epoch, "seconds": seconds}


def step(
    model: nn.Module, batch: Any, labels: Tensor, balance: Tensor, optimizer: Any
) -> None:
    """Descend the cross-entropy of one batch, in which both classes weigh alike."""
    optimizer.zero_grad()
    F.cross_entropy(model(**batch), labels, balance).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def hide(atoms: Tensor, whole: float, generator: torch.Generator) -> Tensor:
    """Put `UNKNOWN` in place of random atoms.

    Args:
        atoms: Token ids ``[B, N]``.
        whole: Share of molecules that stay as they are.
        generator: Draws molecules, shares and atoms.

    Returns:
        Token ids ``[B, N]``.
    """
    spared = torch.rand(len(atoms), 1, generator=generator) < whole
    share = torch.rand(len(atoms), 1, generator=generator).masked_fill(spared, 0)
    hidden = torch.rand(atoms.shape, generator=generator) < share
    return torch.where(hidden & (atoms > VIRTUAL), UNKNOWN, atoms)


@torch.no_grad()
def assess(model: nn.Module, examples: Examples) -> float:
    """Return the AUROC of a model, which is left in eval mode."""
    model.eval()
    order = examples.sizes.argsort().split(64)
    pairs = [(model(**batch), labels) for batch, labels in examples.batches(order)]
    logits, labels = (torch.cat(part) for part in zip(*pairs, strict=True))
    return auroc((logits[:, 1] - logits[:, 0]).double(), labels == 1)


def save(
    model: nn.Module,
    folder: Path,
    task: str,
    settings: Settings,
    about: dict[str, Any],
    examples: dict[str, Examples],
) -> None:
    """Write the weights, and beside them how they were made."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / f"{task}.safetensors")
    info = {
        "task": task,
        "label_1": TASKS[task].meaning,
        "split": "random, stratified by class, duplicates merged",
        "shares": SHARES,
        "molecules": {
            name: {"all": len(part.labels), "label_1": int(part.labels.sum())}
            for name, part in examples.items()
        },
        "settings": settings._asdict(),
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "rdkit")},
        **about,
    }
    text = json.dumps(info, indent=1) + "\n"
    (folder / f"{task}.json").write_text(text, encoding="utf-8")


def load(task: str, folder: Path = WEIGHTS) -> tuple[GraphTransformer, dict[str, Any]]:
    """Load a trained model.

    Args:
        task: A name in `TASKS`.
        folder: Where it was saved.

    Returns:
        The model in eval mode, and how it was made.
    """
    info: dict[str, Any] = json.loads(
        (folder / f"{task}.json").read_text(encoding="utf-8")
    )
    model = Settings(**info["settings"]).model()
    model.load_state_dict(load_file(folder / f"{task}.safetensors"))
    return model.eval(), info


if __name__ == "__main__":
    main()
