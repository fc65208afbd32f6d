"""Fit a classifier, keep its best weights, and write down how it was made."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .batches import Batch, macro_f1

Epoch = Callable[[torch.Generator], Iterable[Batch]]


class Settings(NamedTuple):
    """How to train.

    Attributes:
        epochs: Passes over the examples.
        size: Examples in a batch.
        lr: Largest learning rate; warmed up, then decayed as a cosine.
        checks: How often an epoch is the model scored on what chooses it.
        warmup: Share of the steps with a rising learning rate.
        decay: Weight decay.
        seed: Of order, augmentation, dropout and fresh weights.
    """

    epochs: int
    size: int
    lr: float
    checks: int = 1
    warmup: float = 0.1
    decay: float = 0.01
    seed: int = 0


class Quality(NamedTuple):
    """How well a model does.

    Attributes:
        accuracy: Share of right answers.
        macro_f1: Mean F1 over classes.
    """

    accuracy: float
    macro_f1: float


def fit(
    model: nn.Module,
    epoch: Epoch,
    steps: int,
    choose: Callable[[], Quality],
    settings: Settings,
) -> dict[str, Any]:
    """Train a model in place, and leave it with the weights of the best check.

    Args:
        model: A classifier whose output has ``logits``.
        epoch: Yields an epoch's batches.
        steps: Batches an epoch.
        choose: Scores the model; the macro-F1 decides.
        settings: How to train.

    Returns:
        Steps, seconds and each check's quality.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    torch.manual_seed(settings.seed)
    optimizer, scheduler = descent(model, steps * settings.epochs, settings)
    checks = {math.ceil(steps * (i + 1) / settings.checks) for i in range(steps)}
    best, weights = -1.0, copied(model)
    history: list[dict[str, float]] = []
    start = time.perf_counter()
    for _ in range(settings.epochs):
        for number, batch in enumerate(epoch(generator), 1):
            step(model, batch, optimizer)
            scheduler.step()
            if number in checks:
                quality = choose()
                history.append({"step": scheduler.last_epoch, **rounded(quality)})
                print(history[-1], f"{time.perf_counter() - start:.0f} s", flush=True)
                if quality.macro_f1 > best:
                    best, weights = quality.macro_f1, copied(model)
    model.load_state_dict(weights)
    model.eval()
    seconds = round(time.perf_counter() - start, 1)
    return {"steps": scheduler.last_epoch, "seconds": seconds, "checks": history}


def descent(model: nn.Module, steps: int, settings: Settings) -> tuple[Any, Any]:
    """Make AdamW for what is trained, and its schedule over all steps."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, settings.lr, weight_decay=settings.decay)
    rate = schedule(steps, settings.warmup)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rate)


def step(model: nn.Module, batch: Batch, optimizer: Any) -> None:
    """Descend the cross-entropy of one batch."""
    model.train()
    optimizer.zero_grad()
    logits = model(**batch.inputs).logits
    nn.functional.cross_entropy(logits, batch.labels).backward()
    nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
    optimizer.step()


def schedule(steps: int, warmup: float) -> Callable[[int], float]:
    """Return the learning rate's factor at each step: a ramp, then a cosine to 0."""
    ramp = max(1, round(steps * warmup))

    def factor(number: int) -> float:
        if number < ramp:
            return (number + 1) / ramp
        done = (number - ramp) / max(1, steps - ramp)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    return factor


def copied(model: nn.Module) -> dict[str, Tensor]:
    """Copy a model's weights."""
    return {name: value.clone() for name, value in model.state_dict().items()}


@torch.no_grad()
def assess(model: nn.Module, batches: Iterable[Batch]) -> Quality:
    """Score a classifier.

    Args:
        model: A classifier whose output has ``logits``; it is left in eval mode.
        batches: What to score it on.

    Returns:
        Its accuracy and macro-F1.
    """
    model.eval()
    pairs = [(model(**b.inputs).logits.argmax(-1), b.labels) for b in batches]
    predicted, labels = (torch.cat(part) for part in zip(*pairs, strict=True))
    accuracy = float((predicted == labels).double().mean())
    return Quality(accuracy, macro_f1(predicted, labels))


def rounded(quality: Quality) -> dict[str, float]:
    """Write a quality with four decimals."""
    return {name: round(value, 4) for name, value in quality._asdict().items()}


def save(model: Any, folder: Path, about: dict[str, Any]) -> None:
    """Write half-precision weights and ``train_info.json``.

    Args:
        model: What transformers can save; its weights are rounded in place.
        folder: Where to.
        about: What to say of the training.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    versions = {name: version(name) for name in ("torch", "transformers")}
    about = {**about, "threads": torch.get_num_threads(), "versions": versions}
    text = json.dumps(about, indent=1) + "\n"
    (folder / "train_info.json").write_text(text, encoding="utf-8")
