"""What is put to the test, and the scores that candidates and methods give it."""

from __future__ import annotations

import fnmatch
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lrp_hooks import Contrast, explainers
from lrp_hooks.errors import LrpHooksWarning
from lrp_hooks.explainers import LRP
from lrp_hooks.results.relevance import Relevance

from .candidates import ATTENTION, Numbers, overrides, rules

Judged = dict[str, list[float]]

__all__ = ["Item", "Places", "less_expectation", "rivals", "scores"]


class Places(NamedTuple):
    """Where models and data are.

    Attributes:
        shared: The folder of shared models and data.
        trained: That of the models that scripts beside this one train.
        decoder: That of SmolLM2, as `benchmarks.generation.prepare` writes it.
    """

    shared: Path
    trained: Path
    decoder: Path | None = None


@dataclass(frozen=True)
class Item:
    """One example of a column, or several that are explained together.

    Attributes:
        model: What is explained.
        tokenizer: Its tokenizer, for methods that ask for one.
        batch: Its inputs, B rows.
        target: The class that is explained of each, or a function of the output.
        targets: Other things to explain, by name: the logit's rivals.
        reads: Where else relevance is read, by name.
        fold: From the scores of what is read, ``[B, ...]``, to those that are judged.
        judge: Says how good these are, by metric, of each row.
        options: Options of other methods, by the method's name.
    """

    model: nn.Module
    tokenizer: Any
    batch: Any
    target: Any
    fold: Callable[[Tensor], Tensor]
    judge: Callable[[Tensor], Judged]
    targets: Mapping[str, Any] = field(default_factory=dict)
    reads: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    known: dict[str, Relevance] = field(default_factory=dict)

    def reduced(self, numbers: Numbers) -> Numbers:
        """Leave out what a candidate changes to no effect, or cannot change, here.

        Args:
            numbers: The candidate.

        Returns:
            The same without a gate's share where nothing is gated, a LayerNorm's mean
            where there is none, a place that is not read here, and a target that is
            not explained here; layers to freeze that are not there; a share by depth
            without attention. The expectation of two classes is their contrast.
        """
        names = [name for name, _ in self.model.named_modules()]
        gated = any("gate_proj" in name for name in names)
        frozen = numbers.get("frozen", "")
        centred = any(isinstance(m, nn.LayerNorm) for m in self.model.modules())
        if numbers.get("target") == "expectation" and "contrast" in self.targets:
            known = "expectation" if "expectation" in self.targets else "contrast"
            numbers = {**numbers, "target": known}
        left_out = {
            "activated": not gated,
            "mean": not centred,
            "frozen": not fnmatch.filter(names, frozen),
            "share": not any(name.endswith(ATTENTION) for name in names)
            and isinstance(numbers.get("share"), list),
            "read": numbers.get("read") not in self.reads,
            "target": numbers.get("target") not in self.targets,
        }
        return {k: v for k, v in numbers.items() if not left_out.get(k, False)}


def scores(item: Item, numbers: Numbers) -> Tensor:
    """Explain an item.

    Args:
        item: What is explained.
        numbers: A candidate; or ``"method"`` with the options of an explainer.

    Returns:
        The scores that are judged.
    """
    with warnings.catch_warnings():
        # Some rule sets leave activations to autograd on purpose.
        warnings.simplefilter("ignore", LrpHooksWarning)
        if "method" in numbers:
            return item.fold(_by_method(item, numbers))
        return item.fold(_by_relevance(item, item.reduced(numbers)))


def _by_method(item: Item, numbers: Numbers) -> Tensor:
    kind = explainers.named(numbers["method"])
    given = {k: v for k, v in numbers.items() if k != "method"}
    options = given | dict(item.options.get(numbers["method"], {}))
    if "tokenizer" in kind.options():
        options["tokenizer"] = item.tokenizer
    found = kind(item.model, **options)(item.batch, target=item.target).scores
    assert isinstance(found, Tensor)
    return found.detach().double()


def _by_relevance(item: Item, numbers: Numbers) -> Tensor:
    found = _relevance(item, numbers)
    complete = numbers.get("complete")
    own = found.complete(complete) if complete else found.scores
    assert isinstance(own, Tensor)
    own = own.detach().double()
    if numbers.get("plus"):
        own += sum(part.sum(-1).double() for part in found.layers.values())
    return own


def _relevance(item: Item, numbers: Numbers) -> Relevance:
    """Explain once for all conventions that share out the same ledger."""
    key = repr(
        sorted((k, v) for k, v in numbers.items() if k != "complete" and v is not None)
    )
    if key not in item.known:
        target = item.targets.get(numbers.get("target", ""), item.target)
        explainer = LRP(
            item.model,
            rules(numbers),
            overrides(numbers, item.model),
            wrt=item.reads.get(numbers.get("read", "")),
            layers="blocks" if numbers.get("plus") else (),
        )
        item.known[key] = explainer(item.batch, target=target)
    return item.known[key]


def rivals(logits: Tensor, target: list[int]) -> dict[str, Any]:
    """Return what may be explained in place of a logit.

    Args:
        logits: ``[B, C]``.
        target: The class of each.

    Returns:
        ``"contrast"``, with the strongest other class; and of more than two classes
        ``"expectation"``, the logit less its expectation with frozen probabilities. Of
        two, the latter is a multiple of the former.
    """
    own = torch.tensor(target)[:, None]
    others = logits.scatter(1, own, -torch.inf).argmax(1)
    found: dict[str, Any] = {"contrast": Contrast(target, others.tolist())}
    if logits.shape[1] > 2:
        found["expectation"] = less_expectation(target)
    return found


def less_expectation(target: list[int]) -> Callable[[Any], Tensor]:
    """Return the target z_y - sum_v p_v z_v with p frozen.

    Args:
        target: y of each row.

    Returns:
        A function of the model's output.
    """

    def explained(output: Any) -> Tensor:
        logits = getattr(output, "logits", output)
        chances = logits.detach().softmax(-1)
        said: Tensor = logits.gather(1, torch.tensor(target)[:, None])[:, 0]
        return said - (chances * logits).sum(-1)

    return explained
