"""A prompt on a model: what its neurons score, and what is left when some are ablated.

What is ablated takes the value a' that it has on the other prompt of the pair, so that
a neuron's score is (a - a') x coefficient.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lrp_hooks import instrument
from lrp_hooks.circuits.examples import Example
from lrp_hooks.circuits.experts import Rows
from lrp_hooks.circuits.sites import NEURON, Site
from lrp_hooks.circuits.trace import sites_of, traced
from lrp_hooks.circuits.watching import acting
from lrp_hooks.engine.ruleset import RuleSet
from lrp_hooks.engine.subject import Subject

from .data import Item

__all__ = ["Case", "Method", "strongest"]


class Case:
    """A prompt, and the logit difference that is explained.

    Attributes:
        ids: The tokens, [1, T].
        other: Those of the other prompt, [1, T] if it is as long.
        whole: The difference of the plain model.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, item: Item) -> None:
        """Tokenise.

        Args:
            model: A language model.
            tokenizer: Its tokenizer.
            item: The prompt.
        """
        self.subject = Subject(model)
        ids = tokenizer(item.prompt)["input_ids"]
        self.ids = torch.tensor([ids])
        self.other = torch.tensor([tokenizer(item.other)["input_ids"]])
        first = partial(_next, tokenizer, item.prompt, len(ids))
        self.right = [first(word) for word in item.right]
        self.wrong = [first(word) for word in item.wrong]
        inputs = {"input_ids": self.ids, "use_cache": False}
        self.example = Example(inputs, self.difference, torch.arange(len(ids)))
        with torch.no_grad():
            self.whole = float(self.run())

    def difference(self, output: Any) -> Tensor:
        """Return what is explained, [1]."""
        logits = output.logits[:, -1]
        return logits[:, self.right].mean(1) - logits[:, self.wrong].mean(1)

    def run(self) -> Tensor:
        """Run the model."""
        return self.difference(self.subject.model(**self.example.inputs))

    def others(self, sites: Sequence[Site]) -> list[Tensor]:
        """Return what neurons are on the other prompt, [T, W] each."""
        found: dict[int, Tensor] = {}

        def keep(number: int, x: Tensor, rows: Rows) -> None:
            found[number] = x.clone()

        with torch.no_grad(), acting(self.subject, sites, keep):
            self.subject.model(input_ids=self.other, use_cache=False)
        return [found[number] for number in range(len(sites))]

    def sites(self) -> list[Site]:
        """Find the neurons."""
        return sites_of(self.subject, self.example, (NEURON,))

    def relevance(
        self, rules: RuleSet, sites: Sequence[Site], others: Sequence[Tensor]
    ) -> list[Tensor]:
        """Score neurons by a rule set: one backward pass.

        Args:
            rules: The rule set.
            sites: Where neurons stand.
            others: What they are compared with, [T, W] each.

        Returns:
            [T, W] each.
        """
        with instrument(self.subject.model, rules) as lrp:
            found = traced(self.subject, lrp, self.example, sites)
        return [
            (a - other) * c
            for a, c, other in zip(
                found.activations, found.coefficients, others, strict=True
            )
        ]

    def integrated(
        self, sites: Sequence[Site], others: Sequence[Tensor], steps: int
    ) -> list[Tensor]:
        """Score neurons by gradients integrated from all ablated to none.

        Args:
            sites: Where neurons stand.
            others: What they are when ablated, [T, W] each.
            steps: How many points there are.

        Returns:
            [T, W] each.
        """
        scores = [torch.zeros_like(other) for other in others]
        for step in range(steps):
            share = (step + 0.5) / steps
            kept: list[tuple[Tensor, Tensor]] = []

            def act(
                number: int,
                x: Tensor,
                rows: Rows,
                share: float = share,
                kept: Any = kept,
            ) -> Tensor:
                moved = x - others[number]
                leaving = others[number] + share * moved
                if not leaving.requires_grad:
                    leaving = leaving.detach().requires_grad_()
                kept.append((moved, leaving))
                return leaving

            with acting(self.subject, sites, act):
                value = self.run()
            grads = torch.autograd.grad(value.sum(), [leaving for _, leaving in kept])
            for i, (pair, grad) in enumerate(zip(kept, grads, strict=True)):
                scores[i] += pair[0].detach() * grad / steps
        return scores

    def left(
        self,
        sites: Sequence[Site],
        others: Sequence[Tensor],
        chosen: Sequence[Tensor],
        remove: bool,
    ) -> float:
        """Measure the difference with all neurons ablated but some, or some alone.

        Args:
            sites: Where neurons stand.
            others: What they are when ablated, [T, W] each.
            chosen: Which ones, boolean [T, W] each.
            remove: Whether these are ablated.

        Returns:
            The logit difference.
        """

        def act(number: int, x: Tensor, rows: Rows) -> Tensor:
            keep = ~chosen[number] if remove else chosen[number]
            return torch.where(keep, x, others[number])

        with torch.no_grad(), acting(self.subject, sites, act):
            return float(self.run())

    def backward_seconds(self) -> float:
        """Measure a plain backward pass to the embeddings, of CPU time."""
        table = self.subject.model.get_input_embeddings()  # type: ignore[operator]
        read = table(self.ids).detach().requires_grad_()
        output = self.subject.model(inputs_embeds=read, use_cache=False)
        value = self.difference(output).sum()
        began = time.process_time()
        torch.autograd.grad(value, read)
        return time.process_time() - began


def _next(tokenizer: Any, prompt: str, length: int, word: str) -> int:
    """Return the first token that a word adds to a prompt."""
    return int(tokenizer(prompt + word)["input_ids"][length])


def strongest(scores: Sequence[Tensor], count: int) -> list[Tensor]:
    """Choose the neurons with the largest scores, which speak for the output.

    Args:
        scores: [T, W] each.
        count: How many.

    Returns:
        Boolean, alike.
    """
    flat = torch.cat([score.flatten() for score in scores])
    chosen = torch.zeros(len(flat), dtype=torch.bool)
    chosen[flat.topk(min(count, len(flat))).indices] = True
    parts = torch.split(chosen, [score.numel() for score in scores])
    return [part.view(score.shape) for part, score in zip(parts, scores, strict=True)]


Method = Callable[[Case, Sequence[Site], Sequence[Tensor]], list[Tensor]]
