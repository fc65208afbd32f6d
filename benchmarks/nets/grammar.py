"""Random nets: some steps, one after another or across."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .steps import MODULES, OPAQUE, STATEMENTS, TWO, UNARY, WIDTH

__all__ = ["Net", "Plan", "draw"]

GROUPS = {
    "unary": UNARY,
    "two": TWO,
    "statement": STATEMENTS,
    "module": MODULES,
    "opaque": OPAQUE,
}
SHARES = {"unary": 10, "two": 6, "statement": 4, "module": 8, "opaque": 1}
ENDS = {
    "logits": lambda y: y,
    "sigmoid": torch.sigmoid,
    "softmax": lambda y: y.softmax(-1),
    "softplus": F.softplus,
}
"""What logits go through; most nets return them as they are."""


@dataclass(frozen=True)
class Step:
    """One operation of a net.

    Attributes:
        group: A name of `GROUPS`.
        name: The operation's name there.
        operands: How many values back its operands were made.
    """

    group: str
    name: str
    operands: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """A net.

    Attributes:
        steps: Its operations.
        end: A name of `ENDS`.
        seed: Of its weights and inputs.
    """

    steps: tuple[Step, ...]
    end: str
    seed: int


def draw(random: Random) -> Plan:
    """Draw a net of one to six steps.

    Args:
        random: Where chance comes from.

    Returns:
        The plan.
    """
    steps = []
    for n in range(random.randint(1, 6)):
        (group,) = random.choices(list(SHARES), list(SHARES.values()))
        name = random.choice(list(GROUPS[group]))
        count = 2 if group == "two" else 1
        operands = tuple(random.randint(0, min(n, 2)) for _ in range(count))
        steps.append(Step(group, name, operands))
    (end,) = random.choices(list(ENDS), [12, 1, 1, 1])
    return Plan(tuple(steps), end, random.randint(0, 10**6))


class Net(nn.Module):
    """What a plan says, [B, T, D] to [B, C], in float64."""

    def __init__(self, plan: Plan) -> None:
        """Make the weights.

        Args:
            plan: The plan.
        """
        super().__init__()
        torch.default_generator.manual_seed(plan.seed)
        self.plan = plan
        self.parts = nn.ModuleDict({
            str(n): MODULES[step.name]()
            for n, step in enumerate(plan.steps)
            if step.group == "module"
        })
        self.head = nn.Linear(WIDTH, 3)
        for weight in self.parameters():
            if weight.ndim == 1:  # biases and scales that are not 0 and 1
                nn.init.uniform_(weight, 0.3, 1.2)
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        """Run the steps.

        Args:
            x: [B, T, D].

        Returns:
            [B, C].
        """
        values = [x]
        for n, step in enumerate(self.plan.steps):
            given = [values[-1 - back] for back in step.operands]
            modules = step.group == "module"
            act = self.parts[str(n)] if modules else GROUPS[step.group][step.name]
            values.append(act(*given))
        return ENDS[self.plan.end](self.head(values[-1].mean(1)))
