"""A circuit: nodes in rows from tokens to the output, and what flows between them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Diagram", "Flow", "Spot"]


@dataclass(frozen=True)
class Spot:
    """A node.

    Attributes:
        row: Its row, 0 for what is read.
        column: Its place in a row, from 0 to the number of columns.
        kind: See `Node`.
        label: A few letters.
        title: What is said of it.
        relevance: The part of the output that passes through it.
        activation: See `Node`.
    """

    row: int
    column: float
    kind: str
    label: str
    title: str
    relevance: float
    activation: float | None


@dataclass(frozen=True)
class Flow:
    """What flows from a spot to another one.

    Attributes:
        source: The number of the spot that it comes from.
        target: That of the one that it goes to.
        flow: How much.
    """

    source: int
    target: int
    flow: float


@dataclass(frozen=True)
class Diagram:
    """What there is to show of a circuit.

    Attributes:
        rows: What each row is, the lowest first.
        columns: How many columns there are.
        spots: The nodes.
        flows: Everything that flows, the strongest first.
        output: What is explained.
        model: The name of the model's class.
        rules: The name of the rule set.
        target: What is explained, by its name.
    """

    rows: list[str]
    columns: int
    spots: list[Spot]
    flows: list[Flow]
    output: float
    model: str
    rules: str
    target: str
